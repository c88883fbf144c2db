"""Lists to files and to a terminal."""

import sys
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from polars import selectors

from recurra.core.cli import print_json, print_table
from recurra.core.errors import RecurraError
from recurra.core.files import replaced_file
from recurra.recsys.recommender import Recommendations

SHOWN = 50  # rows of a table on a terminal


def check_table(path: Path | None) -> None:
    """Refuse a name that `write_table` would, before the work that makes the table.

    Raises:
        RecurraError: another ending than .csv or .parquet.
    """
    if path is not None and path.suffix not in (".csv", ".parquet"):
        raise RecurraError(f"{path}: lists are written as .csv or .parquet")


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write .csv or .parquet, whole or not at all.

    Raises:
        RecurraError: another ending, or the file cannot be written.
    """
    check_table(path)
    writers = {".csv": table.write_csv, ".parquet": table.write_parquet}
    with replaced_file(path) as partial:
        writers[path.suffix](partial)


def show(found: Recommendations, output: Path | None, *, json: bool, unknown_ids: int = 0) -> None:
    """Tell what was written, or print the lists; what was skipped goes to stderr.

    Args:
        found: the lists.
        output: where they were written; None prints them.
        json: one document.
        unknown_ids: how many ids of files of items the model does not know.
    """
    counts = {
        "unknown_users": found.unknown_users,
        "unknown_items": found.unknown_items,
        "cold_starts": found.cold_starts,
        "empty_lists": found.empty_lists,
        "unknown_ids_of_files": unknown_ids,
    }
    show_table(found.table, output, "lists", json=json, also=counts)
    if found.unknown_users:
        print(f"skipped unknown users: {found.unknown_users}", file=sys.stderr)
    if found.unknown_items:
        print(f"skipped unknown items: {found.unknown_items}", file=sys.stderr)
    if unknown_ids:
        print(f"skipped unknown items of --only and --exclude: {unknown_ids}", file=sys.stderr)
    if found.empty_lists:
        print(
            f"lists without an item: {found.empty_lists}; the histories hold all that may be in"
            " them: give --seen, more items to --only or fewer to --exclude",
            file=sys.stderr,
        )
    if found.cold_starts:
        print(
            f"histories without a known item, given the most popular: {found.cold_starts}",
            file=sys.stderr,
        )


def show_similar(table: pl.DataFrame, output: Path | None, unknown: int, *, json: bool) -> None:
    """Tell where items that are alike were written, or print them, and how many were skipped."""
    show_table(table, output, "similar", json=json, also={"unknown_items": unknown})
    if unknown:
        print(f"skipped unknown items: {unknown}", file=sys.stderr)


def show_table(
    table: pl.DataFrame,
    output: Path | None,
    name: str,
    *,
    json: bool,
    also: Mapping[str, object] | None = None,
) -> None:
    """Tell where a table was written, or print it, or one document with it under `name`."""
    if json:
        written = None if output is None else str(output)
        # Ids may be of a type that JSON does not have, such as dates.
        as_text = (~selectors.numeric() & ~selectors.string() & ~selectors.boolean()).cast(
            pl.String
        )
        rows = [] if output is not None else table.with_columns(as_text).to_dicts()
        print_json({"output": written, name: rows, **(also or {})})
    elif output is not None:
        print(f"wrote {output}")
    else:
        # Floats with two decimals are scores; ids, and what a file says of items, stay as they are.
        own = selectors.float() - selectors.by_name("score", "cosine", require_all=False)
        shown = table.head(SHOWN).with_columns(own.cast(pl.String))
        print_table(shown.rows(), shown.columns)
        if len(table) > SHOWN:
            left = len(table) - SHOWN
            print(f"further rows: {left}; -o FILE has all of them", file=sys.stderr)
