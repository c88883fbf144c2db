"""What a file is: its container, sample type and codec, and which of them a file name asks for."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile

from recurra.core.errors import RecurraError


class AudioError(RecurraError):
    """Audio that cannot be read or written; the message is one line that names the file and why."""


class AudioWarning(UserWarning):
    """Audio that was read or written, but not all of it or not exactly: truncated or clipped."""


@dataclass(frozen=True)
class AudioFormat:
    """How a file stores audio. `codec` is None when libsndfile reads and writes it.

    Attributes:
        container: libsndfile's name ("WAV", "FLAC", ...), or FFmpeg's muxer ("ipod", "matroska").
        subtype: libsndfile's sample type ("PCM_16", "FLOAT", ...), or FFmpeg's sample format.
        endian: "FILE" (the container's own), "LITTLE" or "BIG".
        codec: FFmpeg's codec name for what goes through PyAV.
        bitrate: bits a second of a lossy stream, or None where it is unknown or means nothing.
        has_video: the file holds a moving picture.
        channel_mask: the speaker positions of a WAVE_FORMAT_EXTENSIBLE header.
        layout: the speaker layout that the source states, as FFmpeg names it ("stereo", "5.1", or a
            mask, "0x3f").
    """

    container: str
    subtype: str
    endian: str = "FILE"
    codec: str | None = None
    bitrate: int | None = None
    has_video: bool = False
    channel_mask: int | None = None
    layout: str | None = None


# libsndfile's containers by file name; the first is the one written when the source is another.
CONTAINERS: dict[str, tuple[str, ...]] = {
    ".wav": ("WAV", "WAVEX", "RF64"),
    ".wave": ("WAV", "WAVEX", "RF64"),
    ".rf64": ("RF64",),
    ".w64": ("W64",),
    ".flac": ("FLAC",),
    ".ogg": ("OGG",),
    ".oga": ("OGG",),
    ".opus": ("OGG",),
    ".mp3": ("MP3",),
    ".aif": ("AIFF",),
    ".aiff": ("AIFF",),
    ".aifc": ("AIFF",),
    ".au": ("AU",),
    ".snd": ("AU",),
    ".caf": ("CAF",),
}
# FFmpeg's muxer and the codec that a new file of that name gets.
MUXERS: dict[str, tuple[str, str]] = {
    ".m4a": ("ipod", "aac"),
    ".m4b": ("ipod", "aac"),
    ".aac": ("adts", "aac"),
    ".mp4": ("mp4", "aac"),
    ".m4v": ("mp4", "aac"),
    ".mov": ("mov", "aac"),
    ".3gp": ("3gp", "aac"),
    ".mkv": ("matroska", "aac"),
    ".mka": ("matroska", "libopus"),
    ".webm": ("webm", "libopus"),
    ".weba": ("webm", "libopus"),
    ".avi": ("avi", "libmp3lame"),
    ".ts": ("mpegts", "aac"),
    ".mpg": ("mpeg", "mp2"),
    ".mpeg": ("mpeg", "mp2"),
    ".flv": ("flv", "aac"),
    ".wma": ("asf", "wmav2"),
    ".wmv": ("asf", "wmav2"),
    ".ac3": ("ac3", "ac3"),
    ".g722": ("g722", "g722"),
}
# What `enhance`, `upsample` and `separate` put behind the stems of files; the last with a number,
# from 1.
ENHANCED_MARK = ".enhanced"
UPSAMPLED_MARK = ".upsampled"
SPEAKER_MARK = ".speaker"
SPEAKERS_MARK = ".speakers"  # of all in one file
VIDEO_MUXERS = {"mp4", "mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "3gp"}
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
# Ogg's layouts of more than five channels; each has one for low frequencies (LFE).
OGG_LFE_LAYOUTS = {6: "5.1", 7: "6.1", 8: "7.1"}
LOSSY_SUBTYPES = {"VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"}


def is_media_name(path: Path) -> bool:
    """Tell whether a file is audio or video by its name."""
    return path.suffix.lower() in CONTAINERS.keys() | MUXERS.keys()


def is_result_name(path: Path) -> bool:
    """Tell whether a file is what one of those commands made, by its name."""
    return path.stem.endswith((ENHANCED_MARK, UPSAMPLED_MARK)) or bool(
        re.search(r"\.speaker(s|\d+)$", path.stem)
    )


def output_format(path: Path, like: AudioFormat) -> AudioFormat:
    """The format to write at `path` for audio that came as `like`.

    The same format when the file name allows it; else the container that the name asks for, with
    the same sample type if that container holds it and its usual one if not. A name that says
    nothing keeps `like`. A video is kept a video only by a name of a video container.
    """
    suffix = path.suffix.lower()
    if suffix in CONTAINERS:
        return _for_libsndfile(suffix, like)
    if suffix in MUXERS:
        muxer, codec = MUXERS[suffix]
        video = like.has_video and muxer in VIDEO_MUXERS
        if like.codec is not None and _holds(muxer, like):
            return replace(like, container=muxer, has_video=video)
        layout = _layout_of_rows(like)
        return AudioFormat(
            muxer, "", codec=codec, bitrate=like.bitrate, has_video=video, layout=layout
        )
    return like


def _layout_of_rows(like: AudioFormat) -> str | None:
    """The layout that the source states, where its channels are read in the order of the layout."""
    if like.channel_mask:
        return hex(like.channel_mask)
    return None if like.container == "OGG" else like.layout  # libsndfile keeps the order of Ogg


def _holds(muxer: str, like: AudioFormat) -> bool:
    if like.container == muxer or muxer == "matroska":
        return True
    if muxer in {"mp4", "mov", "ipod", "3gp"} and like.container in {"mp4", "mov", "ipod", "3gp"}:
        return like.codec in {"aac", "alac"}
    return False


def _for_libsndfile(suffix: str, like: AudioFormat) -> AudioFormat:
    allowed = CONTAINERS[suffix]
    if like.codec is None and like.container in allowed:
        if suffix == ".opus" and like.subtype != "OPUS":
            return AudioFormat("OGG", "OPUS", layout=like.layout)
        return like
    container = allowed[0]
    if suffix == ".opus":
        return AudioFormat(container, "OPUS", bitrate=like.bitrate)
    if container in {"OGG", "MP3"}:
        return AudioFormat(container, soundfile.default_subtype(container) or "")
    subtype = like.subtype if like.codec is None else "PCM_16"
    if subtype in LOSSY_SUBTYPES:
        subtype = "PCM_16"
    if not soundfile.check_format(container, subtype):
        subtype = "PCM_24" if subtype in {"FLOAT", "DOUBLE", "PCM_32"} else "PCM_16"
    if subtype == "PCM_16" and like.subtype == "PCM_U8" and container != "FLAC":
        subtype = "PCM_S8"
    return AudioFormat(container, subtype)
