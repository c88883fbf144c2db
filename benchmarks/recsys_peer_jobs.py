"""What the peers' scripts share: they read jobs and write answers, a JSON document a line.

Each runs in an environment of its own, started by recsys_peers.py with the path of the histories.
Of each history the last two events are held out: the first of them to validate by, the second for
the test. Lists are of 10 items, what was seen left out.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

K = 10


@dataclass(frozen=True)
class Histories:
    """Items of users, oldest first, one user after another, by numbers from 1."""

    offsets: np.ndarray
    sequence: np.ndarray

    @property
    def n_users(self) -> int:
        """How many users there are."""
        return len(self.offsets) - 1

    @property
    def n_items(self) -> int:
        """V, the largest number of an item."""
        return int(self.sequence.max())

    def without_last(self, n: int) -> list[np.ndarray]:
        """The histories without their last n events."""
        bounds = zip(self.offsets[:-1], self.offsets[1:] - n, strict=True)
        return [self.sequence[start:stop] for start, stop in bounds]


def answer_jobs(begin: Callable[[Histories], Callable[..., Iterator[dict[str, Any]]]]) -> None:
    """Read the histories, then answer jobs with what `begin` returned, on one thread."""
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    answer = begin(Histories(**np.load(sys.argv[1])))
    for line in sys.stdin:
        for found in answer(**json.loads(line)):
            print(json.dumps(found), file=answers, flush=True)
        print("null", file=answers, flush=True)


class CpuClock:
    """CPU seconds of this process while the clock runs."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._start = 0.0

    def start(self) -> None:
        """Let it run."""
        self._start = time.process_time()

    def stop(self) -> None:
        """Add what it ran."""
        self.seconds += time.process_time() - self._start


def top_lists(scores: np.ndarray, seen: list[np.ndarray]) -> list[list[int]]:
    """The K best items of rows of scores (B, V + 1), seen ones and number 0 left out."""
    scores[:, 0] = -np.inf
    for row, items in zip(scores, seen, strict=True):
        row[items] = -np.inf
    best = np.argpartition(-scores, K, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1).tolist()
