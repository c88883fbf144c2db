"""Who took what, in the order of time: the one form of a log that everything else takes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from recurra.recsys.data.numbering import IdTable, core_members, number_by_count


@dataclass(frozen=True)
class Interactions:
    """Histories of users, one after another.

    Items are numbered from 1, the most frequent first; 0 is no item. Users are numbered from 0.

    Attributes:
        users: (U,) the users' own ids, in the order of their first row in the log.
        items: (V,) the items' own ids; item n is `items[n - 1]`.
        offsets: int64 (U + 1,); the history of user u is `sequence[offsets[u] : offsets[u + 1]]`.
        sequence: int32 (N,), item numbers, oldest first.
        times: (N,) float64, or None for a log without times.
    """

    users: pl.Series
    items: pl.Series
    offsets: np.ndarray
    sequence: np.ndarray
    times: np.ndarray | None = None

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, k_core: int = 1) -> "Interactions":
        """Number and order the rows of a log; rows of a user with equal times keep their order.

        Args:
            frame: columns "user", "item" of any type, and "time" as numbers, or no such column.
            k_core: users and items with fewer events are left out, until none is left that has.
        """
        tables = IdTable(), IdTable()
        users, items = (
            table.codes(frame[name]) for table, name in zip(tables, ("user", "item"), strict=True)
        )
        times = frame["time"].cast(pl.Float64).to_numpy() if "time" in frame.columns else None
        ids_of_users, ids_of_items = tables[0].ids.alias("user"), tables[1].ids.alias("item")
        if k_core > 1:
            sizes = len(ids_of_users), len(ids_of_items)
            in_users, in_items = core_members(lambda: [(users, items)], *sizes, k_core)
            kept = in_users[users] & in_items[items]
            items, times = items[kept], None if times is None else times[kept]
            users = (np.cumsum(in_users) - 1)[users[kept]]
            ids_of_users = ids_of_users.filter(in_users)
        numbers, by_number = number_by_count(np.bincount(items, minlength=len(ids_of_items)))
        keys = (users,) if times is None else (times, users)
        order = np.lexsort(keys)
        counts = np.bincount(users, minlength=len(ids_of_users))
        return cls(
            users=ids_of_users.alias("user"),
            items=ids_of_items.gather(by_number).alias("item"),
            offsets=np.concatenate([[0], np.cumsum(counts)]),
            sequence=numbers[items[order]],
            times=None if times is None else times[order],
        )

    @property
    def n_users(self) -> int:
        """U, how many users there are."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """V, how many items there are."""
        return len(self.items)

    @property
    def lengths(self) -> np.ndarray:
        """int64 (U,), how many events each user has."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def n_short(self) -> int:
        """How many users have fewer than the three events that judging by the last one takes."""
        return int((self.lengths < 3).sum())

    def summary(self) -> str:
        """How large the log is, in words."""
        return (
            f"{len(self)} events of {self.n_users} users and {self.n_items} items; {self.n_short}"
            " users have fewer than 3 events"
        )

    def digest(self) -> str:
        """What a model learns from, in 16 hexadecimal digits: the items' ids and the histories."""
        ids = "\n".join(str(item) for item in self.items)
        found = hashlib.sha256(ids.encode())
        for numbers in (self.offsets, self.sequence):
            found.update(np.ascontiguousarray(numbers))
        return found.hexdigest()[:16]

    def history(self, user: int) -> np.ndarray:
        """Item numbers of a user, oldest first: int32 (n,)."""
        return self.sequence[self.offsets[user] : self.offsets[user + 1]]

    def without_last(self, n: int, users: np.ndarray | None = None) -> "Interactions":
        """Leave out the last n events of each history; with `users` keep only those users.

        Args:
            n: events to leave out; a history that has no more than those is empty then.
            users: numbers of users, or None for all.
        """
        return self.first(np.maximum(self.lengths - n, 0), users)

    def first(self, counts: np.ndarray, users: np.ndarray | None = None) -> "Interactions":
        """Keep the first events of each history; with `users` keep only those users.

        Args:
            counts: int (U,), how many events of each user, at most those that there are.
            users: numbers of users, or None for all.
        """
        kept = np.arange(self.n_users) if users is None else users
        counts = counts[kept]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        places = np.repeat(self.offsets[kept] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Interactions(
            users=self.users.gather(kept),
            items=self.items,
            offsets=offsets,
            sequence=self.sequence[places],
            times=None if self.times is None else self.times[places],
        )

    def number(self, items: Sequence[object]) -> np.ndarray:
        """Numbers of items given by their own ids, those that the log does not have left out.

        Ids are compared as text, so that "12" finds the item 12: int32 (n,).
        """
        found = (self._numbers.get(str(item)) for item in items)
        return np.array([number for number in found if number is not None], np.int32)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {item: place for place, item in enumerate(self.items.cast(pl.String), 1)}
