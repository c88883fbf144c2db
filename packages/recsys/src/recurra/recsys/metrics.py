"""Ranking metrics for one right answer a user, fair where scores tie.

Where other items score as high as the right one, each metric is its expected value over all orders
of the tied items: a model that gives every item one score is then as good as chance, not as good
as its sort. All values are float64 (U,), one a user.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rank:
    """Where the right item stands.

    Attributes:
        above: (U,) items with a higher score.
        tied: (U,) items with the same score, itself included: at least 1.
    """

    above: np.ndarray
    tied: np.ndarray


def rank_of(scores: np.ndarray, targets: np.ndarray) -> Rank:
    """Find where targets stand.

    Args:
        scores: (U, V), -inf for items that are out of the running.
        targets: (U,) columns of the right items.
    """
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    return Rank((scores > own).sum(axis=1), (scores == own).sum(axis=1))


def hit_rate(rank: Rank, k: int) -> np.ndarray:
    """1 where the right item is among the first k: Recall@k and HR@k of one right item."""
    return np.clip((k - rank.above) / rank.tied, 0.0, 1.0)


def ndcg(rank: Rank, k: int) -> np.ndarray:
    """1 / log2(place + 1) where the right item is among the first k, the best possible being 1."""
    return _mean_gain(rank, 1 / np.log2(np.arange(2, k + 2)))


def reciprocal_rank(rank: Rank, k: int) -> np.ndarray:
    """1 / place where the right item is among the first k: MRR@k, and MAP@k of one right item."""
    return _mean_gain(rank, 1 / np.arange(1, k + 1))


METRICS = {"ndcg": ndcg, "hit_rate": hit_rate, "mrr": reciprocal_rank}


def _mean_gain(rank: Rank, gains: np.ndarray) -> np.ndarray:
    """Mean gain over the places from above + 1 to above + tied; none beyond the gains."""
    sums = np.concatenate([[0.0], np.cumsum(gains)])
    first = np.minimum(rank.above, len(gains))
    last = np.minimum(rank.above + rank.tied, len(gains))
    return (sums[last] - sums[first]) / rank.tied
