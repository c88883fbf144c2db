"""The processes that torchrun starts, by the environment that it gives each."""

import os
from datetime import timedelta
from typing import TypeVar

from recurra.core.errors import import_extra

# The others wait while the first one judges and writes; the usual half hour can be short.
PATIENCE = timedelta(hours=6)

T = TypeVar("T")


def process_count() -> int:
    """How many there are; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this is the one that writes and prints; True without torchrun."""
    return int(os.environ.get("RANK", "0")) == 0


def gather_from_processes(value: T) -> list[T]:
    """The values of all processes, the first one's first, in each; [value] without torchrun.

    All have to ask, and wait until all have. What decides what is done next, such as a clock or
    what only the first process knows, has to be the same in all, or some wait forever.

    Args:
        value: what pickle can carry.

    Raises:
        MissingExtraError: Accelerate is not installed.
    """
    if process_count() == 1:
        return [value]
    accelerate = import_extra("accelerate", extra="train", package="recurra-core")
    import torch

    # They meet here if they have not yet, as in `build_accelerator`.
    accelerate.PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)
    gathered: list[T] = accelerate.utils.gather_object([value])
    return gathered
