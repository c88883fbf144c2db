"""ID3v2 tags of MP3 files: libsndfile writes only Latin letters right, and no pictures.

Format: https://id3.org/id3v2.4.0-structure
"""

import os
import shutil
from pathlib import Path
from typing import BinaryIO

_FRAMES = {
    "title": b"TIT2",
    "artist": b"TPE1",
    "album": b"TALB",
    "date": b"TDRC",
    "genre": b"TCON",
    "tracknumber": b"TRCK",
    "copyright": b"TCOP",
    "comment": b"COMM",
}


def tag_length(stream: BinaryIO) -> int:
    """Bytes of the ID3v2 tag at the start of a stream, 0 where there is none."""
    stream.seek(0)
    head = stream.read(10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = sum((byte & 0x7F) << (7 * (3 - i)) for i, byte in enumerate(head[6:10]))
    footer = 10 if head[5] & 0x10 else 0
    return 10 + size + footer


def read_tag(path: Path) -> bytes:
    """The whole ID3v2 tag of a file, pictures included, as it is; empty where there is none."""
    with open(path, "rb") as stream:
        length = tag_length(stream)
        stream.seek(0)
        return stream.read(length)


def make_tag(tags: dict[str, str]) -> bytes:
    """An ID3v2.4 tag of the texts that it has a place for; empty where there are none."""
    body = b""
    for key, value in tags.items():
        name = _FRAMES.get(key)
        if name is None or not value:
            continue
        # encoding 3 is UTF-8; a comment has a language and a short description before its text
        text = b"\3" + (b"und\0" if name == b"COMM" else b"") + value.encode("utf-8", "replace")
        body += name + _synchsafe(len(text)) + b"\0\0" + text
    return b"ID3\4\0\0" + _synchsafe(len(body)) + body if body else b""


def put_first(tag: bytes, path: Path) -> None:
    """Put a tag at the start of a finished MP3 file, through a copy beside it."""
    copy = path.with_name(path.name + ".tagged")
    try:
        with open(path, "rb") as plain, open(copy, "xb") as tagged:
            tagged.write(tag)
            shutil.copyfileobj(plain, tagged, 1 << 20)
        os.replace(copy, path)
    finally:
        copy.unlink(missing_ok=True)


def _synchsafe(number: int) -> bytes:
    """Four bytes of seven bits each."""
    return bytes((number >> shift) & 0x7F for shift in (21, 14, 7, 0))
