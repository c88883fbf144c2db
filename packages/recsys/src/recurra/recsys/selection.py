"""Which items a list may hold, and how many of one category."""

from dataclasses import dataclass

import numpy as np

from recurra.recsys.ranking import ItemLists, top_k


@dataclass(frozen=True)
class Selection:
    """A rule for lists, in numbers of items.

    Attributes:
        allowed: bool (V + 1,), or None for all.
        categories: int64 (V + 1,), a number for each category, -1 for an item that has none; None
            where categories do not matter.
        per_category: how many items of one category a list holds at most; items that have none
            are not limited.
    """

    allowed: np.ndarray | None = None
    categories: np.ndarray | None = None
    per_category: int = 1

    def top_k(self, scores: np.ndarray, k: int) -> ItemLists:
        """The k best items of each row that keep to the rule; see `ranking.top_k`.

        A category's best items are taken, and the k best of those of all categories: exactly
        min(k, as many as the rule leaves).

        Args:
            scores: (B, V + 1), from `candidate_scores`.
            k: how many.
        """
        if self.allowed is not None:
            scores = np.where(self.allowed, scores, -np.inf)
        if self.categories is None:
            return top_k(scores, k)
        lists = []
        for items, values in top_k(scores, scores.shape[1]):
            kept = np.flatnonzero(self.keeps(items))[:k]
            lists.append((items[kept], values[kept]))
        return lists

    def keeps(self, items: np.ndarray) -> np.ndarray:
        """Which of some items, best first, a list may hold: bool (n,).

        If they are the best ones of all, what is kept of them begins the list of `top_k`.
        """
        kept = np.ones(len(items), bool) if self.allowed is None else self.allowed[items]
        if self.categories is not None:
            kept[kept] = self._place_in_category(items[kept]) < self.per_category
        return kept

    def _place_in_category(self, items: np.ndarray) -> np.ndarray:
        """How many items before each are of its category; 0 for items that have none."""
        assert self.categories is not None
        own = self.categories[items]
        order = np.argsort(own, kind="stable")
        grouped = own[order]
        first = np.flatnonzero(np.concatenate([[True], grouped[1:] != grouped[:-1]]))[: len(own)]
        begins = np.repeat(first, np.diff(np.append(first, len(own))))
        places = np.empty(len(own), np.int64)
        places[order] = np.arange(len(own)) - begins
        return np.where(own < 0, 0, places)
