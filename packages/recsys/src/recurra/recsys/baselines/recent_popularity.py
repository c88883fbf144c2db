"""Recommend what most users took lately."""

from collections.abc import Sequence

import numpy as np

from recurra.core.errors import RecurraError
from recurra.recsys.data.interactions import Interactions

NEWEST = 0.1  # of the events of a log


class RecentPopularity:
    """Score each item by its events among the newest tenth of the log's, whatever the history.

    Events of the same time as the oldest of these count too. A share of the log is taken, and not
    some days, because times may be in any unit. Where what is wanted changes by the week, this rule
    has beaten published networks (arXiv 2508.06450, time splits).

    Raises:
        RecurraError: the log has no times.
    """

    name = "recent-popularity"

    def __init__(self, log: Interactions) -> None:
        if log.times is None:
            raise RecurraError(f"{self.name} needs a log with times")
        newest = max(1, round(NEWEST * len(log)))
        since = np.partition(log.times, -newest)[-newest]
        recent = log.sequence[log.times >= since]
        self.counts = np.bincount(recent, minlength=log.n_items + 1).astype(np.float32)

    def score(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items for each of B histories: float32 (B, V + 1), column 0 is no item."""
        return np.tile(self.counts, (len(histories), 1))
