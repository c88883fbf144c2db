"""Intervals of means, by the bootstrap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class MeanInterval:
    """A mean and its interval; `low` and `high` are None for a single value, which has none."""

    mean: float
    low: float | None
    high: float | None
    count: int


def bootstrap_mean(
    values: ArrayLike, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> MeanInterval:
    """Mean of independent values and the percentile bootstrap interval of that mean.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13. The same
    values, in the same order, always give the same interval.

    Raises:
        ValueError: there is no value, or one is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) == 0 or not np.isfinite(array).all():
        raise ValueError("a mean needs at least one value, and finite ones")
    mean = float(array.mean())
    if len(array) == 1:
        return MeanInterval(mean, None, None, 1)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, 1_000_000 // len(array))  # bounds the memory
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(len(array), size=(rows, len(array)))
        means[start : start + rows] = array[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return MeanInterval(mean, float(low), float(high), len(array))
