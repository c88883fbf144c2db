"""Rules against hand calculations, or against what defines them."""

import numpy as np
import polars as pl
import pytest

from recurra.core.errors import RecurraError
from recurra.recsys.baselines import (
    Ease,
    ItemKnn,
    Markov,
    Popularity,
    RecentPopularity,
    ease,
    item_knn,
)
from recurra.recsys.data import Interactions


def log_of(*histories, times=None):
    rows = [(user, item) for user, history in enumerate(histories) for item in history]
    frame = pl.DataFrame(rows, schema=["user", "item"], orient="row")
    return Interactions.from_frame(
        frame if times is None else frame.with_columns(time=pl.Series(times))
    )


def drawn(seed, users=40, items=12):
    rng = np.random.default_rng(seed)
    return log_of(*[rng.integers(items, size=rng.integers(1, 9)).tolist() for _ in range(users)])


def x_of(log):
    x = np.zeros((log.n_users, log.n_items + 1))
    for user in range(log.n_users):
        x[user, log.history(user)] = 1
    return x


def test_popularity_counts_events():
    log = log_of("aab", "ba", "c")
    (scores,) = Popularity(log).score([log.history(0)])
    assert scores.tolist() == [0, 3, 2, 1]


def test_markov_weighs_followers_by_distance_recency_and_popularity():
    log = log_of("abc", "ab", "cb")
    scores = Markov(log).score([log.history(0), log.history(1)[:1], np.empty(0, np.int32)])
    a, b, c = (log.number([name])[0] for name in "abc")
    totals = {a: 0.0, b: 3.0, c: 1.5}  # how much each item follows others in all

    def worth(weight, item):
        return weight * (totals[item] + 1) ** -0.3

    after_a = {b: worth(2 / 2.5, b), c: worth(0.5 / 2.5, c)}
    assert scores[1][[b, c]] == pytest.approx([after_a[b], after_a[c]], rel=1e-6)
    # after a, b, c: c speaks with 1, b with 0.7, a with 0.49
    expected = {b: 0.49 * after_a[b] + worth(1, b), c: 0.49 * after_a[c] + 0.7 * worth(1, c)}
    assert scores[0][[b, c]] == pytest.approx([expected[b], expected[c]], rel=1e-6)
    assert not scores[2].any()


def test_recent_popularity_counts_the_newest_tenth_and_what_ties_with_it():
    log = log_of("aaaaaaab", "bc", times=[*range(8), 9, 8])
    c, b = (log.number([name])[0] for name in "cb")
    (scores,) = RecentPopularity(log).score([log.history(0)])
    assert scores[b] == 1
    assert scores.sum() == 1
    log = log_of("aaaaaaab", "bc", times=[*range(8), 9, 9])
    (scores,) = RecentPopularity(log).score([log.history(0)])
    assert scores[b] == 1
    assert scores[c] == 1
    assert scores.sum() == 2
    with pytest.raises(RecurraError, match="needs a log with times"):
        RecentPopularity(log_of("ab"))


def test_item_knn_by_hand():
    log = log_of("ab", "abb", "ac")
    a, b, c = (log.number([name])[0] for name in "abc")
    scores = ItemKnn(log).score([np.array([a]), np.array([b, c, b]), np.empty(0, np.int32)])
    assert scores[0][[b, c]] == pytest.approx([2 / 6**0.5, 1 / 3**0.5])
    assert scores[0][a] == 0
    assert scores[1][a] == pytest.approx(2 / 6**0.5 + 1 / 3**0.5)
    assert scores[1][[b, c]] == pytest.approx([0, 0])
    assert not scores[2].any()


def test_item_knn_is_its_definition_whatever_the_blocks(monkeypatch):
    monkeypatch.setattr(item_knn, "BLOCK", 5)
    monkeypatch.setattr(item_knn, "NEIGHBOURS", 3)
    log = drawn(0)
    x = x_of(log)
    expected = np.zeros((13, 13))
    for i in range(1, 13):
        alike = [
            (x[:, i] @ x[:, j] / np.sqrt(x[:, i].sum() * x[:, j].sum()), -j)
            for j in range(1, 13)
            if j != i
        ]
        for value, j in sorted(alike, reverse=True)[:3]:
            expected[i, -j] = value
    found = ItemKnn(log).score([np.array([i]) for i in range(13)])
    np.testing.assert_allclose(found[1:], expected[1:], atol=1e-6)


def test_ease_is_the_ridge_regression_of_each_item_on_the_others(monkeypatch):
    monkeypatch.setattr(ease, "REGULARISATION", 3.0)
    log = drawn(1)
    x = x_of(log)
    expected = np.zeros((13, 13))
    for i in range(1, 13):
        others = [j for j in range(13) if j != i]
        z = x[:, others]
        expected[others, i] = np.linalg.solve(z.T @ z + 3 * np.eye(12), z.T @ x[:, i])
    found = Ease(log).score([np.array([i]) for i in range(1, 13)])
    np.testing.assert_allclose(found, expected[1:], atol=1e-6)


def test_ease_sums_over_the_items_of_a_history_once_each():
    log = drawn(2)
    rule = Ease(log)
    scores = rule.score([np.array([1, 2, 1]), np.array([1]), np.array([2]), np.empty(0, np.int32)])
    np.testing.assert_allclose(scores[0], scores[1] + scores[2], rtol=1e-5, atol=1e-7)
    assert not scores[3].any()


def test_ease_refuses_what_would_not_fit_into_memory(monkeypatch):
    monkeypatch.setattr(ease, "MOST_ITEMS", 2)
    with pytest.raises(RecurraError, match="up to 2 items; the log has 3"):
        Ease(log_of("abc"))


@pytest.mark.parametrize("rule", [Popularity, Markov, ItemKnn, Ease])
def test_a_history_scores_the_same_alone_and_in_a_batch(rule):
    log = drawn(3)
    scorer = rule(log)
    histories = [log.history(user) for user in range(20)]
    together = scorer.score(histories)
    assert together.dtype == np.float32
    assert together.shape == (20, 13)
    for row in (0, 7, 19):
        np.testing.assert_array_equal(scorer.score([histories[row]])[0], together[row])
