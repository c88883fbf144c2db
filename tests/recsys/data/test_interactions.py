import numpy as np
import polars as pl
import pytest

from recurra.core.errors import RecurraError
from recurra.recsys.data import Interactions, leave_one_out

FRAME = pl.DataFrame(
    {
        "user": ["b", "a", "b", "a", "b", "a", "c"],
        "item": ["tea", "tea", "cup", "pot", "tea", "mug", "cup"],
        "time": [5.0, 1.0, 2.0, 3.0, 7.0, 3.0, 9.0],
    }
)


def names(log, user):
    return log.items.gather(log.history(user) - 1).to_list()


def test_items_are_numbered_by_frequency_and_users_by_their_first_row():
    log = Interactions.from_frame(FRAME)
    assert log.items.to_list() == ["tea", "cup", "pot", "mug"]
    assert log.users.to_list() == ["b", "a", "c"]
    assert log.lengths.tolist() == [3, 3, 1]
    assert (log.n_users, log.n_items, len(log)) == (3, 4, 7)


def test_histories_are_in_the_order_of_time_and_ties_in_that_of_the_rows():
    log = Interactions.from_frame(FRAME)
    assert names(log, 0) == ["cup", "tea", "tea"]
    assert names(log, 1) == ["tea", "pot", "mug"]
    assert log.times.tolist() == [2, 5, 7, 1, 3, 3, 9]


def test_other_ids_in_the_same_rows_give_the_same_histories():
    renamed = FRAME.with_columns(
        pl.col("user").replace_strict({"a": 7, "b": 900, "c": 1}),
        pl.col("item").replace_strict({"tea": 4, "cup": 3, "pot": 2, "mug": 1}),
    )
    log, other = Interactions.from_frame(FRAME), Interactions.from_frame(renamed)
    np.testing.assert_array_equal(log.sequence, other.sequence)
    assert other.items.to_list() == [4, 3, 2, 1]


def test_without_times_the_order_is_that_of_the_rows():
    log = Interactions.from_frame(FRAME.drop("time"))
    assert names(log, 0) == ["tea", "cup", "tea"]
    assert log.times is None


def test_the_last_events_are_left_out_of_some_users():
    log = Interactions.from_frame(FRAME).without_last(2, np.array([2, 1]))
    assert log.users.to_list() == ["c", "a"]
    assert log.lengths.tolist() == [0, 1]
    assert names(log, 1) == ["tea"]


def test_items_are_found_by_their_ids_as_text_and_unknown_ones_left_out():
    log = Interactions.from_frame(pl.DataFrame({"user": [1, 1, 1], "item": [30, 12, 30]}))
    assert log.number(["12", 30, "31", "x"]).tolist() == [2, 1]
    assert log.number([]).tolist() == []


def test_leave_one_out_holds_out_the_last_two_events_of_each_long_enough_history():
    split = leave_one_out(Interactions.from_frame(FRAME))
    assert [names(split.train, user) for user in range(3)] == [["cup"], ["tea"], ["cup"]]
    assert [names(split.valid.histories, user) for user in range(2)] == [["cup"], ["tea"]]
    assert [names(split.test.histories, user) for user in range(2)] == [
        ["cup", "tea"],
        ["tea", "pot"],
    ]
    items = split.train.items
    assert items.gather(split.valid.targets - 1).to_list() == ["tea", "pot"]
    assert items.gather(split.test.targets - 1).to_list() == ["tea", "mug"]
    assert split.train.times.tolist() == [2, 1, 9]


def test_a_log_of_short_histories_cannot_be_split():
    log = Interactions.from_frame(FRAME.head(3))
    with pytest.raises(RecurraError, match="three events"):
        leave_one_out(log)
