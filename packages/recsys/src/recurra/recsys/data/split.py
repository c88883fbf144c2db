"""What a model is trained on and what it is judged by."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recurra.core.errors import RecurraError
from recurra.recsys.data.interactions import Interactions

TIME_SHARE = 0.1  # of the events, for each of validation and test of a split by time


@dataclass(frozen=True)
class Holdout:
    """What came after histories, and what it is ranked among.

    Attributes:
        histories: of U users.
        targets: int32 (U,), the item that came next for each.
        filter_seen: whether what a user has already taken is out of the ranking, but for the
            target itself.
    """

    histories: Interactions
    targets: np.ndarray
    filter_seen: bool = True


@dataclass(frozen=True)
class Split:
    """`train` to learn from, `valid` to choose by, `test` to report; `protocol` says how, in words.

    At the test a history goes up to the target, and holds what was kept back to choose by.
    """

    train: Interactions
    valid: Holdout
    test: Holdout
    protocol: str


def leave_one_out(log: Interactions) -> Split:
    """Hold out the last event of each history for the test and the one before it to choose by.

    Histories of fewer than three events are trained on whole and judge nothing. The times of
    different users are not compared, so that a model may have seen what others did later.

    Raises:
        RecurraError: no history has three events.
    """
    lengths = log.lengths
    judged = np.flatnonzero(lengths >= 3)
    if len(judged) == 0:
        raise RecurraError(
            "no user has three events, so that there is nothing to judge a model by: see that"
            " --user is who comes back and not an order or a visit, or give a log that reaches"
            " further back"
        )
    ends = log.offsets[judged + 1]
    return Split(
        train=log.first(np.where(lengths >= 3, lengths - 2, lengths)),
        valid=Holdout(log.without_last(2, judged), log.sequence[ends - 2]),
        test=Holdout(log.without_last(1, judged), log.sequence[ends - 1]),
        protocol="the last event of each user",
    )


def split_by_time(log: Interactions) -> Split:
    """Learn from what came before a moment, for everyone; judge by each user's first event after.

    The last tenth of the events is the test, the tenth before it is to choose by; events of the
    same time are on one side. Users without an event before a moment or after it are not judged.
    Nothing of the training came later than what is judged, as when a model is used. Targets may be
    items that no training event has; they count as misses, as they would be.

    Raises:
        RecurraError: the log has no times, or nobody has events on both sides of a moment.
    """
    if log.times is None:
        raise RecurraError("a split by time needs a log with times: give --time NAME")
    ordered = np.sort(log.times)
    moments = [ordered[int(len(ordered) * share)] for share in (1 - 2 * TIME_SHARE, 1 - TIME_SHARE)]
    before = [_events_before(log, moment) for moment in moments]

    def holdout(counts: np.ndarray, until: np.ndarray) -> Holdout:
        judged = np.flatnonzero((counts > 0) & (counts < until))
        if len(judged) == 0:
            raise RecurraError(
                "no user has events before and after a moment that splits the log by time: give a"
                " log that reaches further back, or --split leave-one-out"
            )
        targets = log.sequence[log.offsets[judged] + counts[judged]]
        return Holdout(log.first(counts, judged), targets)

    return Split(
        train=log.first(before[0]),
        valid=holdout(before[0], before[1]),
        test=holdout(before[1], log.lengths),
        protocol="the first event of each user after a moment, trained on what came before it",
    )


def _events_before(log: Interactions, moment: float) -> np.ndarray:
    """How many events of each user came before a moment: int64 (U,)."""
    assert log.times is not None
    earlier = np.concatenate([[0], np.cumsum(log.times < moment)])
    return earlier[log.offsets[1:]] - earlier[log.offsets[:-1]]


SPLITS: dict[str, Callable[[Interactions], Split]] = {
    "leave-one-out": leave_one_out,
    "time": split_by_time,
}


def split_log(log: Interactions, name: str, path: Path, *, filter_seen: bool = True) -> Split:
    """Split by the name of a protocol.

    Args:
        log: what is split.
        name: of `SPLITS`.
        path: of the log, which errors name.
        filter_seen: see `Holdout`.

    Raises:
        RecurraError: there is no such protocol, or the log cannot be split by it.
    """
    if name not in SPLITS:
        raise RecurraError(f"no split {name!r}; known are {', '.join(SPLITS)}")
    try:
        split = SPLITS[name](log)
    except RecurraError as error:
        raise RecurraError(f"{path}: {error}") from error
    valid, test = (replace(part, filter_seen=filter_seen) for part in (split.valid, split.test))
    return replace(split, valid=valid, test=test)
