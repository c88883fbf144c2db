"""Files as tables, a piece at a time, and what is wrong with one that is none."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from recurra.core.errors import RecurraError
from recurra.recsys.data.text_pieces import (
    longest_row,
    not_utf8,
    open_quote,
    separator_of,
    text_pieces,
)

ROWS = 1_000_000  # of Parquet that are read at once


def is_text(path: Path) -> bool:
    """Whether a file is read as text, of which every value is text; else it is Parquet."""
    return path.suffix != ".parquet"


def table_pieces(path: Path) -> Iterator[pl.LazyFrame]:
    """Open a table by its name: .parquet, or text with a header, of which all is text.

    The separator of a text is the one that the header has most of; .gz is unpacked. There is at
    least one piece, and all have the same columns. polars would map the whole file, whose pages
    count as memory of the process: so each piece is opened by itself.

    Raises:
        RecurraError: there is no such file, or it is neither.
    """
    if path.is_dir():
        raise RecurraError(f"{path} is a folder; give the file of the log")
    if not path.is_file():
        raise RecurraError(f"{path}: no such file")
    with table_errors(path):
        if is_text(path):
            separator = separator_of(path)
            for piece in text_pieces(path):
                yield pl.scan_csv(piece, separator=separator, infer_schema=False)
        else:
            table = pl.scan_parquet(path)
            rows = table.select(pl.len()).collect().item()
            for start in range(0, max(rows, 1), ROWS):
                yield table.slice(start, ROWS)


@contextmanager
def table_errors(path: Path) -> Iterator[None]:
    """Turn what polars says of a file into one line."""
    try:
        yield
    except pl.exceptions.NoDataError as error:
        raise RecurraError(
            f"{path} is empty; give a table with a header, a column of users and one of items"
        ) from error
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error) as error:
        raise RecurraError(f"{path} cannot be read as a table: {_fault(path, error)}") from error


def whole_numbers(ids: pl.Expr) -> pl.Expr:
    """Whether ids of a floating type are all whole; a gap in a column of pandas makes them so."""
    present = ids.fill_nan(None)
    return ((present == present.floor()) & (present.abs() < 2**63)).all()


def as_whole(ids: pl.Expr) -> pl.Expr:
    """Such ids as the numbers that they were."""
    return ids.fill_nan(None).cast(pl.Int64)


def _fault(path: Path, error: Exception) -> str:
    """What is wrong, where, and what helps."""
    first = (str(error).strip().splitlines() or ["?"])[0]
    if not is_text(path):
        return f"{first}; give a Parquet file, or text with a header by another name"
    if not isinstance(error, pl.exceptions.PolarsError):
        return f"{first}; see that the .gz is whole" if path.suffix == ".gz" else first
    if "utf-8" in first:
        return f"{not_utf8(path)} is not UTF-8; save the file as UTF-8"
    if "more fields" in first:
        line, found, wanted = longest_row(path)
        return (
            f"line {line} has {found} values and the header {wanted}; put values that hold"
            f" {separator_of(path)!r} in double quotes"
        )
    return f"{first.split(', in chunk')[0]}; {open_quote(path)}"
