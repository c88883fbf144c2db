"""Histories as sets of items, for rules that do not look at the order."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import scipy.sparse

from recurra.recsys.data.interactions import Interactions


def bag_of_items(
    histories: Interactions | Sequence[np.ndarray], size: int | None = None
) -> scipy.sparse.csr_array:
    """A row of 0 and 1 for each history: float64 (B, V + 1), repeats count once.

    Args:
        histories: a log, or item numbers of B histories.
        size: V + 1, where a log does not say it.
    """
    if isinstance(histories, Interactions):
        size, offsets, items = histories.n_items + 1, histories.offsets, histories.sequence
    else:
        offsets = np.cumsum([0, *map(len, histories)])
        items = np.fromiter(chain.from_iterable(histories), np.int32, offsets[-1])
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    bags = scipy.sparse.csr_array((np.ones(len(items)), (rows, items)), (len(offsets) - 1, size))
    bags.sum_duplicates()
    bags.data[:] = 1.0
    return bags
