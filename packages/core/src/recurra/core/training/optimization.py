"""One update of the weights, on Accelerate, and the state that the next one depends on.

Accelerate gives the device, the wrapper for several processes, autocast, gradient synchronisation
under accumulation, and clipping. Its own data loader and scheduler wrappers are not used: the first
would deal out batches that `DataOrder` has already dealt, the second steps once per process.
"""

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recurra.core.errors import CheckpointError, RecurraError, import_extra
from recurra.core.training.averaging import WeightAverage
from recurra.core.training.clipping import clip_gradients
from recurra.core.training.fit_config import FitConfig
from recurra.core.training.processes import PATIENCE, part_at_exit, process_count
from recurra.core.training.schedule import build_schedule, restore_schedule
from recurra.core.training.task import Task


class DivergedError(RecurraError):
    """The loss or its gradient is not finite; the weights were not touched by that step."""


def build_accelerator(config: FitConfig) -> Any:
    """An `accelerate.Accelerator` for this process.

    Raises:
        MissingExtraError: Accelerate is not installed.
        RecurraError: Accelerate was set up, by its environment, for a way of sharing the model
            itself out; only whole copies (DDP) are supported.
    """
    accelerate = import_extra("accelerate", extra="train", package="recurra-core")
    part_at_exit()
    # Accelerate keeps its precision for the life of the process and refuses another; a second fit
    # may want one. The process group, which is the costly part, is left standing.
    accelerate.state.AcceleratorState._reset_state()
    accelerator = accelerate.Accelerator(
        # Without a GPU, Accelerate takes torchrun's processes for strangers unless it is told this.
        cpu=not torch.accelerator.is_available(),
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        gradient_accumulation_steps=config.accumulate,
        kwargs_handlers=[accelerate.InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    kind = str(accelerator.distributed_type.value)
    if kind not in ("NO", "MULTI_CPU", "MULTI_GPU"):
        raise RecurraError(f"training on {kind} is not supported: start it with torchrun (DDP)")
    asked = process_count()
    if accelerator.num_processes != asked:
        raise RecurraError(
            f"{asked} processes were started but {accelerator.num_processes} found each other:"
            " call fit before anything else that uses Accelerate"
        )
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return accelerator


def seed_all(*numbers: int) -> None:
    """Seed torch (every device), numpy and random from `numbers`."""
    value = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    torch.manual_seed(value)
    np.random.seed(value)
    random.seed(value)


class Optimization:
    """A task's model with its optimizer, schedule and average.

    Args:
        task: its model is moved to the device and trained in place.
        config: of the run.
        accelerator: from `build_accelerator`.
        time_share: how much of the run's time has passed, the same in every process.
    """

    def __init__(
        self,
        task: Task,
        config: FitConfig,
        accelerator: Any,
        time_share: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.task, self.config, self.accelerator = task, config, accelerator
        self.step = 0
        self._attributes_before = frozenset(vars(task.model))
        self.plain = task.model.to(accelerator.device)
        self.average: WeightAverage | None = None
        if config.ema_decay is not None and accelerator.is_main_process:
            # Before the model is prepared, so that the copy does not carry the autocast wrapper.
            self.average = WeightAverage(self.plain, config.ema_decay, accelerator.device)
        trained = [p for p in self.plain.parameters() if p.requires_grad]
        if not trained:
            raise RecurraError("the model has no parameter that requires a gradient")
        self.parameters = trained
        optimizer = task.optimizer(
            trained, learning_rate=config.learning_rate, weight_decay=config.weight_decay
        )
        self.plain_optimizer = optimizer
        self.schedule = build_schedule(optimizer, config, time_share)
        self.model, self.optimizer = accelerator.prepare(self.plain, optimizer)

    @property
    def judged(self) -> nn.Module:
        """The model that is validated and exported: the average where there is one."""
        return self.plain if self.average is None else self.average.module

    @property
    def learning_rate(self) -> float:
        """The rate of the first parameter group in the next update."""
        return float(self.plain_optimizer.param_groups[0]["lr"])

    def update(self, batches: Iterable[Any]) -> dict[str, Tensor]:
        """One update from `config.accumulate` batches taken off `batches`.

        Returns:
            The task's values, each a float32 scalar averaged over all batches of the update in all
            processes, and the "grad_norm" before clipping.

        Raises:
            DivergedError: the loss or the gradient is not finite.
        """
        seed_all(self.config.seed, self.step, self.accelerator.process_index)
        self.model.train()
        totals: dict[str, Tensor] = {}
        supply = iter(batches)
        for _ in range(self.config.accumulate):
            with self.accelerator.accumulate(self.model):
                values = self._backward(next(supply))
                for name, value in values.items():
                    totals[name] = totals.get(name, torch.zeros_like(value)) + value
                if self.accelerator.sync_gradients:
                    norm = self._clip()
                    totals = self._mean_over_processes(totals)
                    self._check_finite(totals["loss"], norm)
                # Accelerate lets these two pass only with the last batch of the update.
                self.optimizer.step()
                self.optimizer.zero_grad()
        self.schedule.step()
        if self.average is not None:
            self.average.update_parameters(self.plain)
        self.step += 1
        means = {name: total / self.config.accumulate for name, total in totals.items()}
        return {**means, "grad_norm": norm}

    def _backward(self, batch: Any) -> dict[str, Tensor]:
        """Forward and backward of one batch; the values that the task gave, detached."""
        send = import_extra("accelerate.utils", extra="train", package="recurra-core")
        batch = send.send_to_device(batch, self.accelerator.device, non_blocking=True)
        losses = self.task.training_step(self.model, batch)
        if "loss" not in losses:
            raise RecurraError(f'training_step gave {sorted(losses)}; it must give "loss"')
        self.accelerator.backward(losses["loss"])
        return {name: value.detach().float() for name, value in losses.items()}

    def _clip(self) -> Tensor:
        """Clip the gradient and return its norm before that."""
        limit = self.config.clip_norm if self.config.clip_norm is not None else float("inf")
        return clip_gradients(self.parameters, limit).detach().float()

    def _mean_over_processes(self, totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """The mean of each value over the processes, so that all of them judge the same loss."""
        if self.accelerator.num_processes == 1:
            return totals
        means = self.accelerator.reduce(torch.stack(list(totals.values())), reduction="mean")
        return dict(zip(totals, means, strict=True))

    def _check_finite(self, loss: Tensor, norm: Tensor) -> None:
        """Raise DivergedError before the optimizer can carry a NaN into the weights."""
        if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
            what = f"loss {float(loss) / self.config.accumulate:g}, gradient norm {float(norm):g}"
            raise DivergedError(
                f"training diverged at step {self.step + 1} ({what}); the last checkpoint is kept: "
                "start a new run from its weights with a lower learning rate or clip_norm"
            )

    def state(self) -> dict[str, Any]:
        """Everything the next update depends on, as tensors and plain values."""
        return {
            "step": self.step,
            "model": self.plain.state_dict(),
            "optimizer": self.plain_optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "ema": None if self.average is None else self.average.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up where the `state` of an earlier sitting ended.

        Raises:
            CheckpointError: it is the state of another model or optimizer.
        """
        try:
            self.plain.load_state_dict(state["model"])
            self.plain_optimizer.load_state_dict(state["optimizer"])
            restore_schedule(self.schedule, state["schedule"])
            if self.average is not None:
                self.average.load_state_dict(state["ema"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"the run is of another model or optimizer: {reason}") from error
        self.step = int(state["step"])

    def release(self) -> None:
        """Give the task its model back as it was handed in, without Accelerate's wrappers."""
        self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        for trace in {"_is_accelerate_prepared", "forward"} - self._attributes_before:
            vars(self.plain).pop(trace, None)
