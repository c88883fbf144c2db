"""Read what libsndfile does not: m4a, the sound of videos, and whatever else FFmpeg decodes."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import av
import av.error
import av.logging
import numpy as np

from recurra.speech.audio.format import MUXERS, AudioError, AudioFormat
from recurra.speech.audio.mp4 import movie_timescale
from recurra.speech.audio.source import Audio, AudioSource

# What is wrong is said in one line of ours; FFmpeg's own lines on stderr would come on top.
av.logging.set_level(av.logging.PANIC)

# Only containers of media: playlists and concat scripts would make FFmpeg open other files.
_DEMUXERS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,dtshd,eac3,flac,flv,g722,gsm,"
    "loas,m4v,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,mxf,ogg,rm,tak,"
    "truehd,tta,voc,w64,wav,wtv,wv"
)
_LIBSNDFILE_CONTAINERS = {
    "aiff": "AIFF",
    "au": "AU",
    "caf": "CAF",
    "flac": "FLAC",
    "mp3": "MP3",
    "ogg": "OGG",
    "w64": "W64",
    "wav": "WAV",
}
_LIBSNDFILE_SUBTYPES = {"mp3": "MPEG_LAYER_III", "opus": "OPUS", "vorbis": "VORBIS"}
_TECHNICAL_TAGS = (
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "language",
    "duration",
    "handler_name",
    "vendor_id",
)
_PLANES = 8  # FFmpeg's AV_NUM_DATA_POINTERS
_GAP_SECONDS = 0.1  # containers that round their times to milliseconds stay far below


class AvSource(AudioSource):
    """Audio that FFmpeg decodes, through PyAV; the first audio track unless the file marks one."""

    def __init__(
        self,
        container: av.container.InputContainer,
        name: str,
        target: Path | BinaryIO,
        timescale: int | None,
    ) -> None:
        path = target if isinstance(target, Path) else None
        self._target = target
        self._container = container
        self._stream = container.streams.best("audio")
        self._damaged = 0
        self.name = name
        self._frames = self._decoded_frames()
        first = next(self._frames, None)
        if first is None:
            raise AudioError(f"{name}: its audio track cannot be decoded, or holds no audio")
        self._first = first
        has_video = _has_video(container)
        start = float(first.pts * first.time_base) if has_video and first.pts is not None else 0.0
        super().__init__(
            name,
            first.sample_rate,
            len(first.layout.channels),
            _exact_frames(self._stream, first.sample_rate, timescale),
            _format_of(self._stream, first, path, has_video),
            _tags(container, self._stream),
            _seconds(container, self._stream),
            start,
        )

    def _decoded_frames(self) -> Iterator[av.AudioFrame]:
        for packet in self._container.demux(self._stream):
            try:
                yield from packet.decode()
            except (av.error.InvalidDataError, av.error.ArgumentError):
                self._damaged += 1

    def _decode(self, size: int) -> Iterator[Audio]:
        left = self.frames
        for block in self._blocks(size):
            block = block if left is None else block[:, :left]
            left = None if left is None else left - block.shape[1]
            if block.shape[1]:
                yield block
        if left:
            self.note(
                f"truncated: {left / self.sample_rate:.2f} of {self.seconds:.2f} s are missing"
            )
        if self._damaged:
            self.note(f"{self._damaged} damaged packets of audio were left out")

    def _blocks(self, size: int) -> Iterator[Audio]:
        waiting: list[Audio] = []
        held = 0
        for piece in self._pieces(size):
            waiting.append(piece)
            held += piece.shape[1]
            if held < size:
                continue
            joined = np.concatenate(waiting, axis=1)
            whole = held - held % size
            for at in range(0, whole, size):
                yield np.ascontiguousarray(joined[:, at : at + size])
            waiting, held = [joined[:, whole:]], held - whole
        if held:
            yield np.concatenate(waiting, axis=1)

    def _pieces(self, size: int) -> Iterator[Audio]:
        """The decoded frames, (C, n) each, with silence where the track has a gap."""
        done, origin = 0, None
        limit = (self.seconds or 0.0) + 1.0
        for frame in self._from_the_first():
            if frame.sample_rate != self.sample_rate or len(frame.layout.channels) != self.channels:
                raise AudioError(
                    f"{self.name}: changes from {self.sample_rate} Hz, {self.channels} channels to "
                    f"{frame.sample_rate} Hz, {len(frame.layout.channels)} in the middle"
                )
            if frame.pts is not None:
                time = float(frame.pts * frame.time_base)
                origin = time if origin is None else origin
                gap = time - origin - done / self.sample_rate
                missing = round(gap * self.sample_rate)
                if gap > _GAP_SECONDS and time - origin < limit:
                    done += missing
                    while missing > 0:
                        yield np.zeros((self.channels, min(size, missing)), np.float32)
                        missing -= size
            piece = _samples(frame)
            done += piece.shape[1]
            yield piece

    def _from_the_first(self) -> Iterator[av.AudioFrame]:
        yield self._first
        yield from self._frames

    def close(self) -> None:
        """Release the file; safe to call twice."""
        self._container.close()
        if not isinstance(self._target, Path):
            self._target.close()


def open_with_av(target: Path | BinaryIO, name: str, reason: str) -> AvSource:
    """Open a path or a seekable stream with PyAV.

    `reason` is why libsndfile did not read it, for the message.

    Raises:
        AudioError: FFmpeg does not know it either, or it has no audio.
    """
    by_path = isinstance(target, Path)
    timescale = None
    try:
        with open(target, "rb") if by_path else nullcontext(target) as stream:
            timescale = movie_timescale(stream)
            stream.seek(0)
        opened = str(target) if by_path else target
        container = av.open(opened, options={"format_whitelist": _DEMUXERS})
    except (av.error.FFmpegError, ValueError, OSError):
        why = f" ({reason.rstrip('.')})" if reason else ""
        raise AudioError(f"{name}: is not audio that can be read, or is damaged{why}") from None
    try:
        if not container.streams.audio:
            raise AudioError(f"{name}: has no audio track")
        return AvSource(container, name, target, timescale)
    except BaseException:
        container.close()
        raise


def _samples(frame: av.AudioFrame) -> Audio:
    """A frame as float32 (C, n)."""
    if frame.format.is_planar and len(frame.layout.channels) >= _PLANES:
        # PyAV 18 counts more planes than there are, and reads memory that is not the frame's.
        (frame,) = av.AudioResampler(frame.format.packed.name).resample(frame)
    raw = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, len(frame.layout.channels)).T
    if raw.dtype == np.uint8:
        return np.ascontiguousarray((raw.astype(np.float32) - 128) / 128)
    if np.issubdtype(raw.dtype, np.integer):
        return np.ascontiguousarray(raw / 2.0 ** (8 * raw.dtype.itemsize - 1), dtype=np.float32)
    return np.ascontiguousarray(raw, dtype=np.float32)


def _has_video(container: av.container.InputContainer) -> bool:
    """Whether there is a moving picture: a cover is a video stream too, but of one picture."""
    return any(
        not (stream.disposition & av.stream.Disposition.attached_pic)
        for stream in container.streams.video
    )


def _format_of(
    stream: av.AudioStream, first: av.AudioFrame, path: Path | None, has_video: bool
) -> AudioFormat:
    codec = stream.codec_context.codec.canonical_name
    names = stream.container.format.name.split(",")
    bitrate = stream.bit_rate or stream.container.bit_rate or None
    known = _LIBSNDFILE_CONTAINERS.get(names[0])
    if known is not None and not has_video and (known != "OGG" or codec in _LIBSNDFILE_SUBTYPES):
        wide = first.format.bytes > 2 and first.format.name.startswith("s")
        subtype = _LIBSNDFILE_SUBTYPES.get(codec, "PCM_24" if wide else "PCM_16")
        return AudioFormat(known, subtype, bitrate=bitrate)
    return AudioFormat(
        _muxer(names, path, has_video),
        first.format.name,
        codec=codec,
        bitrate=None if has_video and not stream.bit_rate else bitrate,
        has_video=has_video,
        layout=first.layout.name,
    )


def _muxer(names: list[str], path: Path | None, has_video: bool) -> str:
    """The muxer that writes what the demuxer of these names read."""
    named = MUXERS.get(path.suffix.lower(), ("", ""))[0] if path else ""
    if "mp4" in names:
        return named if named in {"ipod", "mp4", "mov", "3gp"} else "mp4" if has_video else "ipod"
    if "matroska" in names:
        return named if named in {"webm", "matroska"} else "matroska"
    return {"aac": "adts", "amrnb": "amr", "amrwb": "amr", "mpegps": "mpeg"}.get(names[0], names[0])


def _tags(container: av.container.InputContainer, stream: av.AudioStream) -> dict[str, str]:
    """Tags of the container, and of the track where the container has none, such as Ogg."""
    kept = {**stream.metadata, **container.metadata} if not _has_video(container) else {}
    tags = {key.lower(): value for key, value in (kept or container.metadata).items()}
    for technical in _TECHNICAL_TAGS:
        tags.pop(technical, None)
    if tags.get("software", "").startswith("Lavf"):
        del tags["software"]
    return {"tracknumber" if key == "track" else key: value for key, value in tags.items()}


def _seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _exact_frames(stream: av.AudioStream, sample_rate: int, timescale: int | None) -> int | None:
    """The length in samples where an mp4's edit list gives it to the sample."""
    if not timescale or timescale % sample_rate or not stream.duration or not stream.time_base:
        return None
    exact = stream.duration * stream.time_base * sample_rate
    return int(exact) if exact.denominator == 1 else None
