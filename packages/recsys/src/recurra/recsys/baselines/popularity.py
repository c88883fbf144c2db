"""Recommend what most users took."""

from collections.abc import Sequence

import numpy as np

from recurra.recsys.data.interactions import Interactions


class Popularity:
    """Score each item by its number of events, whatever the history."""

    name = "popularity"

    def __init__(self, log: Interactions) -> None:
        self.counts = np.bincount(log.sequence, minlength=log.n_items + 1).astype(np.float32)

    def score(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items for each of B histories: float32 (B, V + 1), column 0 is no item."""
        return np.tile(self.counts, (len(histories), 1))
