"""The chunks of a WAV file: what its header claims, and a corrected view of a header left unfilled.

Recorders that write to a pipe cannot go back to fill in the length, so they leave 0, 0xFFFFFFFF or
0x7FFFFFFF there. libsndfile takes a 0 at its word and reads nothing.
"""

import io
import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

_FMT_EXTENSIBLE = 0xFFFE
_STREAMED_FROM = 0x7FFFF000  # sizes from here on were never filled in, unless ds64 gives them


@dataclass(frozen=True)
class WavHeader:
    """Where the chunks of a WAV file lie, in bytes from its start.

    Attributes:
        big_endian: the file is RIFX.
        rf64: the file is RF64 and its sizes are in a ds64 chunk at `ds64_at`.
        claimed: length of the samples that the header claims, None if it was never filled in.
        available: bytes from the start of the samples to the end of the file.
        block: bytes a frame (all channels).
    """

    big_endian: bool
    rf64: bool
    ds64_at: int | None
    fmt_at: int
    data_at: int
    claimed: int | None
    available: int
    block: int
    channel_mask: int | None

    @property
    def unfilled(self) -> bool:
        """The header was never finished although samples follow it."""
        return self.claimed is None and self.available >= self.block

    @property
    def truncated(self) -> bool:
        """The file ends before the samples that its header claims."""
        return self.claimed is not None and self.claimed > self.available


def scan_wav(stream: BinaryIO) -> WavHeader | None:
    """Read the chunk list of a seekable stream; None if it is no WAV or lacks fmt or data."""
    stream.seek(0)
    head = stream.read(12)
    if len(head) < 12 or head[:4] not in (b"RIFF", b"RIFX", b"RF64") or head[8:] != b"WAVE":
        return None
    order = ">" if head[:4] == b"RIFX" else "<"
    end = stream.seek(0, os.SEEK_END)
    at, ds64_at, ds64_size, fmt_at, fmt = 12, None, 0, None, b""
    while at + 8 <= end:
        stream.seek(at)
        name, size = struct.unpack(order + "4sI", stream.read(8))
        if name == b"ds64":
            ds64_at = at
            ds64_size = struct.unpack("<QQ", stream.read(16).ljust(16, b"\0"))[1]
        elif name == b"fmt ":
            fmt_at, fmt = at, stream.read(min(size, 40))
        elif name == b"data":
            break
        at += 8 + size + size % 2
    else:
        return None
    if fmt_at is None or len(fmt) < 16:
        return None
    claimed = ds64_size if head[:4] == b"RF64" and size == 0xFFFFFFFF else size
    available = end - (at + 8)
    empty = claimed == 0 and available > 0
    endless = claimed >= _STREAMED_FROM and claimed > available
    unfilled = endless or (empty and not _chunks_follow(stream, at + 8, end, order))
    return WavHeader(
        big_endian=order == ">",
        rf64=head[:4] == b"RF64",
        ds64_at=ds64_at,
        fmt_at=fmt_at,
        data_at=at + 8,
        claimed=None if unfilled else claimed,
        available=available,
        block=max(1, struct.unpack_from(order + "H", fmt, 12)[0]),
        channel_mask=_channel_mask(order, fmt),
    )


def _channel_mask(order: str, fmt: bytes) -> int | None:
    if len(fmt) < 24 or struct.unpack_from(order + "H", fmt)[0] != _FMT_EXTENSIBLE:
        return None
    return int(struct.unpack_from(order + "I", fmt, 20)[0])


def _chunks_follow(stream: BinaryIO, at: int, end: int, order: str) -> bool:
    """Whether bytes `at`..`end` are whole chunks: then a data chunk of size 0 is really empty."""
    while at + 8 <= end:
        stream.seek(at)
        name, size = struct.unpack(order + "4sI", stream.read(8))
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        at += 8 + size + size % 2
    return at in (end, end + 1)


def filled_header(stream: BinaryIO, header: WavHeader) -> bytes:
    """The bytes up to the samples, with the sizes that the length of the file says.

    Files over 4 GiB cannot say their size in a plain header: theirs stays at the largest value,
    which libsndfile takes to mean "to the end of the file".
    """
    stream.seek(0)
    head = bytearray(stream.read(header.data_at))
    order = ">" if header.big_endian else "<"
    size = header.available - header.available % header.block
    riff = header.data_at - 8 + size
    if header.rf64 and header.ds64_at is not None:
        struct.pack_into("<QQQ", head, header.ds64_at + 8, riff, size, size // header.block)
    struct.pack_into(order + "I", head, 4, min(riff, 0xFFFFFFFF))
    struct.pack_into(order + "I", head, header.data_at - 4, min(size, 0xFFFFFFFF))
    if header.rf64:
        struct.pack_into("<I", head, 4, 0xFFFFFFFF)
        struct.pack_into("<I", head, header.data_at - 4, 0xFFFFFFFF)
    return bytes(head)


class WithHeader(io.RawIOBase):
    """A seekable binary file whose first bytes read as `head`, and the rest as they are."""

    def __init__(self, stream: BinaryIO, head: bytes) -> None:
        super().__init__()
        self._stream, self._head, self._at = stream, head, 0
        self._end = stream.seek(0, os.SEEK_END)

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as files do; positions before the start are taken as the start."""
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` as far as the file goes and return the number of bytes."""
        view = memoryview(buffer).cast("B")
        if self._at < len(self._head):
            piece = self._head[self._at : self._at + len(view)]
        else:
            self._stream.seek(self._at)
            piece = self._stream.read(len(view))
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        """Close the file underneath too."""
        if not self.closed:
            self._stream.close()
        super().close()


def set_channel_mask(path: str, mask: int) -> None:
    """Write the speaker positions into a finished WAVE_FORMAT_EXTENSIBLE file, in place."""
    with open(path, "r+b") as stream:
        header = scan_wav(stream)
        if header is not None and header.channel_mask is not None:
            stream.seek(header.fmt_at + 8 + 20)
            stream.write(struct.pack(">I" if header.big_endian else "<I", mask))


def set_aiff_frames(path: str, frames: int) -> None:
    """Write the true number of frames into a finished AIFF of one-byte samples, in place.

    libsndfile derives the number from the size of the sound, pad byte included.
    """
    with open(path, "r+b") as stream:
        if aiff_frames(stream) is not None:
            stream.seek(-4, os.SEEK_CUR)
            stream.write(struct.pack(">I", frames))


def aiff_frames(stream: BinaryIO) -> int | None:
    """The number of frames in the COMM chunk of an AIFF, None if this is no AIFF.

    libsndfile counts the pad byte of an odd 8-bit sound as a sample; the header does not.
    """
    stream.seek(0)
    head = stream.read(12)
    if head[:4] != b"FORM" or head[8:] not in (b"AIFF", b"AIFC"):
        return None
    at = 12
    while len(chunk := stream.read(14)) == 14:
        name, size, _, frames = struct.unpack(">4sIHI", chunk)
        if name == b"COMM":
            return int(frames)
        at += 8 + size + size % 2
        stream.seek(at)
    return None
