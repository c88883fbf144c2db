"""The training loop: one for every app, resumable to the bit."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from recurra.core.errors import RecurraError
from recurra.core.interruption import Interrupted, Interruption
from recurra.core.training.data_order import DataOrder
from recurra.core.training.data_worker import start_worker
from recurra.core.training.fit_config import FitConfig
from recurra.core.training.metrics_log import MetricsLog
from recurra.core.training.optimization import Optimization, build_accelerator, seed_all
from recurra.core.training.processes import gather_from_processes
from recurra.core.training.progress_lines import ProgressLines
from recurra.core.training.run_folder import RunFolder, latest_checkpoint
from recurra.core.training.stopping import End, Stopping
from recurra.core.training.task import Task


@dataclass(frozen=True)
class FitResult:
    """How a sitting ended.

    Attributes:
        step: updates done, over every sitting.
        end: what ended it: the last of "steps", out of "patience", out of "time", or "interrupted",
            after which the run is to be gone on with.
        best: the best first value of `validate`, or None if there was no validation.
        best_step: the step of it.
        metrics: of the last validation.
        folder: of the run.
    """

    step: int
    end: End
    best: float | None
    best_step: int | None
    metrics: dict[str, float]
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether the run has come to its own end, and not to that of a sitting."""
        return self.end != "interrupted"


def fit(
    task: Task,
    config: FitConfig,
    folder: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    resume: bool = True,
    progress: bool = True,
) -> FitResult:
    """Train `task.model` in place, from the weights it has, or go on with the run in `folder`.

    A run that was stopped or killed and then resumed ends with the same weights, to the bit, as one
    that was not, for the same number of threads. Ctrl-C, SIGTERM and SIGHUP finish the step, write
    a checkpoint and return with `finished` false; the end by steps, patience or time validates and
    saves first. Under `torchrun` each process trains on its share of every batch; the folder must
    be one that all of them see.

    Args:
        task: model, data and losses.
        config: of the run; between sittings only when it ends (`max_steps` upwards, patience,
            max_minutes) and what does not change the result (workers, threads, log_every,
            checkpoint_every) may change. The schedule is drawn over `max_steps`, so that raising it
            raises the rates from then on.
        folder: of the run, see `RunFolder`.
        settings: what else the weights follow from, as JSON has it: sizes of the model, digests of
            the data and of the first weights. A folder of other settings holds another run.
        resume: False refuses a folder that already holds a run.
        progress: show steps on stderr.

    Raises:
        RecurraError: the folder cannot be used, a checkpoint does not fit or cannot be written.
        DivergedError: the loss is not finite; the last checkpoint is from before.
        MissingExtraError: Accelerate or TensorBoard is not installed.
    """
    folder = Path(folder)
    threads = torch.get_num_threads()
    accelerator = build_accelerator(config)
    main = accelerator.is_main_process
    run = None
    if main:
        processes = accelerator.num_processes
        run = RunFolder(folder, config, processes, resume=resume, settings=settings)
    accelerator.wait_for_everyone()
    sitting = None
    try:
        with Interruption() as interruption:
            sitting = _Sitting(task, config, folder, run, accelerator, interruption, progress)
            sitting.train()
            accelerator.wait_for_everyone()
        return gather_from_processes(sitting.result())[0]  # only the first one has judged
    finally:
        if sitting is not None:
            sitting.close()
        if run is not None:
            run.close()
        torch.set_num_threads(threads)


class _Sitting:
    """One stretch of a run, from its start or a checkpoint to its end or an interruption."""

    def __init__(
        self,
        task: Task,
        config: FitConfig,
        folder: Path,
        run: RunFolder | None,
        accelerator: Any,
        interruption: Interruption,
        progress: bool,
    ) -> None:
        self.task, self.config, self.folder = task, config, folder
        self.run, self.accelerator, self.interruption = run, accelerator, interruption
        self.stopping = Stopping(config, accelerator, interruption)
        self.best: float | None = None
        self.best_step: int | None = None
        self.metrics: dict[str, float] = {}
        self.validated = 0
        self.window: dict[str, float] = {}
        self.window_steps = 0
        self.threads = torch.get_num_threads()
        self.optimization = Optimization(
            task, config, accelerator, lambda: self.stopping.time_share
        )
        self._restore()
        self.batches = self._load_data()
        step = self.optimization.step
        self.progress = ProgressLines(step, config.max_steps, progress and run is not None)
        self.log = MetricsLog(folder, step, self.validated) if run is not None else None
        if step:
            self.progress.note(f"resumed at step {step} of {config.max_steps}")
        if self.threads != torch.get_num_threads():
            self.progress.note(
                f"threads were {self.threads}, now {torch.get_num_threads()}: sums are rounded"
                " differently, so the result is not the same to the bit"
            )

    def _restore(self) -> None:
        """Take up the newest checkpoint, if there is one."""
        state = latest_checkpoint(self.folder)
        if state is None:
            return
        # A run that began before runs had these has none of them in its checkpoints.
        self.stopping.restore(state.get("stopping", self.stopping.state()))
        self.optimization.restore(state)
        self.best, self.best_step = state["best"], state["best_step"]
        self.metrics, self.validated = state["metrics"], state["validated"]
        self.window, self.window_steps = state["window"], state["window_steps"]
        self.threads = state["threads"]

    def _load_data(self) -> Iterator[Any]:
        """The batches of this process from the next one on; the workers start now."""
        config, data = self.config, self.task.training_data
        order = DataOrder(
            len(data),  # type: ignore[arg-type]
            config.batch_size,
            config.seed,
            start_step=self.optimization.step * config.accumulate,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )
        return iter(
            DataLoader(
                data,
                batch_sampler=order,
                num_workers=config.workers,
                collate_fn=self.task.collate,
                pin_memory=self.accelerator.device.type == "cuda",
                worker_init_fn=partial(start_worker, parent=os.getpid()),
                generator=torch.Generator().manual_seed(config.seed),
            )
        )

    def train(self) -> None:
        """Steps until the end or an interruption; each validation comes after its checkpoint."""
        config = self.config
        self.stopping.look(self.optimization.step)
        if self._validation_is_due():
            self._validate()
        while self.stopping.end is None:
            values = self.optimization.update(self.batches)
            step = self.optimization.step
            self._add_to_window(values)
            self.stopping.look(step)
            self.progress.step(step, float(values["loss"]), self.stopping.seconds_left)
            if step % config.log_every == 0:
                self._write_window()
            due = self._validation_is_due()
            if due or self.stopping.end is not None or step % config.checkpoint_every == 0:
                self._save()
            if due:
                self._validate()
        self._say_why_it_ends()

    def _say_why_it_ends(self) -> None:
        """Tell the person what they would wonder about: an end before the last step."""
        match self.stopping.end:
            case "interrupted":
                reason = "interrupted"
            case "patience":
                reason = f"no better for {self.config.patience} validations"
            case "time":
                reason = f"the {self.config.max_minutes:g} minutes are over"
            case _:
                return
        self.progress.note(f"{reason}: step {self.optimization.step} is saved")

    def _validation_is_due(self) -> bool:
        """Whether the weights of this step have to be judged and have not been."""
        step, every, end = self.optimization.step, self.config.validate_every, self.stopping.end
        if every is None or step == 0 or self.validated == step or end == "interrupted":
            return False
        return step % every == 0 or end is not None

    def _validate(self) -> None:
        """Judge the weights and export the best.

        The first process judges while the others wait. If an interruption cuts it short, the
        checkpoint of this step is there, and the next sitting begins with this validation.
        """
        step = self.optimization.step
        if self.run is not None:
            # What a signal gave up is seen by all processes in the look that follows.
            with contextlib.suppress(Interrupted), self.interruption.at_once():
                self.metrics = self._judge()
        self.accelerator.wait_for_everyone()
        if self.stopping.look(step) == "interrupted":
            return
        self.validated = step
        if self.run is not None and self.log is not None:
            self._note_validation()
            self.log.write(step, "validate", self.metrics)
        if self.stopping.look(step) is not None:
            self._save()
        self.progress.restart_clock(step)

    def _judge(self) -> dict[str, float]:
        """The task's own metrics of the averaged (or plain) model."""
        model = self.optimization.judged
        seed_all(self.config.seed)
        model.eval()
        with torch.no_grad():
            metrics = {name: float(value) for name, value in self.task.validate(model).items()}
        if not metrics:
            raise RecurraError("validate gave no value; its first value decides the best weights")
        return metrics

    def _note_validation(self) -> None:
        """Keep the weights if they are the best so far, and say what they reach."""
        step, value = self.optimization.step, next(iter(self.metrics.values()))
        sign = 1 if self.task.higher_is_better else -1
        better = value == value and (self.best is None or sign * value > sign * self.best)
        self.stopping.count_validation(better=better)
        if better and self.run is not None:
            self.best, self.best_step = value, step
            self.run.export("best", self.optimization.judged)
        numbers = " ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        self.progress.note(f"step {step} validate {numbers}{' (best)' if better else ''}")

    def _add_to_window(self, values: dict[str, Any]) -> None:
        """Count a step into the means that the next row of metrics shows."""
        for name, value in values.items():
            self.window[name] = self.window.get(name, 0.0) + float(value)
        self.window_steps += 1

    def _write_window(self) -> None:
        """Log the means since the row before, and begin anew."""
        if self.log is not None:
            step, count = self.optimization.step, self.window_steps
            means = {name: total / count for name, total in self.window.items()}
            means["learning_rate"] = self.optimization.learning_rate
            self.log.write(step, "train", means)
            speed = {"steps_per_second": self.progress.steps_per_second}
            self.log.write(step, "speed", speed)
        self.window, self.window_steps = {}, 0

    def _save(self) -> None:
        """Write a checkpoint and the model of it."""
        if self.run is None or self.log is None:
            return
        self.log.flush()
        self.run.save(
            {
                **self.optimization.state(),
                "stopping": self.stopping.state(),
                "best": self.best,
                "best_step": self.best_step,
                "metrics": self.metrics,
                "validated": self.validated,
                "window": self.window,
                "window_steps": self.window_steps,
                "threads": torch.get_num_threads(),
            }
        )
        self.run.export("last", self.optimization.judged)

    def result(self) -> FitResult:
        """How the sitting ended."""
        end = self.stopping.end
        assert end is not None, "a sitting is over when its run has come to an end"
        step = self.optimization.step
        return FitResult(step, end, self.best, self.best_step, self.metrics, self.folder)

    def close(self) -> None:
        """Stop the workers, close the logs, and hand the model back in eval mode."""
        del self.batches
        self.progress.close()
        if self.log is not None:
            self.log.close()
        self.optimization.release()
        self.task.model.eval()
