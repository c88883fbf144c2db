"""Files of users in, files of lists out."""

import sys
from pathlib import Path

import polars as pl

from recurra.core.cli import print_json, print_table
from recurra.core.errors import RecurraError
from recurra.core.files import replaced_file
from recurra.recsys.recommender import Recommendations

SHOWN = 50  # rows of a table on a terminal


def read_users(path: Path) -> list[str]:
    """Read ids of users, one a line; empty lines do not count.

    Raises:
        RecurraError: the file cannot be read or names nobody.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise RecurraError(f"{path}: {reason}") from error
    users = [line.strip() for line in lines if line.strip()]
    if not users:
        raise RecurraError(f"{path} names no user; give one id a line")
    return users


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write .csv or .parquet, whole or not at all.

    Raises:
        RecurraError: another ending, or the file cannot be written.
    """
    writers = {".csv": table.write_csv, ".parquet": table.write_parquet}
    if path.suffix not in writers:
        raise RecurraError(f"{path}: lists are written as .csv or .parquet")
    with replaced_file(path) as partial:
        writers[path.suffix](partial)


def show(found: Recommendations, output: Path | None, *, json: bool) -> None:
    """Tell what was written, or print the lists; what was skipped goes to stderr."""
    if json:
        lists = [] if output is not None else found.table.to_dicts()
        print_json(
            {
                "output": None if output is None else str(output),
                "lists": lists,
                "unknown_items": found.unknown_items,
                "cold_starts": found.cold_starts,
            }
        )
    elif output is not None:
        print(f"wrote {output}")
    else:
        print_table(found.table.head(SHOWN).rows(), found.table.columns)
    if found.unknown_items:
        print(f"skipped unknown items: {found.unknown_items}", file=sys.stderr)
    if found.cold_starts:
        print(
            f"histories without a known item, given the most popular: {found.cold_starts}",
            file=sys.stderr,
        )
    if output is None and not json and len(found.table) > SHOWN:
        left = len(found.table) - SHOWN
        print(f"further rows: {left}; -o FILE has all of them", file=sys.stderr)
