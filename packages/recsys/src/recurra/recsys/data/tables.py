"""Files as tables, and what is wrong with one that is none."""

import csv
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import polars as pl

from recurra.core.errors import RecurraError

SEPARATORS = ["\t", ";", "|", ","]


def is_text(path: Path) -> bool:
    """Whether a file is read as text, of which every value is text; else it is Parquet."""
    return path.suffix != ".parquet"


def scan_table(path: Path) -> pl.LazyFrame:
    """Open a table by its name: .parquet, or text with a header, of which all is text.

    The separator of a text is the one that the header has most of; .gz is unpacked.

    Raises:
        RecurraError: there is no such file, or it is neither.
    """
    if path.is_dir():
        raise RecurraError(f"{path} is a folder; give the file of the log")
    if not path.is_file():
        raise RecurraError(f"{path}: no such file")
    with table_errors(path):
        if is_text(path):
            return pl.scan_csv(path, separator=_separator(path), infer_schema=False)
        return pl.scan_parquet(path)


@contextmanager
def table_errors(path: Path) -> Iterator[None]:
    """Turn what polars says of a file into one line."""
    try:
        yield
    except pl.exceptions.NoDataError as error:
        raise RecurraError(
            f"{path} is empty; give a table with a header, a column of users and one of items"
        ) from error
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise RecurraError(f"{path} cannot be read as a table: {_fault(path, error)}") from error


def whole_numbers(ids: pl.Expr) -> pl.Expr:
    """Whether ids of a floating type are all whole; a gap in a column of pandas makes them so."""
    present = ids.fill_nan(None)
    return ((present == present.floor()) & (present.abs() < 2**63)).all()


def as_whole(ids: pl.Expr) -> pl.Expr:
    """Such ids as the numbers that they were."""
    return ids.fill_nan(None).cast(pl.Int64)


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _separator(path: Path) -> str:
    with _open(path) as file:
        header = file.readline()
    if b"\0" in header:
        raise RecurraError(f"{path} is no UTF-8 text; save it as UTF-8, or as .parquet")
    text = header.decode(errors="replace")
    return max(SEPARATORS, key=lambda separator: (text.count(separator), separator == ","))


def _fault(path: Path, error: Exception) -> str:
    """What is wrong, where, and what helps."""
    first = (str(error).strip().splitlines() or ["?"])[0]
    if not is_text(path):
        return f"{first}; give a Parquet file, or text with a header by another name"
    if "utf-8" in first:
        return f"{_not_utf8(path)} is not UTF-8; save the file as UTF-8"
    if "more fields" in first:
        line, found, wanted = _longest_row(path)
        return (
            f"line {line} has {found} values and the header {wanted}; put values that hold"
            f" {_separator(path)!r} in double quotes"
        )
    return f"{first}; look for a double quote that is not closed"


def _not_utf8(path: Path) -> str:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f"line {number}"
    return "a line"


def _longest_row(path: Path) -> tuple[int, int, int]:
    """The line of the first row that is longer than the header, its values and the header's."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter=_separator(path))
        wanted = len(next(rows))
        for row in rows:
            if len(row) > wanted:
                return rows.line_num, len(row), wanted
    return 0, 0, wanted
