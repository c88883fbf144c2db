"""When a run ends: at its last step, out of patience, out of time, or because somebody asks."""

import time
from typing import Any, Literal

import torch

from recurra.core.interruption import Interruption
from recurra.core.training.fit_config import FitConfig

End = Literal["steps", "patience", "time", "interrupted"]


class Stopping:
    """Says after each step and each validation whether the run goes on, the same in every process.

    Patience and time are counted over every sitting, as steps are. Time is wall clock from the
    first step of a sitting on, validations included; what a killed sitting did after its last
    checkpoint does not count, for it is done again.

    Source of patience: Goodfellow, Bengio and Courville 2016, "Deep learning", algorithm 7.1.

    Args:
        config: of the run.
        accelerator: from `build_accelerator`.
        interruption: open around the sitting.

    Attributes:
        end: why the run ends, or None while it goes on.
        time_share: how much of the run's time had passed at the last look; 0 without a limit.
    """

    def __init__(self, config: FitConfig, accelerator: Any, interruption: Interruption) -> None:
        self.config, self.accelerator, self.interruption = config, accelerator, interruption
        self.end: End | None = None
        self._unimproved = 0  # validations since the best
        self._seconds = 0.0  # of the run, up to the last look
        self._seen: float | None = None  # when that was; None before the first of this sitting
        self.time_share = 0.0

    @property
    def seconds_left(self) -> float:
        """What is left of the time of the run; infinity without a limit."""
        minutes = self.config.max_minutes
        return float("inf") if minutes is None else 60 * minutes - self._seconds

    def look(self, step: int) -> End | None:
        """Decide after update number `step`, or at the start of a sitting; `end` keeps the answer.

        Every process has to call this at the same moments. Only the first one counts validations,
        clocks differ, and a signal may reach one process alone: one yes is a yes of all.
        """
        now = time.monotonic()
        if self._seen is not None:
            self._seconds += now - self._seen
        self._seen = now
        patience = self.config.patience
        reasons: dict[End, bool] = {
            "interrupted": self.interruption.wanted,
            "steps": step >= self.config.max_steps,
            "patience": patience is not None and self._unimproved >= patience,
            "time": self.seconds_left <= 0,
        }
        *votes, passed = self._mean_over_processes([*reasons.values(), self._passed()])
        self.end = next((end for end, vote in zip(reasons, votes, strict=True) if vote > 0), None)
        self.time_share = passed
        return self.end

    def count_validation(self, *, better: bool) -> None:
        """Take note of a validation, in the process that has judged."""
        self._unimproved = 0 if better else self._unimproved + 1

    def state(self) -> dict[str, Any]:
        """What the next sitting has to know."""
        return {"unimproved": self._unimproved, "seconds": self._seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on counting where an earlier sitting ended."""
        self._unimproved, self._seconds = state["unimproved"], state["seconds"]
        self.time_share = self._passed()

    def _passed(self) -> float:
        """The share of the run's time that has passed by the clock of this process."""
        minutes = self.config.max_minutes
        return 0.0 if minutes is None else min(1.0, self._seconds / (60 * minutes))

    def _mean_over_processes(self, values: list[float]) -> list[float]:
        if self.accelerator.num_processes == 1:
            return values
        both = torch.tensor(values, dtype=torch.float32, device=self.accelerator.device)
        means: list[float] = self.accelerator.reduce(both, reduction="mean").tolist()
        return means
