"""Batches of histories with hidden items, made as they are needed."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from recurra.core.training import Draw
from recurra.recsys.data.interactions import Interactions

POOL = 50  # batches whose histories are sorted by length, so that little of a batch is padding


@dataclass(frozen=True)
class ClozeConfig:
    """How training examples are made of histories.

    Attributes:
        batch_size: histories (or windows of long ones) in a batch.
        mask_share: of the items of a history that are hidden, at least one.
        last_share: of the examples in which only the last item is hidden, as it is when the model
            is used. The original makes one such copy beside ten others.
        window_step: a history that is longer than `max_len` is cut into windows, counted back from
            its end, whose ends are this share of `max_len` apart.
    """

    batch_size: int = 32
    mask_share: float = 0.2
    last_share: float = 1 / 11
    window_step: float = 0.5

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it must be at least 1")
        for name in ("mask_share", "window_step"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in (0, 1]")
        if not 0 <= self.last_share <= 1:
            raise ValueError(f"last_share is {self.last_share}; it must be in [0, 1]")


class ClozeBatches(Dataset[dict[str, Tensor]]):
    """Map-style over `Draw`: item i of an epoch is a whole batch, of histories of like lengths.

    Source: Sun et al. 2019 (arXiv 1904.06690, section 3.6) and FeiSun/BERT4Rec
    `gen_data_fin.py`: hidden items are always replaced by the mask; the number hidden is
    max(1, round(n * mask_share)).
    """

    def __init__(self, log: Interactions, max_len: int, config: ClozeConfig, seed: int = 0) -> None:
        self.log = log
        self.config = config
        self.seed = seed
        self.mask_id = log.n_items + 1
        self.windows = cut_windows(log, max_len, max(1, round(config.window_step * max_len)))
        self._epoch = -1
        self._batches: list[np.ndarray] = []

    def __len__(self) -> int:
        return -(-len(self.windows) // self.config.batch_size)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        """Make a batch.

        Returns:
            "items" (B, T) int64, hidden ones replaced and rows filled up by zeros; "masked" (M,)
            int64, places of the hidden in the flattened items; "targets" (M,) int64, what they are.
        """
        if draw.epoch != self._epoch:
            self._epoch, self._batches = draw.epoch, self._order(draw.epoch)
        rng = draw.generator(self.seed)
        windows = self.windows[self._batches[draw.index]]
        lengths = windows[:, 1] - windows[:, 0]
        items = np.zeros((len(windows), lengths.max()), np.int64)
        masked, targets = [], []
        for row, (start, stop) in enumerate(windows):
            n = stop - start
            items[row, :n] = self.log.sequence[start:stop]
            if rng.random() < self.config.last_share:
                hidden = np.array([n - 1])
            else:
                count = max(1, round(n * self.config.mask_share))
                hidden = np.sort(rng.choice(n, count, replace=False))
            targets.append(items[row, hidden])
            masked.append(row * items.shape[1] + hidden)
            items[row, hidden] = self.mask_id
        return {
            "items": torch.from_numpy(items),
            "masked": torch.from_numpy(np.concatenate(masked)),
            "targets": torch.from_numpy(np.concatenate(targets)),
        }

    def _order(self, epoch: int) -> list[np.ndarray]:
        """Shuffle the windows, sort pools of them by length, cut into batches and shuffle those."""
        rng = np.random.default_rng((self.seed, epoch))
        size = self.config.batch_size
        order = rng.permutation(len(self.windows))
        lengths = self.windows[:, 1] - self.windows[:, 0]
        batches = []
        for start in range(0, len(order), size * POOL):
            pool = order[start : start + size * POOL]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[i : i + size] for i in range(0, len(pool), size)]
        return [batches[i] for i in rng.permutation(len(batches))]


def cut_windows(log: Interactions, max_len: int, step: int) -> np.ndarray:
    """Places of windows in `log.sequence`, int64 (W, 2): a whole history, or pieces of a long one.

    Pieces have max_len events and end at the last event and every `step` before it, and the first
    piece begins with the first event. Histories without events have none.
    """
    windows = []
    for start, stop in zip(log.offsets[:-1].tolist(), log.offsets[1:].tolist(), strict=True):
        end = stop
        while end - start > max_len:
            windows.append((end - max_len, end))
            end -= step
        if stop > start:
            windows.append((start, min(start + max_len, stop)))
    return np.array(windows, np.int64).reshape(-1, 2)
