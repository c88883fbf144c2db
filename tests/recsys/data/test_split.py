"""What is learnt from, chosen by and judged by."""

from pathlib import Path

import polars as pl
import pytest

from recurra.core.errors import RecurraError
from recurra.recsys.data import Interactions, leave_one_out, split_by_time, split_log


def log_of(rows, times=True):
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    return Interactions.from_frame(frame if times else frame.drop("time"))


def named(log, holdout):
    """User, history and what came next, in the log's own ids."""
    return [
        (
            holdout.histories.users[place],
            "".join(log.items[int(n) - 1] for n in holdout.histories.history(place)),
            log.items[int(target) - 1],
        )
        for place, target in enumerate(holdout.targets)
    ]


def test_the_last_event_is_the_test_and_the_one_before_it_to_choose_by():
    log = log_of([("ann", item, t) for t, item in enumerate("abcd")] + [("bob", "a", 9)])
    split = leave_one_out(log)
    assert named(log, split.test) == [("ann", "abc", "d")]
    assert named(log, split.valid) == [("ann", "ab", "c")]
    assert split.train.lengths.tolist() == [2, 1]


def test_events_of_one_time_keep_the_order_of_the_file_whatever_the_ids():
    rows = [("u", "a", 5), ("u", "b", 5), ("u", "c", 5), ("u", "d", 5)]
    for renamed in ("abcd", "dcba", "bdac"):
        log = log_of([(user, renamed["abcd".index(item)], t) for user, item, t in rows])
        for split in (leave_one_out(log), leave_one_out(log_of(rows, times=False))):
            assert split.test.histories.lengths.tolist() == [3]
        assert named(log, leave_one_out(log).test) == [("u", renamed[:3], renamed[3])]


def test_a_split_by_time_learns_nothing_of_what_came_later():
    """Twenty events at times 0 to 19: the moments are 16 and 18."""
    order = "abababab" + "cccccccc" + "ab" + "ba"
    items = "pqpqrrqq" + "pqrspqrs" + "st" + "pq"
    log = log_of(list(zip(order, items, range(20), strict=True)))
    split = split_by_time(log)
    assert split.train.times.max() == 15
    assert named(log, split.valid) == [("a", "pprq", "s"), ("b", "qqrq", "t")]
    assert named(log, split.test) == [("a", "pprqs", "q"), ("b", "qqrqt", "p")]


def test_events_of_one_time_are_on_one_side_and_only_the_first_after_it_is_asked_for():
    rows = [("a", "p", t) for t in range(14)] + [("b", "q", 0)]
    rows += [("a", "q", 14), ("a", "r", 14), ("b", "p", 15), ("b", "s", 16), ("c", "p", 19)]
    log = log_of(rows)  # 20 events; place 16 in time is 14, place 18 is 16
    split = split_by_time(log)
    assert split.train.times.max() == 13
    assert named(log, split.valid) == [("a", "p" * 14, "q"), ("b", "q", "p")]
    assert named(log, split.test) == [("b", "qp", "s")]  # c had nothing before


def test_what_cannot_be_split_is_said():
    with pytest.raises(RecurraError, match="no user has three events"):
        leave_one_out(log_of([("a", "p", 0), ("a", "q", 1)]))
    with pytest.raises(RecurraError, match=r"^log.csv: no user has three events.*--user.* further"):
        split_log(log_of([("a", "p", 0)]), "leave-one-out", Path("log.csv"))
    with pytest.raises(RecurraError, match=r"^log.csv: no user has events before.*leave-one-out$"):
        split_log(log_of([("a", "p", 3), ("b", "q", 3)]), "time", Path("log.csv"))
    with pytest.raises(RecurraError, match="needs a log with times"):
        split_by_time(log_of([("a", "p", 0), ("a", "q", 1)], times=False))
    with pytest.raises(RecurraError, match="before and after a moment"):
        split_by_time(log_of([("a", "p", 3), ("b", "q", 3)]))
    with pytest.raises(RecurraError, match="no split 'random'; known are leave-one-out, time"):
        split_log(log_of([("a", "p", 0)]), "random", Path("log.csv"))
