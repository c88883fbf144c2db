"""Open a Debian package without dpkg: an ar archive that holds a compressed tar, streamed."""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from recurra.core.errors import RecurraError

AUDIO_SUFFIXES = frozenset(
    [".wav", ".ogg", ".oga", ".opus", ".flac", ".mp3", ".aif", ".aiff", ".g722", ".raw"]
)
# Games keep their sounds in zip files (.pk3 is one under another name).
ZIP_SUFFIXES = frozenset([".zip", ".pk3"])
# No sound file of the manifest comes near this; a compressed bomb would.
MAX_FILE_BYTES = 512 * 2**20

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


class ArchiveError(RecurraError):
    """A file that is not a Debian package, or one that tries to write outside its folder."""


class _Section(io.RawIOBase):
    """The bytes of one ar member as a readable stream."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream, self._left = stream, size

    def readable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: bytearray) -> int:
        """Fill the buffer with at most what is left of the member."""
        block = self._stream.read(min(len(buffer), self._left))
        buffer[: len(block)] = block
        self._left -= len(block)
        return len(block)


@contextmanager
def open_data_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """The tar of installed files inside a .deb, as a forward-only stream.

    Raises:
        ArchiveError: the file is no .deb, is cut short, or uses a compression that is not known.
    """
    with path.open("rb") as stream:
        name, section = _find_data_member(stream, path)
        try:
            plain = _decompress(name, io.BufferedReader(section), path)
            with tarfile.open(fileobj=plain, mode="r|") as tar:
                yield tar
        except (tarfile.TarError, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
            raise ArchiveError(f"{path}: damaged package: {error}") from error


def _find_data_member(stream: BinaryIO, path: Path) -> tuple[str, _Section]:
    """Walk the ar headers up to data.tar*."""
    if stream.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise ArchiveError(f"{path}: not a Debian package (no ar archive)")
    while True:
        header = stream.read(_AR_HEADER)
        if len(header) < _AR_HEADER or header[58:60] != b"`\n":
            raise ArchiveError(f"{path}: not a Debian package (no data.tar in it)")
        try:
            name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
        except ValueError as error:
            raise ArchiveError(f"{path}: damaged ar header") from error
        if name.startswith("data.tar"):
            return name, _Section(stream, size)
        stream.seek(size + size % 2, io.SEEK_CUR)


def _decompress(name: str, stream: IO[bytes], path: Path) -> IO[bytes]:
    """A stream of plain tar bytes."""
    match PurePosixPath(name).suffix:
        case ".xz" | ".lzma":
            return lzma.open(stream)
        case ".gz":
            return gzip.open(stream)
        case ".bz2":
            return bz2.open(stream)
        case ".tar":
            return stream
        case ".zst":
            return _open_zstd(stream, path)
        case other:
            raise ArchiveError(f"{path}: unknown compression {other!r} of its data.tar")


def _open_zstd(stream: IO[bytes], path: Path) -> IO[bytes]:
    """Python has Zstandard since 3.14; before, the package zstandard has it."""
    try:
        from compression import zstd
    except ImportError:
        try:
            import zstandard
        except ImportError as error:
            raise ArchiveError(
                f"{path}: compressed with Zstandard; Python 3.14, or: uv pip install zstandard"
            ) from error
        return zstandard.ZstdDecompressor().stream_reader(stream)
    return zstd.open(stream)


def extract_audio(package: Path, folder: Path) -> int:
    """Take the audio files out of a .deb into `folder`, under their paths in the package.

    Zip files inside are opened too: `a/b.pk3` becomes the folder `a/b.pk3`. Links, devices and
    everything that is no audio file are left out; the copyright file is kept.

    Returns:
        the number of audio files written.

    Raises:
        ArchiveError: damaged, not a package, or a path that leaves the folder.
    """
    count = 0
    with open_data_tar(package) as tar:
        for member in tar:
            path = _safe(member.name, package)
            suffix = path.suffix.lower()
            keep = suffix in AUDIO_SUFFIXES
            if not member.isreg() or not (
                keep or suffix in ZIP_SUFFIXES or path.name == "copyright"
            ):
                continue
            data = tar.extractfile(member)
            if member.size > MAX_FILE_BYTES or data is None:
                raise ArchiveError(f"{package}: {path} has {member.size} bytes")
            if suffix in ZIP_SUFFIXES:
                count += _extract_zip(data.read(), folder / path, package)
            else:
                _write(data, folder / path)
                count += keep
    return count


def _extract_zip(content: bytes, folder: Path, package: Path) -> int:
    """The audio files of a zip file, into a folder that bears its name."""
    count = 0
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                path = _safe(info.filename, package)
                if info.is_dir() or path.suffix.lower() not in AUDIO_SUFFIXES:
                    continue
                if info.file_size > MAX_FILE_BYTES:
                    raise ArchiveError(f"{package}: {path} has {info.file_size} bytes")
                with archive.open(info) as data:
                    _write(data, folder / path)
                count += 1
    except zipfile.BadZipFile as error:
        raise ArchiveError(f"{package}: {folder.name} is a damaged zip file: {error}") from error
    return count


def _safe(name: str, package: Path) -> PurePosixPath:
    """A path that stays inside the folder it is put in."""
    path = PurePosixPath(name.removeprefix("./"))
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ArchiveError(f"{package}: refused the path {name!r}, which leaves the folder")
    return path


def _write(data: IO[bytes], target: Path) -> None:
    """Copy a stream to a new file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        shutil.copyfileobj(data, out)
