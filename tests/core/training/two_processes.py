"""Started by torchrun in test_two_processes.py: trains in two processes, whole and in two sittings.

torchrun --nproc-per-node 2 two_processes.py FOLDER
"""

import atexit
import os
import signal
import sys
from pathlib import Path

from tests.core.training.conftest import SMALL, Regression

from recurra.core.training import FitConfig, fit

CHANGES = {"accumulate": 2, "ema_decay": 0.9, "batch_size": 2}


def say_parted() -> None:
    """Print whether Python's end finds no thread of Gloo's."""
    names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
    print("gloo" if any("gloo" in name for name in names) else "parted", flush=True)


def main() -> None:
    """Runs without dropout, whole with it, with a stop in rank 1, and with an end in rank 0."""
    atexit.register(say_parted)
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    config = FitConfig(**{**SMALL, **CHANGES})
    fit(Regression(dropout=0.0, norm=False), config, folder / "shared", progress=False)
    fit(Regression(norm=False), config, folder / "whole", progress=False)
    task = Regression(norm=False)
    inner, calls = task.training_step, []

    def training_step(model, batch):
        calls.append(1)
        if rank == 1 and len(calls) == 2 * 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(model, batch)

    task.training_step = training_step
    part = fit(task, config, folder / "parts", progress=False)
    assert (part.step, part.finished) == (5, False)
    fit(Regression(norm=False), config, folder / "parts", progress=False)
    # Only rank 0 validates, and it alone runs out of patience: both have to end, or one waits.
    impatient = FitConfig(**{**SMALL, **CHANGES, "patience": 1})
    task = Regression(norm=False)
    task.validate = lambda model: {"mse": 1.0}
    ended = fit(task, impatient, folder / "impatient", progress=False)
    assert (ended.step, ended.end) == (8, "patience")


if __name__ == "__main__":
    main()
