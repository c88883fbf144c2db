"""A text of rows, cut between rows, so that no more of it is in memory than a piece."""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from recurra.core.errors import RecurraError

SEPARATORS = ["\t", ";", "|", ","]
BEFORE = b"\xef\xbb\xbf\r\n"  # a byte order mark and empty lines, which may stand before a header
PIECE = 1 << 24  # bytes that are read at once, and the most that a row may have


def text_pieces(path: Path) -> Iterator[bytes]:
    """Read a text in pieces of whole rows, each under the header; .gz is unpacked.

    A row ends with a line, unless the line is inside double quotes. A table is read from each piece
    as from the whole. There is at least one piece.

    Raises:
        RecurraError: a row is longer than `PIECE`, as after a double quote that is not closed.
    """
    with _open(path) as file:
        header, rest = b"", b""
        while block := file.read(PIECE):
            text = rest + block
            end = _end_of_last_row(text)
            if not end and len(text) > PIECE:
                raise RecurraError(
                    f"{path} has a row of more than {PIECE} bytes; {open_quote(path)}"
                )
            if end:
                yield header + text[:end]
                header = header or text[: _end_of_first_row(text)]
            rest = text[end:]
        if rest or not header:
            yield header + rest


def separator_of(path: Path) -> str:
    """What the header of a text has most of, among the usual separators.

    Raises:
        RecurraError: it is no text of UTF-8.
    """
    with _open(path) as file:
        header = next((line for line in file if line.strip(BEFORE)), b"")
    if b"\0" in header:
        raise RecurraError(f"{path} is no UTF-8 text; save it as UTF-8, or as .parquet")
    text = header.decode(errors="replace")
    return max(SEPARATORS, key=lambda separator: (text.count(separator), separator == ","))


def not_utf8(path: Path) -> str:
    """The line that is not UTF-8, in words."""
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f"line {number}"
    return "a line"


def open_quote(path: Path) -> str:
    """Where to look for a double quote that is not closed, in words."""
    with _open(path) as file:
        odd = (number for number, line in enumerate(file, start=1) if line.count(b'"') % 2)
        first = next(odd, None)
    told = "look for a double quote that is not closed"
    return told if first is None else f"{told}, from line {first} on"


def longest_row(path: Path) -> tuple[int, int, int]:
    """The line of the first row that is longer than the header, its values and the header's."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter=separator_of(path))
        wanted = len(next(rows))
        for row in rows:
            if len(row) > wanted:
                return rows.line_num, len(row), wanted
    return 0, 0, wanted


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _end_of_last_row(text: bytes) -> int:
    """Where the last whole row ends of a text that begins with a row; 0 if it has none."""
    quotes, end = text.count(b'"'), len(text)
    while (line_end := text.rfind(b"\n", 0, end)) >= 0:
        quotes -= text.count(b'"', line_end, end)  # those before the end of this line
        if quotes % 2 == 0:
            return line_end + 1
        end = line_end
    return 0


def _end_of_first_row(text: bytes) -> int:
    """Where the first row ends that is not empty; such rows before a header do not count."""
    start = len(text) - len(text.lstrip(BEFORE))
    quotes, end = 0, text.find(b"\n", start)
    while end >= 0:
        quotes += text.count(b'"', start, end)
        if quotes % 2 == 0:
            return end + 1
        start, end = end, text.find(b"\n", end + 1)
    return len(text)
