"""Numbers for ids, and the k-core, in arrays of numbers: what a log in memory and on disk share."""

from collections.abc import Callable, Iterable

import numpy as np
import polars as pl

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: Knuth, volume 3, 6.4


class IdTable:
    """Ids in the order in which they first came; the place of an id is its code.

    A hash table with linear probing, in arrays, so that a batch is looked up at once. Ids are found
    by their hashes and then compared.

    Attributes:
        ids: all ids by code, after the first call of `codes`.
    """

    ids: pl.Series

    def __init__(self) -> None:
        self._seed = 0
        self._hashes = np.empty(0, np.uint64)  # by code
        self._slots = np.full(2, -1, np.int32)  # codes; at least half of them are -1, which is free

    def codes(self, values: pl.Series) -> np.ndarray:
        """Codes of ids, int32 (n,); those that have none yet get the next ones.

        Args:
            values: of one type in all calls, without null.
        """
        if not hasattr(self, "ids"):
            self.ids = values.clear()
        while True:
            hashes = values.hash(self._seed).to_numpy()
            found = self._find(hashes)
            new = np.flatnonzero(found < 0)
            if len(new):
                places = np.sort(new[np.unique(hashes[new], return_index=True)[1]])
                self._add(values.gather(places), hashes[places])
                found[new] = self._find(hashes[new])
            if (self.ids.gather(found) == values).all():
                return found
            self._seed += 1  # two ids have one hash, perhaps once in 10**7 logs of a million ids
            self._hashes = self.ids.hash(self._seed).to_numpy()
            self._fill(len(self._slots))

    def _find(self, hashes: np.ndarray) -> np.ndarray:
        """Codes by hash: int32 (n,), -1 for those that are not there."""
        slots = self._home(hashes)
        found = self._slots[slots]
        others = np.flatnonzero(found >= 0)
        while len(others := others[self._hashes[found[others]] != hashes[others]]):
            slots[others] = (slots[others] + 1) & (len(self._slots) - 1)
            found[others] = self._slots[slots[others]]
            others = others[found[others] >= 0]
        return found

    def _home(self, hashes: np.ndarray) -> np.ndarray:
        """The slot where the search for a hash begins."""
        bits = len(self._slots).bit_length() - 1
        return (hashes * GOLDEN >> np.uint64(64 - bits)).astype(np.int64)

    def _add(self, new: pl.Series, hashes: np.ndarray) -> None:
        if new.dtype == pl.String:
            # Text that was picked from a batch would keep all the text of the batch in memory.
            new = pl.Series(new.name, new.to_list(), pl.String)
        first = len(self.ids)
        self.ids = pl.concat([self.ids, new], rechunk=True)
        self._hashes = np.concatenate([self._hashes, hashes])
        if 2 * len(self.ids) > len(self._slots):
            self._fill(1 << (4 * len(self.ids) - 1).bit_length())
        else:
            self._put(first)

    def _fill(self, slots: int) -> None:
        self._slots = np.full(slots, -1, np.int32)
        self._put(0)

    def _put(self, first: int) -> None:
        """Put codes from `first` on into free slots."""
        codes = np.arange(first, len(self._hashes), dtype=np.int32)
        slots = self._home(self._hashes[first:])
        while len(codes):
            free = self._slots[slots] < 0
            self._slots[slots[free]] = codes[free]  # of several for one slot, one gets it
            left = self._slots[slots] != codes
            codes, slots = codes[left], (slots[left] + 1) & (len(self._slots) - 1)


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
