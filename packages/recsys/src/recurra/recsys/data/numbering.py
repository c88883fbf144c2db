"""Numbers for ids, and the k-core, in arrays of numbers: what a log in memory and on disk share."""

from collections.abc import Callable, Iterable

import numpy as np
import polars as pl


class IdTable:
    """Ids in the order in which they first came; the place of an id is its code."""

    def __init__(self) -> None:
        self._table: pl.DataFrame | None = None

    def codes(self, values: pl.Series) -> np.ndarray:
        """Codes of ids, int32 (n,); those that have none yet get the next ones."""
        if self._table is None:
            self._table = _with_codes(values.head(0), 0)
        found = self._find(values)
        if found.null_count():
            new = values.filter(found.is_null()).unique(maintain_order=True)
            self._table = pl.concat([self._table, _with_codes(new, len(self._table))], rechunk=True)
            found = self._find(values)
        return found.to_numpy()

    @property
    def ids(self) -> pl.Series:
        """All ids by code."""
        assert self._table is not None
        return self._table["id"]

    def _find(self, values: pl.Series) -> pl.Series:
        frame = pl.DataFrame({"id": values})
        return frame.join(self._table, on="id", how="left", maintain_order="left")["code"]


def _with_codes(ids: pl.Series, first: int) -> pl.DataFrame:
    codes = np.arange(first, first + len(ids), dtype=np.int32)
    return pl.DataFrame({"id": ids, "code": codes})


def number_by_count(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number from 1, the most frequent first, the first that came where counts are equal.

    Args:
        counts: (n,) events of each code.

    Returns:
        int32 (n,) the number of each code, 0 where there is no event, and int64 (V,) the code of
        each number.
    """
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    numbers = np.zeros(len(counts), np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers, order


def core_members(
    pairs: Callable[[], Iterable[tuple[np.ndarray, np.ndarray]]],
    n_users: int,
    n_items: int,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k-core: the users and items that have k events each among themselves.

    Args:
        pairs: gives the events in pieces, codes of users and of items; called once a round.
        n_users, n_items: how many codes there are.
        k: least number of events.

    Returns:
        bool (n_users,) and bool (n_items,), who and what is in.
    """
    users, items = np.ones(n_users, bool), np.ones(n_items, bool)
    while True:
        of_users, of_items = np.zeros(n_users, np.int64), np.zeros(n_items, np.int64)
        for user, item in pairs():
            kept = users[user] & items[item]
            of_users += np.bincount(user[kept], minlength=n_users)
            of_items += np.bincount(item[kept], minlength=n_items)
        next_users, next_items = users & (of_users >= k), items & (of_items >= k)
        if (next_users == users).all() and (next_items == items).all():
            return users, items
        users, items = next_users, next_items
