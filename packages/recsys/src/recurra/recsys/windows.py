"""Batches of windows of histories, of like lengths, made as they are needed."""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from recurra.core.training import Draw
from recurra.recsys.data.interactions import Interactions

POOL = 50  # batches whose histories are sorted by length, so that little of a batch is padding
Example = tuple[np.ndarray, np.ndarray, np.ndarray]


class WindowBatches(Dataset[dict[str, Tensor]]):
    """Map-style over `Draw`: item i of an epoch is a whole batch, of windows of like lengths.

    Args:
        log: whose histories are learnt from.
        n_events: of a window at most.
        step: events between the ends of the windows of a long history, see `cut_windows`.
        batch_size: windows in a batch.
        seed: of order and examples.
        least: events below which a window is left out.
    """

    def __init__(
        self,
        log: Interactions,
        n_events: int,
        step: int,
        *,
        batch_size: int,
        seed: int = 0,
        least: int = 1,
    ) -> None:
        self.log = log
        self.batch_size = batch_size
        self.seed = seed
        windows = cut_windows(log, n_events, step)
        self.windows = windows[windows[:, 1] - windows[:, 0] >= least]
        self._epoch = -1
        self._batches: list[np.ndarray] = []

    @abstractmethod
    def example(self, rng: np.random.Generator, events: np.ndarray) -> Example:
        """What is learnt from a window (n,): items as the network reads them, asked steps, answers.

        Returns:
            int64 (m,) items; (a,) steps of them, rising; (a,) items that are right there.
        """

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Make a batch.

        Returns:
            "items" (B, T) int64, rows filled up by zeros; "places" (M,) int64, the asked steps in
            the flattened items; "targets" (M,) int64, what is right there.
        """
        if draw.epoch != self._epoch:
            self._epoch, self._batches = draw.epoch, self._order(draw.epoch)
        rng = draw.generator(self.seed)
        windows = self.windows[self._batches[draw.index]]
        examples = [self.example(rng, self.log.sequence[a:b]) for a, b in windows]
        items = np.zeros((len(windows), max(len(row) for row, _, _ in examples)), np.int64)
        for filled, (row, _, _) in zip(items, examples, strict=True):
            filled[: len(row)] = row
        starts = range(0, items.size, items.shape[1])
        places = [start + steps for start, (_, steps, _) in zip(starts, examples, strict=True)]
        return {
            "items": torch.from_numpy(items),
            "places": torch.from_numpy(np.concatenate(places)),
            "targets": torch.from_numpy(np.concatenate([answers for _, _, answers in examples])),
        }

    def _order(self, epoch: int) -> list[np.ndarray]:
        """Shuffle the windows, sort pools of them by length, cut into batches and shuffle those."""
        rng = np.random.default_rng((self.seed, epoch))
        size = self.batch_size
        order = rng.permutation(len(self.windows))
        lengths = self.windows[:, 1] - self.windows[:, 0]
        batches = []
        for start in range(0, len(order), size * POOL):
            pool = order[start : start + size * POOL]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        return [batches[i] for i in rng.permutation(len(batches))]


def cut_windows(log: Interactions, n_events: int, step: int) -> np.ndarray:
    """Places of windows in `log.sequence`, int64 (W, 2): a whole history, or pieces of a long one.

    Pieces have n_events events and end at the last event and every `step` before it, and the first
    piece begins with the first event. Histories without events have none.
    """
    windows = []
    for start, stop in zip(log.offsets[:-1].tolist(), log.offsets[1:].tolist(), strict=True):
        end = stop
        while end - start > n_events:
            windows.append((end - n_events, end))
            end -= step
        if stop > start:
            windows.append((start, min(start + n_events, stop)))
    return np.array(windows, np.int64).reshape(-1, 2)
