"""What a model is trained on and what it is judged by."""

from dataclasses import dataclass

import numpy as np

from recurra.core.errors import RecurraError
from recurra.recsys.data.interactions import Interactions


@dataclass(frozen=True)
class Holdout:
    """Histories and what came next: int32 (U,) `targets`, one for each user of `histories`."""

    histories: Interactions
    targets: np.ndarray


@dataclass(frozen=True)
class Split:
    """`train` to learn from, `valid` to choose by, `test` to report."""

    train: Interactions
    valid: Holdout
    test: Holdout


def leave_one_out(log: Interactions) -> Split:
    """Hold out the last event of each history for the test and the one before it to choose by.

    At the test a history ends with the event that was held out to choose by. Histories of fewer
    than three events are trained on whole and judge nothing. The times of different users are not
    compared, so that a model may have seen what others did later.

    Raises:
        RecurraError: no history has three events.
    """
    judged = np.flatnonzero(log.lengths >= 3)
    if len(judged) == 0:
        raise RecurraError("no user has three events, so that there is nothing to judge a model by")
    ends = log.offsets[judged + 1]
    kept = np.where(log.lengths >= 3, log.lengths - 2, log.lengths)
    in_train = np.arange(len(log)) - np.repeat(log.offsets[:-1], log.lengths) < np.repeat(
        kept, log.lengths
    )
    train = Interactions(
        users=log.users,
        items=log.items,
        offsets=np.concatenate([[0], np.cumsum(kept)]),
        sequence=log.sequence[in_train],
        times=None if log.times is None else log.times[in_train],
    )
    return Split(
        train=train,
        valid=Holdout(log.without_last(2, judged), log.sequence[ends - 2]),
        test=Holdout(log.without_last(1, judged), log.sequence[ends - 1]),
    )
