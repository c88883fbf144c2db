import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from recurra.recsys.metrics import hit_rate, ndcg, rank_of, reciprocal_rank

VECTORS = Path(__file__).parent / "vectors/metrics.safetensors"
EXPECTED = {
    hit_rate: {1: 0.484375, 5: 0.671875, 10: 0.75, 20: 0.84375},
    ndcg: {1: 0.484375, 5: 0.5855027833307066, 10: 0.609338535622006, 20: 0.6333417603256337},
    reciprocal_rank: {
        1: 0.484375,
        5: 0.5565104166666667,
        10: 0.5655133928571429,
        20: 0.5722701047125389,
    },
}


@pytest.fixture(scope="module")
def vectors():
    return load_file(VECTORS)


@pytest.mark.parametrize("metric", EXPECTED, ids=lambda metric: metric.__name__)
def test_values_are_those_of_the_formulas_and_of_other_libraries(vectors, metric):
    scores = np.where(vectors["seen"].astype(bool), -np.inf, vectors["scores"])
    rank = rank_of(scores, vectors["target"])
    for k, expected in EXPECTED[metric].items():
        assert abs(metric(rank, k).mean() - expected) < 1e-12


def test_a_constant_model_is_as_good_as_chance(vectors):
    rank = rank_of(vectors["tie_scores"], vectors["tie_target"])
    assert hit_rate(rank, 10).mean() == pytest.approx(0.2)
    assert ndcg(rank, 10).mean() == pytest.approx(0.0908711867617669)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=5),
    st.integers(0, 4),
    st.integers(1, 6),
)
def test_ties_give_the_mean_over_every_order_of_the_tied(levels, target, k):
    target %= len(levels)
    rank = rank_of(np.array([levels], float), np.array([target]))
    places = []
    for order in itertools.permutations(range(len(levels))):
        ranking = sorted(order, key=lambda item: -levels[item])  # stable: ties in drawn order
        places.append(ranking.index(target) + 1)
    inside = np.array(places)[np.array(places) <= k]
    assert hit_rate(rank, k)[0] == pytest.approx(len(inside) / len(places))
    assert ndcg(rank, k)[0] == pytest.approx((1 / np.log2(inside + 1)).sum() / len(places))
    assert reciprocal_rank(rank, k)[0] == pytest.approx((1 / inside).sum() / len(places))
