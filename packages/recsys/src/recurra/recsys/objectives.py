"""What a network learns from a window: to fill in hidden items, or to say what comes next."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from recurra.recsys.data.interactions import Interactions
from recurra.recsys.windows import Example, WindowBatches


@dataclass(frozen=True)
class ClozeConfig:
    """How items are hidden.

    Attributes:
        mask_share: of the items of a history that are hidden, at least one.
        last_share: of the examples in which only the last item is hidden, as it is when the model
            is used. The original makes one such copy beside ten others.
    """

    mask_share: float = 0.2
    last_share: float = 1 / 11

    def __post_init__(self) -> None:
        if not 0 < self.mask_share <= 1:
            raise ValueError(f"mask_share is {self.mask_share}; it must be in (0, 1]")
        if not 0 <= self.last_share <= 1:
            raise ValueError(f"last_share is {self.last_share}; it must be in [0, 1]")


class ClozeBatches(WindowBatches):
    """Hide items, always by the mask, max(1, round(n * mask_share)) of n.

    Source: Sun et al. 2019 (arXiv 1904.06690, section 3.6) and FeiSun/BERT4Rec
    `gen_data_fin.py`.

    Args:
        log, n_events, step, options: see `WindowBatches`.
        config: how many are hidden.
    """

    def __init__(
        self, log: Interactions, n_events: int, step: int, config: ClozeConfig, **options: Any
    ) -> None:
        super().__init__(log, n_events, step, **options)
        self.config = config
        self.mask_id = log.n_items + 1

    def example(self, rng: np.random.Generator, events: np.ndarray) -> Example:
        """The window with items hidden; the steps that are; what stood there."""
        items, n = events.astype(np.int64), len(events)
        if rng.random() < self.config.last_share:
            hidden = np.array([n - 1])
        else:
            count = max(1, round(n * self.config.mask_share))
            hidden = np.sort(rng.choice(n, count, replace=False))
        answers = items[hidden]
        items[hidden] = self.mask_id
        return items, hidden, answers


class NextItemBatches(WindowBatches):
    """Ask at every event of a window but the last what comes next; windows of one event are none.

    Source: Kang and McAuley 2018 (arXiv 1808.09781, section III-A).

    Args:
        log, n_events, step, options: see `WindowBatches`.
    """

    def __init__(self, log: Interactions, n_events: int, step: int, **options: Any) -> None:
        super().__init__(log, n_events, step, least=2, **options)

    def example(self, rng: np.random.Generator, events: np.ndarray) -> Example:
        """The window without its last event; all steps; the events one later."""
        items = events.astype(np.int64)
        return items[:-1], np.arange(len(items) - 1), items[1:]
