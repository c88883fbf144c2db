"""What is known of items beside who took them: columns of categories in a table about items."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recurra.core.errors import RecurraError
from recurra.recsys.catalogue import Catalogue
from recurra.recsys.data.interactions import Interactions


@dataclass(frozen=True)
class ItemFeatures:
    """The values of some columns, numbered through.

    Attributes:
        columns: their names.
        n_values: F, how many values the items have.
        values: (V + 1, P) int64, of each item the numbers of its values, from 1 on; 0 fills up.
    """

    columns: tuple[str, ...]
    n_values: int
    values: np.ndarray

    def summary(self) -> str:
        """What there is, in words."""
        have = int((self.values > 0).any(axis=1).sum())
        return (
            f"{self.n_values} values of {', '.join(self.columns)};"
            f" {have} of {len(self.values) - 1} items have some"
        )

    def digest(self) -> str:
        """Other features, another text."""
        found = hashlib.sha256(repr((self.columns, self.n_values, self.values.shape)).encode())
        found.update(np.ascontiguousarray(self.values))
        return found.hexdigest()[:16]


@dataclass(frozen=True)
class FeatureColumns:
    """Where features are to be read: columns of a file about items, see `Catalogue.values`."""

    path: Path
    columns: tuple[str, ...]

    def read(self, log: Interactions) -> ItemFeatures:
        """Read them for the items of a log.

        Raises:
            RecurraError: the file cannot be read, lacks a column, or knows none of the items.
        """
        catalogue = Catalogue(self.path)
        lists: list[list[int]] = [[] for _ in range(log.n_items + 1)]
        numbers: dict[tuple[str, str], int] = {}
        for column in dict.fromkeys(self.columns):
            for item, values in enumerate(catalogue.values(log, column), start=1):
                for value in values:
                    number = numbers.setdefault((column, value), len(numbers) + 1)
                    lists[item].append(number)
        if not numbers:
            names = ", ".join(self.columns)
            raise RecurraError(
                f"{self.path}: no item of the log has a value of {names}; ids are compared as"
                f" text, and the log has such as {log.items[0]}"
            )
        table = np.zeros((len(lists), max(map(len, lists))), np.int64)
        for row, found in zip(table, lists, strict=True):
            row[: len(found)] = found
        return ItemFeatures(self.columns, len(numbers), table)
