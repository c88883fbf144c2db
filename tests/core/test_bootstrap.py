import numpy as np
import pytest
from scipy import stats

from recurra.core.bootstrap import MeanInterval, bootstrap_mean


def test_the_interval_is_the_same_every_time_and_changes_with_the_seed():
    values = np.random.default_rng(0).standard_normal(40)
    assert bootstrap_mean(values) == bootstrap_mean(list(values))
    assert bootstrap_mean(values) != bootstrap_mean(values, seed=1)


def test_the_interval_agrees_with_scipy():
    values = np.random.default_rng(1).gamma(2.0, size=60)
    ours = bootstrap_mean(values)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", rng=2, n_resamples=20_000)
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)


def test_the_interval_of_two_values_is_known_by_hand():
    # The resampled mean is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4: the 95 % interval is all of it.
    assert bootstrap_mean([0.0, 1.0]) == MeanInterval(0.5, 0.0, 1.0, 2)
    assert bootstrap_mean([0.0, 1.0], confidence=0.4) == MeanInterval(0.5, 0.5, 0.5, 2)


def test_memory_bounds_do_not_change_the_interval_of_many_values():
    values = np.random.default_rng(2).standard_normal(3000)
    interval = bootstrap_mean(values, resamples=1000)
    expected = 1.96 / np.sqrt(len(values))
    assert interval.high - interval.low == pytest.approx(2 * expected * values.std(), rel=0.1)


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert bootstrap_mean([3.0]) == MeanInterval(3.0, None, None, 1)
    for values in ([], [1.0, np.nan], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match="at least one value"):
            bootstrap_mean(values)
