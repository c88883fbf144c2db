"""The processes that torchrun starts, by the environment that it gives each."""

import os


def process_count() -> int:
    """How many there are; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this is the one that writes and prints; True without torchrun."""
    return int(os.environ.get("RANK", "0")) == 0
