import numpy as np
import pytest

from recurra.recsys import Recommender
from recurra.recsys.selection import Selection

SCORES = np.array([[-np.inf, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5]])
CATEGORIES = np.array([-1, 7, 7, 7, 3, -1, -1])


def chosen(selection, k, scores=SCORES):
    ((items, values),) = selection.top_k(scores, k)
    assert values.tolist() == scores[0, items].tolist()
    return items.tolist()


def test_only_allowed_items_are_chosen_best_first():
    allowed = np.array([True, False, True, False, True, False, False])
    assert chosen(Selection(allowed), 1) == [2]
    assert chosen(Selection(allowed), 9) == [2, 4]


@pytest.mark.parametrize(
    ("k", "per_category", "items"),
    [
        (3, 1, [1, 4, 5]),
        (9, 1, [1, 4, 5, 6]),  # as many as there are
        (4, 2, [1, 2, 4, 5]),
        (9, 5, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_a_category_has_its_best_items_and_those_without_one_are_not_limited(
    k, per_category, items
):
    assert chosen(Selection(None, CATEGORIES, per_category), k) == items


def test_what_is_not_allowed_does_not_use_up_a_category():
    allowed = np.array([True, False, True, True, True, True, True])
    assert chosen(Selection(allowed, CATEGORIES, 1), 2) == [2, 4]


def test_a_row_without_candidates_gives_an_empty_list():
    assert chosen(Selection(None, CATEGORIES, 1), 2, np.full((1, 7), -np.inf)) == []


def test_lists_and_cold_starts_keep_to_the_rule(model, log):
    pot, jug = log.number(["pot", "jug"])
    allowed = np.zeros(6, bool)
    allowed[[pot, jug]] = True
    table = Recommender(model, log).for_histories([["pot"], []], 3, selection=Selection(allowed))
    assert table.table["item"].to_list() == ["jug", "pot", "jug"]
