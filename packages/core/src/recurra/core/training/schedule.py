"""The learning rate over a run: a linear warm-up, then a cosine, a line or a constant."""

import math
from collections.abc import Callable
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from recurra.core.training.fit_config import FitConfig


def learning_rate_share(
    step: int,
    *,
    max_steps: int,
    warmup_steps: int,
    schedule: Literal["cosine", "linear", "constant"],
    final: float,
    time_share: float = 0.0,
) -> float:
    """The share of the peak rate that update number `step` (from 0) uses.

    The warm-up reaches the peak with its last update. The cosine (Loshchilov and Hutter, SGDR,
    2017, eq. 5, one period) then falls from 1 towards `final`, which it reaches at `max_steps`, and
    so does the line. A run that its time ends first, of which `time_share` has passed, gets there
    by then instead.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    of_steps = (step - warmup_steps) / max(1, max_steps - warmup_steps)
    progress = min(1.0, max(of_steps, time_share))
    if schedule == "linear":
        return final + (1 - final) * (1 - progress)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def build_schedule(
    optimizer: Optimizer, config: FitConfig, time_share: Callable[[], float] = lambda: 0.0
) -> LambdaLR:
    """A scheduler to be stepped once after each update of the weights.

    Args:
        optimizer: its groups' rates are the peaks.
        config: of the run.
        time_share: how much of the run's time has passed, from 0 to 1.
    """

    def share(step: int) -> float:
        return learning_rate_share(
            step,
            max_steps=config.max_steps,
            warmup_steps=config.warmup_steps,
            schedule=config.schedule,
            final=config.final_learning_rate,
            time_share=time_share(),
        )

    return LambdaLR(optimizer, share)


def restore_schedule(scheduler: LambdaLR, state: dict[str, object]) -> None:
    """Load a scheduler's state, and set the rates that its own curve has there.

    The saved rates were those of the saved run's curve; where `max_steps` has grown since, this one
    differs from the first resumed step on. Where it has not, the product is the same to the bit.
    """
    scheduler.load_state_dict(state)
    for group, base, curve in zip(
        scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
    ):
        group["lr"] = base * curve(scheduler.last_epoch)
