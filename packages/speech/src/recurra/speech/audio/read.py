"""Open any audio file, or the sound of a video, and read it in blocks."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from recurra.speech.audio.format import LOSSY_SUBTYPES, OGG_LFE_LAYOUTS, AudioError, AudioFormat
from recurra.speech.audio.id3 import tag_length
from recurra.speech.audio.riff import WithHeader, aiff_frames, filled_header, scan_wav
from recurra.speech.audio.source import Audio, AudioSource

_UNKNOWN_FRAMES = 1 << 62  # libsndfile's SF_COUNT_MAX says "no idea"
_BLOCK = 1 << 16


class ForwardFile(soundfile.SoundFile):
    """A SoundFile that never seeks.

    soundfile seeks after each read to where it already is, which some codecs cannot do and which
    makes small blocks several times slower; this class tells it that it cannot seek.
    """

    def seekable(self) -> bool:
        """Always false, see the class."""
        return False


class SoundFileSource(AudioSource):
    """Audio that libsndfile reads."""

    def __init__(
        self,
        file: ForwardFile,
        name: str,
        audio_format: AudioFormat,
        stream: BinaryIO | WithHeader | None = None,
        frames: int | None = None,
    ) -> None:
        frames = file.frames if frames is None else min(frames, file.frames)
        tags = {key: value for key, value in file.copy_metadata().items() if value}
        super().__init__(name, file.samplerate, file.channels, frames, audio_format, tags)
        self.frames: int = frames
        self._file, self._stream = file, stream

    def _decode(self, size: int) -> Iterator[Audio]:
        done = 0
        while True:
            size = min(size, self.frames - done)
            buffer = np.full((size, self.channels), np.nan, np.float32)
            try:
                got = len(self._file.read(out=buffer))
            except soundfile.LibsndfileError as error:
                # What was decoded before the damage is in the buffer; the rest is still NaN.
                got = int(np.isfinite(buffer).all(axis=1).sum())
                self._damaged(done + got, error.error_string)
            if got:
                done += got
                yield np.ascontiguousarray(buffer[:got].T)
            if got < size or done == self.frames:
                break
        if done < self.frames and not self.notes:
            self._damaged(done, "the file ends early")

    def _damaged(self, frames: int, reason: str) -> None:
        if frames == 0:
            raise AudioError(f"{self.name}: cannot be decoded: {reason}")
        total = f" of {self.seconds:.2f}" if self.seconds else ""
        self.note(f"truncated or damaged, only {frames / self.sample_rate:.2f}{total} s are read")

    def close(self) -> None:
        """Release the file; safe to call twice."""
        self._file.close()
        if self._stream is not None:
            self._stream.close()


def open_audio(source: str | os.PathLike[str] | BinaryIO) -> AudioSource:
    """Open a file by its path, or a binary stream such as `sys.stdin.buffer`.

    libsndfile reads what it can; the rest, such as m4a and videos, goes through PyAV. A stream that
    cannot seek is first copied to a temporary file. WAV headers that a pipe left unfilled are read
    to the end of the file.

    Raises:
        AudioError: missing, a folder, empty, not audio, or a damaged header.
    """
    if hasattr(source, "read"):
        return _open_stream(source)
    path = Path(source)
    try:
        if path.is_dir():
            raise AudioError(f"{path}: is a folder, not an audio file")
        with open(path, "rb") as stream:
            if not stream.seekable():
                return _open_stream(stream)
            return _open_seekable(stream, str(path), path)
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened: {error.strerror or error}") from error


def read_audio(source: str | os.PathLike[str] | BinaryIO) -> tuple[Audio, int]:
    """Read a whole file: float32 (C, T) and its sample rate.

    Raises:
        AudioError: as `open_audio` and `AudioSource.blocks`.
    """
    with open_audio(source) as opened:
        blocks = list(opened.blocks(_BLOCK))
        return np.concatenate(blocks, axis=1), opened.sample_rate


def _open_stream(stream: BinaryIO) -> AudioSource:
    """Copy a stream to a temporary file that is gone when it is closed, and open that."""
    name = getattr(stream, "name", None)
    spool = tempfile.TemporaryFile()  # noqa: SIM115 (the source that is returned closes it)
    try:
        shutil.copyfileobj(stream, spool, 1 << 20)
        label = name if isinstance(name, str) and not name.startswith("<") else "standard input"
        return _open_seekable(spool, label, None)
    except BaseException:
        spool.close()
        raise


def _open_seekable(stream: BinaryIO, name: str, path: Path | None) -> AudioSource:
    """Choose who reads: libsndfile or PyAV, each by path where there is one, else by the stream."""
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        raise AudioError(f"{name}: is empty (0 bytes)")
    header = scan_wav(stream)
    reason = ""
    if not _length_only_by_decoding(stream):
        own: BinaryIO | WithHeader | None = None if path else stream
        if header is not None and header.unfilled:
            raw = open(path, "rb") if path else stream  # noqa: SIM115 (the source closes it)
            own = WithHeader(raw, filled_header(raw, header))
        try:
            source = _open_with_libsndfile(own, name, size, path, aiff_frames(stream))
        except (soundfile.LibsndfileError, OSError) as error:
            reason = getattr(error, "error_string", str(error))
        else:
            if header is not None:
                source.format = replace(source.format, channel_mask=header.channel_mask)
                if header.truncated:
                    source.note(
                        f"truncated: only the {source.seconds:.2f} s that are there are read"
                    )
            return source
    stream.seek(0)
    from recurra.speech.audio.av_read import open_with_av

    return open_with_av(path or stream, name, reason)


def _open_with_libsndfile(
    own: BinaryIO | WithHeader | None, name: str, size: int, path: Path | None, frames: int | None
) -> SoundFileSource:
    if own is not None:
        own.seek(0)
    file = ForwardFile(own if own is not None else str(path))
    if file.frames >= _UNKNOWN_FRAMES or (file.format == "OGG" and file.frames == 0):
        file.close()
        raise OSError("libsndfile does not find its length")
    if file.frames == 0:
        raise AudioError(f"{name}: holds no audio (0 samples)")
    bitrate = None
    if file.subtype in LOSSY_SUBTYPES:
        bitrate = round(size * 8 * file.samplerate / file.frames)
    layout = OGG_LFE_LAYOUTS.get(file.channels) if file.format == "OGG" else None
    audio_format = AudioFormat(
        file.format, file.subtype, file.endian, bitrate=bitrate, layout=layout
    )
    return SoundFileSource(file, name, audio_format, own, frames)


def _length_only_by_decoding(stream: BinaryIO) -> bool:
    """An MP3 whose first frame has no Xing, Info or VBRI header: libsndfile guesses its length."""
    stream.seek(tag_length(stream))
    frame = stream.read(256)
    layer_three = len(frame) > 4 and frame[0] == 0xFF and frame[1] & 0xE6 == 0xE2
    return layer_three and not any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))
