from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recurra.recsys.data import Holdout, Interactions
from recurra.recsys.ranking import evaluate, recommend_items, top_k


class Fixed:
    """Scores items 1, 2, ... by given numbers, whatever the history."""

    name = "fixed"

    def __init__(self, *scores):
        self.scores = np.array([99, *scores], np.float32)

    def score(self, histories):
        return np.tile(self.scores, (len(histories), 1))


def log_of(*histories):
    rows = [(user, item) for user, history in enumerate(histories) for item in history]
    return Interactions.from_frame(pl.DataFrame(rows, schema=["user", "item"], orient="row"))


def test_the_best_come_first_and_tied_items_by_their_numbers():
    scores = np.array([[-np.inf, 1, 5, 5, 0, 5]], np.float32)
    ((items, found),) = top_k(scores, 4)
    assert items.tolist() == [2, 3, 5, 1]
    assert found.tolist() == [5, 5, 5, 1]
    assert top_k(scores, 2)[0][0].tolist() == [2, 3]


def test_a_list_has_as_many_items_as_there_are_and_never_what_was_seen():
    history = np.array([1, 3], np.int32)
    ((items, _),) = recommend_items(Fixed(4, 3, 2, 1), [history], 10)
    assert items.tolist() == [2, 4]
    ((items, _),) = recommend_items(Fixed(4, 3, 2, 1), [history], 10, filter_seen=False)
    assert items.tolist() == [1, 2, 3, 4]
    ((items, _),) = recommend_items(Fixed(4, 3, 2, 1), [np.arange(1, 5)], 10)
    assert items.tolist() == []


def test_lists_come_in_the_order_of_the_histories_and_rules_go_with_them():
    histories = [np.arange(1, 1 + n % 4, dtype=np.int32) for n in range(150)]  # over some blocks
    rules = [top_k if n % 3 else lambda scores, k: [top_k(scores, 1)[0]] for n in range(150)]
    found = recommend_items(Fixed(5, 4, 3, 2, 1), histories, 5, choose=rules)
    for n, (items, _) in enumerate(found):
        assert items.tolist() == list(range(1 + n % 4, 6))[: 5 if n % 3 else 1]


def test_seen_items_are_out_of_the_ranking_but_for_the_right_one():
    log = log_of("ab", "ab")  # a is 1, b is 2
    holdout = Holdout(log, np.array([3, 1], np.int32))
    scorer = Fixed(5, 4, 3)
    assert evaluate(scorer, holdout, k=3)["mrr@3"] == 1.0  # 3 alone; 1, which was seen, alone
    assert evaluate(scorer, replace(holdout, filter_seen=False), k=3)["mrr@3"] == (1 / 3 + 1) / 2


def test_evaluation_is_the_same_in_blocks():
    log = log_of(*["abc"] * 100)
    targets = np.arange(100, dtype=np.int32) % 3 + 1
    found = evaluate(Fixed(3, 2, 1), Holdout(log, targets, filter_seen=False), k=3)
    expected = np.mean([1 / (target % 4) for target in targets])
    assert found["mrr@3"] == pytest.approx(expected)
