"""Training for every app: `fit` a `Task` under a `FitConfig`, resumable to the bit."""

from recurra.core.training.data_order import DataOrder, Draw
from recurra.core.training.fit import FitResult, fit
from recurra.core.training.fit_config import FitConfig
from recurra.core.training.optimization import DivergedError
from recurra.core.training.processes import (
    gather_from_processes,
    is_first_process,
    process_count,
)
from recurra.core.training.task import Task

__all__ = [
    "DataOrder",
    "DivergedError",
    "Draw",
    "FitConfig",
    "FitResult",
    "Task",
    "fit",
    "gather_from_processes",
    "is_first_process",
    "process_count",
]
