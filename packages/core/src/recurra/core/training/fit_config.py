"""The numbers of a training run."""

from dataclasses import dataclass
from typing import Literal

# These change how a run is carried out and when it ends, not what its steps compute, so a resumed
# run may change them.
FREE_TO_CHANGE = frozenset(
    {"workers", "threads", "log_every", "checkpoint_every", "patience", "max_minutes"}
)


@dataclass(frozen=True)
class FitConfig:
    """Everything that `fit` needs to know besides the task.

    A step is one update of the weights; it takes `batch_size * accumulate` items in each process.

    Attributes:
        seed: of the data order and of the randomness inside a step.
        max_steps: updates in all, over every sitting.
        max_minutes: wall clock in all, over every sitting: the run then ends as after its last
            step, and where `max_steps` do not fit in, the rate falls by the time instead, so that
            such a run is not the same to the bit as another. None sets no limit.
        batch_size: items in one forward pass of one process.
        accumulate: forward passes whose gradients are averaged into one update.
        learning_rate: the peak, reached after the warm-up.
        weight_decay: handed to the optimizer of the task.
        warmup_steps: updates over which the rate rises linearly to its peak.
        schedule: after the warm-up, "cosine" and "linear" fall to the final rate at `max_steps`,
            or at `max_minutes`, whichever comes first; "constant" stays.
        final_learning_rate: where they end, as a share of the peak.
        clip_norm: limit of the gradient's norm over all parameters; None never clips.
        ema_decay: decay per step of an exponential moving average of the weights, which is then
            what is validated and exported; None validates and exports the weights themselves.
        precision: "f32", or "bf16" for an autocast forward pass with f32 weights.
        workers: processes that load data; 0 loads in the training process.
        log_every: steps between rows of metrics; each is the mean since the row before.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations; None never validates.
        patience: validations in a row without a new best after which the run ends; None never does.
        threads: torch threads of each process; None leaves what torch chose.

    Raises:
        ValueError: a number is out of its range.
    """

    seed: int = 0
    max_steps: int = 10_000
    max_minutes: float | None = None
    batch_size: int = 8
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    final_learning_rate: float = 0.01
    clip_norm: float | None = 1.0
    ema_decay: float | None = None
    precision: Literal["f32", "bf16"] = "f32"
    workers: int = 0
    log_every: int = 50
    checkpoint_every: int = 500
    validate_every: int | None = 500
    patience: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "accumulate", "log_every", "checkpoint_every"):
            _require(getattr(self, name) >= 1, self, name, "at least 1")
        for name in ("seed", "warmup_steps", "workers", "weight_decay"):
            _require(getattr(self, name) >= 0, self, name, "at least 0")
        for name in ("validate_every", "patience", "threads"):
            value = getattr(self, name)
            _require(value is None or value >= 1, self, name, "at least 1, or null")
        for name in ("clip_norm", "max_minutes"):
            value = getattr(self, name)
            _require(value is None or value > 0, self, name, "above 0, or null")
        _require(self.learning_rate > 0, self, "learning_rate", "above 0")
        _require(0 <= self.final_learning_rate <= 1, self, "final_learning_rate", "from 0 to 1")
        _require(
            self.ema_decay is None or 0 < self.ema_decay < 1,
            self,
            "ema_decay",
            "between 0 and 1, or null",
        )
        if self.patience is not None and self.validate_every is None:
            raise ValueError("patience counts validations, and validate_every is null")
        known = ("cosine", "linear", "constant")
        _require(self.schedule in known, self, "schedule", "cosine, linear or constant")
        _require(self.precision in ("f32", "bf16"), self, "precision", "f32 or bf16")


def _require(holds: bool, config: FitConfig, name: str, limit: str) -> None:
    """Raise ValueError with the value and its limit unless it `holds`."""
    if not holds:
        raise ValueError(f"{name} is {getattr(config, name)!r}; it must be {limit}")
