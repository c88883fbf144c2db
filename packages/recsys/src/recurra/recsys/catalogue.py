"""Files about items: lists of ids, and a table with titles and categories."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from recurra.core.errors import RecurraError
from recurra.recsys.data import Interactions, read_table
from recurra.recsys.data.log_rows import MISSING, NAMES
from recurra.recsys.data.tables import as_whole, whole_numbers

ID_NAMES = [*NAMES["item"], "id"]
BETWEEN_VALUES = "|"  # as in MovieLens


def read_ids(path: Path, what: str) -> list[str]:
    """Read ids, one a line; empty lines do not count.

    Raises:
        RecurraError: the file cannot be read or holds no id.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise RecurraError(f"{path}: {reason}") from error
    ids = [line.strip() for line in lines if line.strip()]
    if not ids:
        raise RecurraError(f"{path} names no {what}; give one id a line")
    return ids


def allowed_items(
    log: Interactions, only: Sequence[object] | None, exclude: Sequence[object] | None
) -> tuple[np.ndarray, int]:
    """Mark the items of `only`, all if it is None, that are not of `exclude`.

    Returns:
        bool (V + 1,), and how many of the ids given the log does not have.
    """
    allowed = np.full(log.n_items + 1, only is None)
    unknown = 0
    for ids, mark in ((only, True), (exclude, False)):
        numbers = log.number(ids or ())
        allowed[numbers] = mark
        unknown += len(ids or ()) - len(numbers)
    return allowed, unknown


class Catalogue:
    """A table about items, such as their titles, found by the items' ids as text.

    Attributes:
        table: the column "item" as text, and the file's other columns, RecBole's without their
            types: `class:token_seq` is class.
    """

    def __init__(self, path: Path) -> None:
        """Read a table as a log is read, with a column of ids named as usual, or `id`.

        Raises:
            RecurraError: it cannot be read, or has no column of ids.
        """
        table = read_table(path)
        typed = {name: name.rsplit(":", 1) for name in table.columns if name.count(":") == 1}
        self._spaced = {name for name, kind in typed.values() if kind == "token_seq"}
        table = table.rename({name: parts[0] for name, parts in typed.items()})
        plain = {name.strip().lower().replace(" ", "_"): name for name in table.columns}
        column = next((plain[name] for name in ID_NAMES if name in plain), None)
        if column is None:
            raise RecurraError(
                f"{path} has no column of items; it has {', '.join(table.columns)}: name one 'item'"
            )
        own = pl.col(column)
        if table[column].dtype.is_float() and table.select(whole_numbers(own)).item():
            own = as_whole(own)
        ids = table.select(own.cast(pl.String)).to_series().alias("item")
        rest = table.drop(column, *(["item"] if "item" in table.columns else []), strict=False)
        self.path = path
        self.table = rest.with_columns(ids).unique("item", keep="first", maintain_order=True)

    def join(self, lists: pl.DataFrame) -> pl.DataFrame:
        """Put the file's columns behind a table with a column "item"; null for items it lacks.

        A column of the file that is named as one of the table is called `item_NAME`.
        """
        taken = set(lists.columns) - {"item"}
        about = self.table.rename({c: f"item_{c}" for c in self.table.columns if c in taken})
        keyed = lists.with_columns(pl.col("item").cast(pl.String).alias("_item"))
        joined = keyed.join(
            about.rename({"item": "_item"}), on="_item", how="left", maintain_order="left"
        )
        return joined.drop("_item")

    def categories(self, log: Interactions, column: str) -> np.ndarray:
        """Numbers of the categories of all items: int64 (V + 1,), -1 for those without one.

        Raises:
            RecurraError: the file has no such column.
        """
        codes = self._of_items(log, column).rank("dense").fill_null(0).cast(pl.Int64).to_numpy() - 1
        return np.concatenate([[-1], codes])

    def values(self, log: Interactions, column: str) -> Iterator[list[str]]:
        """Each item's values in a column, none for those without.

        A cell may hold several: a list of Parquet does, and a text with "|" between them, or with
        spaces in a `token_seq` of RecBole.

        Raises:
            RecurraError: the file has no such column.
        """
        found = self._of_items(log, column)
        if found.dtype == pl.String:
            found = found.str.split(" " if column in self._spaced else BETWEEN_VALUES)
        elif not isinstance(found.dtype, pl.List):
            found = found.cast(pl.String).reshape((-1, 1)).arr.to_list()
        for cell in found.cast(pl.List(pl.String)):
            values = [] if cell is None else [text.strip() for text in cell if text is not None]
            yield [text for text in dict.fromkeys(values) if text and text not in MISSING]

    def _of_items(self, log: Interactions, column: str) -> pl.Series:
        """A column's cells, an item of the log each, null for those that the file lacks."""
        if column not in self.table.columns or column == "item":
            names = ", ".join(name for name in self.table.columns if name != "item")
            raise RecurraError(f"{self.path} has no column {column!r}; it has {names}")
        items = pl.DataFrame({"item": log.items.cast(pl.String)})
        return items.join(self.table, on="item", how="left", maintain_order="left")[column]
