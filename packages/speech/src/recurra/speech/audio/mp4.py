"""The time unit of an mp4 file, which tells whether its length is exact to the sample."""

import struct
from typing import BinaryIO


def movie_timescale(stream: BinaryIO) -> int | None:
    """Units a second in which an mp4's edit lists count; None if the file has no movie header.

    Many writers count in milliseconds, so that the length of the audio is only known to 1 ms.
    """
    moov = _find(stream, b"moov", 0, None)
    if moov is None:
        return None
    mvhd = _find(stream, b"mvhd", *moov)
    if mvhd is None:
        return None
    stream.seek(mvhd[0])
    version = stream.read(4)[:1]
    stream.seek(mvhd[0] + (20 if version == b"\1" else 12))
    raw = stream.read(4)
    return int(struct.unpack(">I", raw)[0]) if len(raw) == 4 else None


def _find(
    stream: BinaryIO, wanted: bytes, start: int, end: int | None
) -> tuple[int, int | None] | None:
    """Begin and end of the contents of the first box `wanted` between two positions."""
    at = start
    while end is None or at + 8 <= end:
        stream.seek(at)
        head = stream.read(16)
        if len(head) < 8:
            return None
        size, name = struct.unpack(">I4s", head[:8])
        inside = 8
        if size == 1 and len(head) == 16:
            size, inside = struct.unpack(">Q", head[8:])[0], 16
        if name == wanted:
            return at + inside, at + size if size else end
        if size < inside:
            return None
        at += size
    return None
