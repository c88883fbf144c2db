"""Write what libsndfile does not: m4a, the sound of videos, and whatever else FFmpeg encodes."""

import io
import warnings
from fractions import Fraction
from pathlib import Path

import av
import av.error
import av.logging
import numpy as np

from recurra.speech.audio.av_layout import choose_layout, options_for
from recurra.speech.audio.format import OPUS_RATES, AudioError, AudioFormat, AudioWarning
from recurra.speech.audio.sink import Audio, AudioSink, Placement, write_error
from recurra.speech.audio.video import CopiedStreams

av.logging.set_level(av.logging.PANIC)

_MP4_FAMILY = {"mp4", "mov", "ipod", "3gp"}
# These cannot say how much of the start is the encoder's delay, so the delay is left out.
_NO_DELAY_FIELD = {"adts", "avi", "flv", "mpegts"}
_ENCODERS = {"mp3": "libmp3lame", "opus": "libopus"}
_MOST_CHANNELS = {"flv": 2}  # FFmpeg writes more, and cannot read them
# Encoders that take any rate and then mean this one.
_ONLY_RATE = {"adpcm_g722": 16000, "g722": 16000, "amr_nb": 8000, "amr_wb": 16000, "gsm": 8000}


class AvSink(AudioSink):
    """Audio that FFmpeg encodes, through PyAV, beside copied streams where there are any.

    The start is aligned: the encoder's delay is declared in the container (edit list, skipped
    samples) or left out. Lengths are exact in the mp4 family as far as players honour edit lists,
    and within one frame of the codec elsewhere.
    """

    def __init__(
        self,
        placement: Placement,
        audio_format: AudioFormat,
        sample_rate: int,
        channels: int,
        tags: dict[str, str],
        original: Path | None,
        start: float,
    ) -> None:
        super().__init__(placement, audio_format, sample_rate, channels)
        self._next = round(start * sample_rate) if audio_format.has_video else 0
        self._copied: CopiedStreams | None = None
        try:
            self._container = _open(str(placement.temporary), audio_format, sample_rate)
            if original is not None:
                self._copied = CopiedStreams(original, self._container, audio_format.has_video)
                self._check_copied(self._copied)
            self._stream = _add_stream(self._container, audio_format, sample_rate, channels)
            self._container.metadata.update(_container_tags(tags))
            if self._copied is not None:
                self._copied.copy_metadata(self._stream)
            self._resampler = _to_encoder(self._stream, sample_rate)
            self._container.start_encoding()
            # FFmpeg's WMA decoder drops its first frame: silence goes there.
            self._sacrifice = self._stream.codec_context.frame_size if _is_wma(audio_format) else 0
            if self._sacrifice:
                self._encode(np.zeros((channels, self._sacrifice), np.float32))
        except AudioError:
            self.abort()
            raise
        except (av.error.FFmpegError, ValueError, OSError) as error:
            self.abort()
            raise write_error(placement.name, error, placement.temporary.parent) from error

    def _check_copied(self, copied: CopiedStreams) -> None:
        cannot = f"{self.placement.name}: {self.format.container} cannot hold"
        if copied.refused:
            raise AudioError(
                f"{cannot} the picture ({copied.refused[0]}); "
                "write .mkv, or .wav for the sound alone"
            )
        if copied.left_out:
            others = ", ".join(copied.left_out)
            warnings.warn(f"{cannot} {others}: left out; write .mkv", AudioWarning, stacklevel=2)

    def _encode(self, block: Audio) -> None:
        if self._stream.codec_context.format.name[:3] not in ("flt", "dbl"):
            self.clipped += int(np.count_nonzero(np.abs(block) > 1))
        # Packed, as PyAV 18 counts more planes than there are where there are eight.
        packed = np.ascontiguousarray(block.T, dtype=np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, "flt", self._stream.layout.name)
        frame.sample_rate = self.sample_rate
        frame.time_base = Fraction(1, self.sample_rate)
        frame.pts = self._next
        self._next += block.shape[1]
        self._mux(self._resampler.resample(frame))

    def _mux(self, frames: list[av.AudioFrame | None]) -> None:
        try:
            for frame in frames:
                for packet in self._stream.encode(frame):
                    if not self._is_delay(packet):
                        self._container.mux(packet)
            if self._copied is not None:
                self._copied.mux_until(self._next / self.sample_rate)
        except (av.error.FFmpegError, OSError) as error:
            folder = self.placement.temporary.parent
            raise write_error(self.placement.name, error, folder) from error

    def _is_delay(self, packet: av.Packet) -> bool:
        if self.format.container not in _NO_DELAY_FIELD or packet.pts is None:
            return False
        middle = (packet.pts + (packet.duration or 0) / 2) * packet.time_base
        return middle <= 0

    def _finish(self) -> None:
        try:
            if self._sacrifice:
                self._encode(np.zeros((self.channels, self._sacrifice), np.float32))
            self._mux([*self._resampler.resample(None), None])
            if self._copied is not None:
                self._copied.mux_until(None)
            self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            folder = self.placement.temporary.parent
            raise write_error(self.placement.name, error, folder) from error
        finally:
            if self._copied is not None:
                self._copied.close()

    def _drop(self) -> None:
        if self._copied is not None:
            self._copied.close()
        container = getattr(self, "_container", None)
        if container is not None:
            try:
                container.close()
            except (av.error.FFmpegError, OSError):
                return  # the file is thrown away: that its end could not be written does not matter


def _is_wma(audio_format: AudioFormat) -> bool:
    return audio_format.codec in {"wmav1", "wmav2"}


def check_codec(audio_format: AudioFormat, sample_rate: int, channels: int, name: str) -> None:
    """Check that FFmpeg encodes this codec at this rate and number of channels, in this container.

    Raises:
        AudioError: it does not; the message gives the rates it has, and what to write instead.
    """
    encoder = encoder_of(audio_format, sample_rate)
    most = _MOST_CHANNELS.get(audio_format.container, channels)
    if channels > most:
        raise AudioError(
            f"{name}: {audio_format.container} holds at most {most} channels, not {channels}; "
            "write .flac or .wav"
        )
    try:
        rates = av.Codec(encoder, "w").audio_rates
    except (ValueError, av.error.FFmpegError):
        raise AudioError(
            f"{name}: there is no encoder for {audio_format.codec} here; write .flac or .wav"
        ) from None
    if audio_format.codec in _ONLY_RATE:
        rates = [_ONLY_RATE[audio_format.codec]]
    if rates and sample_rate not in rates:
        listed = ", ".join(map(str, sorted(rates)))
        raise AudioError(
            f"{name}: {encoder} has no {sample_rate} Hz, only {listed}; write .flac or .wav"
        )
    try:
        with _open(io.BytesIO(), audio_format, sample_rate) as trial:
            stream = _add_stream(trial, audio_format, sample_rate, channels)
            _to_encoder(stream, sample_rate)
    except AudioError as error:
        raise AudioError(f"{name}: {error}") from error
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise AudioError(
            f"{name}: {audio_format.codec} in {audio_format.container} cannot be written with "
            f"{sample_rate} Hz and {channels} channels; write .flac or .wav"
        ) from error


def encoder_of(audio_format: AudioFormat, sample_rate: int) -> str:
    """FFmpeg's encoder for a codec. Vorbis becomes Opus: its encoder in FFmpeg is a sketch."""
    codec = audio_format.codec or ""
    if codec == "vorbis" and sample_rate in OPUS_RATES:
        return "libopus"
    return _ENCODERS.get(codec, codec)


def _open(
    target: str | io.BytesIO, audio_format: AudioFormat, sample_rate: int
) -> av.container.OutputContainer:
    options = {}
    if audio_format.container in _MP4_FAMILY:
        # The edit list counts in this unit; milliseconds would cut samples off the end.
        options = {"movie_timescale": str(sample_rate)}
    muxer = audio_format.container
    if muxer == "ipod":
        # PyAV lets no cover into the muxer of m4a; the one of mp4 writes the same boxes.
        muxer, options["brand"] = "mp4", "M4A "
    return av.open(target, "w", format=muxer, container_options=options)


def _add_stream(
    container: av.container.OutputContainer, like: AudioFormat, sample_rate: int, channels: int
) -> av.AudioStream:
    encoder = encoder_of(like, sample_rate)
    layout = choose_layout(encoder, like.layout, sample_rate, channels)
    stream = container.add_stream(encoder, rate=sample_rate, layout=layout)
    stream.codec_context.options = options_for(encoder, layout)
    formats = [known.name for known in av.Codec(encoder, "w").audio_formats or []]
    if formats:
        stream.codec_context.format = like.subtype if like.subtype in formats else formats[0]
    if like.bitrate:
        # the rate of a very short file is mostly its header
        stream.bit_rate = min(max(like.bitrate, 8000 * channels), 256_000 * channels, 640_000)
    elif encoder in {"aac", "libopus", "libmp3lame", "mp2", "wmav2"}:
        stream.bit_rate = 80_000 * channels
    return stream


def _to_encoder(stream: av.AudioStream, sample_rate: int) -> av.AudioResampler:
    """What turns float blocks into frames of the size and type that the encoder takes."""
    context = stream.codec_context
    context.open()
    return av.AudioResampler(
        format=context.format.name,
        layout=context.layout.name,
        rate=sample_rate,
        frame_size=context.frame_size or None,
    )


def _container_tags(tags: dict[str, str]) -> dict[str, str]:
    return {"track" if key == "tracknumber" else key: value for key, value in tags.items()}
