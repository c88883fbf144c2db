"""The processes that torchrun starts, by the environment that it gives each."""

import atexit
import functools
import gc
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


@functools.cache
def part_at_exit() -> None:
    """Have the group of processes taken down before Python's end; call it before they meet.

    A thread of Gloo's that still holds a tensor when Python has ended aborts the process, and
    torchrun then calls all of them failed. NCCL takes itself down: asked to, it would wait for
    processes that have failed.
    """
    import torch.distributed

    if not torch.distributed.is_available():  # torch was built without it
        return
    import torch.distributed.nn.functional  # imported later, its default arguments keep the group

    def part() -> None:
        distributed = torch.distributed
        if distributed.is_initialized() and "gloo" in distributed.get_backend():
            gc.collect()  # models in DDP are parts of cycles, and keep the group
            distributed.destroy_process_group()

    atexit.register(part)


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

    part_at_exit()
    # They meet here if they have not yet, as in `build_accelerator`.
    accelerate.PartialState(cpu=not torch.accelerator.is_available(), timeout=PATIENCE)
    gathered: list[T] = accelerate.utils.gather_object([value])
    return gathered
