import numpy as np
import polars as pl
import pytest

from recurra.recsys import first_embeddings
from recurra.recsys.data import Interactions
from recurra.recsys.first_embeddings import cooccurrence_embeddings


def log_of(*histories):
    rows = [(user, item) for user, history in enumerate(histories) for item in history]
    return Interactions.from_frame(pl.DataFrame(rows, schema=["user", "item"], orient="row"))


def test_their_products_are_the_positive_information_that_a_wide_table_can_hold():
    """ab twice, ac once: of 6 pairs a has 3, b 2, c 1; log of 2 * 6 / (3 * 2) is log 2 for both."""
    log = log_of("ab", "ab", "ac")
    a, b, c = (log.number([name])[0] for name in "abc")
    found = cooccurrence_embeddings(log, 4)
    products = found @ found.T
    # The matrix is log 2 * [[0, 1, 1], [1, 0, 0], [1, 0, 0]]; its one positive eigenvalue is
    # log 2 * sqrt(2), with (sqrt(2), 1, 1) / 2.
    scale = products[a, a]
    assert products[a, b] / scale == pytest.approx(2**-0.5, rel=1e-5)
    assert products[b, c] / scale == pytest.approx(0.5, rel=1e-5)
    assert found[1:].std() == pytest.approx(0.5)
    assert not found[0].any()


def test_items_of_one_group_are_nearest_each_other_by_both_ways_of_solving(monkeypatch):
    rng = np.random.default_rng(0)
    groups = [list(range(10 * i, 10 * i + 10)) for i in range(6)]
    log = log_of(*[rng.permutation(groups[user % 6]).tolist() for user in range(120)])
    dense = cooccurrence_embeddings(log, 8)
    monkeypatch.setattr(first_embeddings, "DENSE", 10)
    for found in (dense, cooccurrence_embeddings(log, 8)):
        unit = found[1:] / np.linalg.norm(found[1:], axis=1, keepdims=True)
        alike = unit @ unit.T
        same = log.items.to_numpy()[:, None] // 10 == log.items.to_numpy() // 10
        assert alike[same].min() > alike[~same].max()


def test_a_log_without_pairs_gives_zeros():
    assert not cooccurrence_embeddings(log_of("a", "b"), 4).any()
