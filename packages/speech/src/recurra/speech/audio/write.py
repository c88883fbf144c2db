"""Create audio files in the format that the audio came in, or the one that a file name asks for."""

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from recurra.speech.audio.format import (
    OGG_LFE_LAYOUTS,
    OPUS_RATES,
    AudioError,
    AudioFormat,
    output_format,
)
from recurra.speech.audio.id3 import make_tag, put_first, read_tag
from recurra.speech.audio.read import ForwardFile
from recurra.speech.audio.riff import set_aiff_frames, set_channel_mask
from recurra.speech.audio.sink import Audio, AudioSink, Placement, check_target, write_error

_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_24": 24, "PCM_32": 32, "ALAC_24": 24, "ALAC_32": 32}
_FLOATING = {"FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_III"}
_ONE_BYTE = {"PCM_S8", "PCM_U8", "ULAW", "ALAW"}
_LARGEST_WAV = (1 << 32) - (1 << 16)  # room for the header and the tags
# Seen with libsndfile 1.2.2 on loud noise: the samples read back are other samples.
_DAMAGED_BY_LIBSNDFILE = {"ALAC_20", "ALAC_24", "ALAC_32"}
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_MOST_CHANNELS = {"FLAC": 8, "MP3": 2, "OGG": 255}
# Vorbis at 44.1 kHz: kbit/s a channel at the encoder's qualities 0, 0.1, ... 1.
_VORBIS_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 250)


class SoundFileSink(AudioSink):
    """Audio that libsndfile writes."""

    def __init__(
        self,
        placement: Placement,
        audio_format: AudioFormat,
        sample_rate: int,
        channels: int,
        tags: dict[str, str],
        original: Path | None = None,
    ) -> None:
        super().__init__(placement, audio_format, sample_rate, channels)
        try:
            self._file = _create(placement.temporary, audio_format, sample_rate, channels)
        except (soundfile.LibsndfileError, OSError) as error:
            placement.discard()
            raise write_error(placement.name, error, placement.temporary.parent) from error
        self._tag = b""
        if audio_format.container == "MP3":
            self._tag = (read_tag(original) if original else b"") or make_tag(tags)
            tags = {}
        for key, value in tags.items():
            _set_tag(self._file, key, value)

    def _encode(self, block: Audio) -> None:
        frames, clipped = to_samples(block.T, self.format.subtype)
        self.clipped += clipped
        self._check_size(frames.nbytes)
        try:
            self._file.write(frames)
        except (soundfile.LibsndfileError, AssertionError, OSError) as error:
            # soundfile asserts that all was written; a full disk writes less.
            reason = OSError("the file cannot grow") if isinstance(error, AssertionError) else error
            folder = self.placement.temporary.parent
            raise write_error(self.placement.name, reason, folder) from error

    def _check_size(self, more: int) -> None:
        if self.format.container not in {"WAV", "WAVEX"}:
            return
        if self.placement.temporary.stat().st_size + more > _LARGEST_WAV:
            raise AudioError(
                f"{self.placement.name}: a WAV file holds at most 4 GiB; write .rf64, .w64 or .flac"
            )

    def _finish(self) -> None:
        try:
            self._file.close()
            if self._tag:
                put_first(self._tag, self.placement.temporary)
            if self.format.container == "WAVEX" and self.format.channel_mask is not None:
                set_channel_mask(str(self.placement.temporary), self.format.channel_mask)
            if self.format.container == "AIFF" and self.format.subtype in _ONE_BYTE:
                set_aiff_frames(str(self.placement.temporary), self.frames)
        except (soundfile.LibsndfileError, OSError) as error:
            folder = self.placement.temporary.parent
            raise write_error(self.placement.name, error, folder) from error

    def _drop(self) -> None:
        try:
            self._file.close()
        except soundfile.LibsndfileError:
            return  # the file is thrown away: that its end could not be written does not matter


def create_audio(
    target: str | os.PathLike[str] | BinaryIO,
    like: AudioFormat,
    sample_rate: int,
    channels: int,
    tags: dict[str, str] | None = None,
    overwrite: bool = False,
    original: Path | None = None,
    start: float = 0.0,
) -> AudioSink:
    """Start a new audio file, complete and in place only when the sink is closed.

    Args:
        target: path, or a binary stream such as `sys.stdout.buffer`.
        like: the format of the source; the name of the target can ask for another.
        sample_rate: samples a second.
        channels: number of channels.
        tags: title, artist, ...: kept where the format has them.
        overwrite: whether a file that is there may be replaced.
        original: the file that the audio came from. When `like` has a picture and the target can
            hold one, its other streams (picture, subtitles, cover) are copied unchanged; from MP3
            to MP3 its tag is, cover included.
        start: seconds into the video at which the audio starts.

    Raises:
        AudioError: the target exists or cannot be written, or the format cannot hold the audio.
    """
    if hasattr(target, "write"):
        audio_format = like
        _check_picture_is_there(like, original, "standard output")
        check_format(like, sample_rate, channels, "standard output")
    else:
        path = Path(target)
        audio_format = check_can_write(path, like, sample_rate, channels, overwrite, original)
    placement = Placement(target, overwrite)
    held = (placement, audio_format, sample_rate, channels, tags or {}, original)
    try:
        if audio_format.codec is None:
            return SoundFileSink(*held)
        from recurra.speech.audio.av_write import AvSink

        return AvSink(*held, start)
    except BaseException:
        placement.discard()
        raise


def check_can_write(
    path: Path,
    like: AudioFormat,
    sample_rate: int,
    channels: int,
    overwrite: bool = False,
    original: Path | None = None,
) -> AudioFormat:
    """Check, before any work, that the audio can be written at `path`; return the format it gets.

    Raises:
        AudioError: `path` is the original itself, exists, or cannot be created, or the format of
            its name cannot hold the rate or the channels.
    """
    path = Path(path)
    if original is not None and path.exists() and path.samefile(original):
        raise AudioError(f"{path}: is the input itself, which is never overwritten")
    check_target(path, overwrite)
    audio_format = output_format(path, like)
    _check_picture_is_there(audio_format, original, str(path))
    check_format(audio_format, sample_rate, channels, str(path))
    return audio_format


def _check_picture_is_there(audio_format: AudioFormat, original: Path | None, name: str) -> None:
    if audio_format.has_video and original is None:
        raise AudioError(
            f"{name}: the picture of a video that comes through a pipe cannot be kept; "
            f"give the video's file, or write .wav or .m4a"
        )


def check_format(audio_format: AudioFormat, sample_rate: int, channels: int, name: str) -> None:
    """Check that a format can hold audio of this rate and number of channels.

    Raises:
        AudioError: it cannot; the message gives the limit and what to write instead.
    """
    if audio_format.codec is not None:
        from recurra.speech.audio.av_write import check_codec

        check_codec(audio_format, sample_rate, channels, name)
        return
    container, subtype = audio_format.container, audio_format.subtype
    if subtype in _DAMAGED_BY_LIBSNDFILE:
        raise AudioError(
            f"{name}: libsndfile damages {subtype} when it writes it; write .flac or .wav"
        )
    most = _MOST_CHANNELS.get(container, 1024)
    if channels > most:
        raise AudioError(
            f"{name}: {container} holds at most {most} channels, not {channels}; write .wav"
        )
    if container == "OGG" and channels in OGG_LFE_LAYOUTS:
        layout = OGG_LFE_LAYOUTS[channels]
        if audio_format.layout != layout:
            raise AudioError(
                f"{name}: {channels} channels of Ogg are {layout}, in which one is for low "
                "frequencies alone (LFE); write .wav or .flac, or fewer channels a file"
            )
    rates = {"OPUS": OPUS_RATES, "MPEG_LAYER_III": _MP3_RATES}.get(subtype)
    if rates is not None and sample_rate not in rates:
        listed = ", ".join(map(str, rates))
        kind = "Opus" if subtype == "OPUS" else "MP3"
        raise AudioError(
            f"{name}: {kind} has no {sample_rate} Hz, only {listed}; write .wav or .flac"
        )
    try:
        # libsndfile knows the other limits: a file of no samples in memory asks it.
        _create(io.BytesIO(), audio_format, sample_rate, channels).close()
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        reason = getattr(error, "error_string", str(error))
        raise AudioError(
            f"{name}: {container} ({subtype}) cannot be written with {sample_rate} Hz and "
            f"{channels} channels ({reason}); write .wav or .flac"
        ) from error


def to_samples(frames: Audio, subtype: str) -> tuple[NDArray[np.generic], int]:
    """What libsndfile is handed for float frames (n, C), and how many samples were clipped.

    libsndfile rounds floats down, and scales by 2^15 - 1 or by 2^15 depending on the format: whole
    numbers leave it no choice, so that what was read is written back bit by bit. Coded 16-bit types
    (A-law, ADPCM, ...) are whole numbers too.
    """
    if subtype in _FLOATING:
        return np.ascontiguousarray(frames, dtype=np.float32), 0
    bits = _BITS.get(subtype, 16)
    scaled = np.rint(frames.astype(np.float64) * 2 ** (bits - 1))
    clipped = int(np.count_nonzero(np.abs(frames) > 1))
    limited = np.clip(scaled, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if bits <= 16:
        return np.ascontiguousarray(limited.astype(np.int16) << (16 - bits)), clipped
    return np.ascontiguousarray(limited.astype(np.int32) << (32 - bits)), clipped


def _create(
    target: Path | io.BytesIO, audio_format: AudioFormat, sample_rate: int, channels: int
) -> ForwardFile:
    return ForwardFile(
        str(target) if isinstance(target, Path) else target,
        "w",
        sample_rate,
        channels,
        audio_format.subtype,
        audio_format.endian,
        audio_format.container,
        **_compression(audio_format, sample_rate, channels),
    )


def _compression(audio_format: AudioFormat, sample_rate: int, channels: int) -> dict[str, object]:
    """The compression level of libsndfile, 0 best to 1 smallest, for the source's bit rate."""
    bitrate, subtype = audio_format.bitrate, audio_format.subtype
    if bitrate is None:
        return {}
    if subtype == "OPUS":
        # ogg_opus.c: 6 to 256 kbit/s a channel
        return {"compression_level": _level(bitrate / channels, 6e3, 256e3)}
    if subtype == "MPEG_LAYER_III":
        # mpeg_l3_encode.c: 32 to 320 kbit/s, or 8 to 160 below 32 kHz
        low, high = (32e3, 320e3) if sample_rate >= 32000 else (8e3, 160e3)
        # not CONSTANT: LAME leaves out its length header where a frame is too small for it
        level = _level(bitrate, low, high)
        return {"compression_level": level, "bitrate_mode": "AVERAGE"}
    if subtype == "VORBIS":
        kbits = bitrate / channels / 1000 * 44100 / max(sample_rate, 22050)
        quality = np.interp(kbits, _VORBIS_KBITS, np.linspace(0, 1, 11))
        return {"compression_level": min(1 - float(quality), 0.99)}
    return {}


def _level(bitrate: float, low: float, high: float) -> float:
    # libsndfile refuses 1 itself
    return min(max(1 - (bitrate - low) / (high - low), 0.0), 0.99)


def _set_tag(file: ForwardFile, key: str, value: str) -> None:
    if key == "software" and "libsndfile" in value:
        value = value.split(" (libsndfile")[0]  # it appends its own name each time
    try:
        setattr(file, key, value)
    except (soundfile.LibsndfileError, AttributeError):
        return  # the format has no such tag
