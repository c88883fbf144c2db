"""Started by test_kill.py: kills a training again and again until it has finished.

    python kill_driver.py FOLDER SEED WORKERS

Each sitting is a fork, so that the imports are paid for once. Prints one JSON document: the number
of kills, and how many of them left a checkpoint half written.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

# Imported here, as fit and torch's optimizers would, so that the forks need not.
import torch._dynamo
import torch.utils.tensorboard
from accelerate import Accelerator
from tests.core.training.conftest import SMALL, Regression

from recurra.core.training import FitConfig, fit

STEPS = 40


def config(workers: int) -> FitConfig:
    """A checkpoint at every other step, so that many kills fall into one."""
    changes = {"max_steps": STEPS, "checkpoint_every": 2, "ema_decay": 0.9, "accumulate": 2}
    return FitConfig(**{**SMALL, **changes, "workers": workers})


def slow_disk() -> None:
    """Make each write last, in two halves, so that a kill can fall between them."""
    fsync, save = os.fsync, torch.save

    def slow_save(state, stream):
        save(state, stream)
        size = stream.tell()
        stream.truncate(size // 2)
        stream.flush()
        time.sleep(0.05)
        stream.seek(0)
        save(state, stream)

    def slow_fsync(descriptor):
        fsync(descriptor)
        time.sleep(0.005)

    os.fsync, torch.save = slow_fsync, slow_save


def sitting(folder: Path, workers: int) -> int:
    """Fork a process that trains; its id."""
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        slow_disk()
        fit(Regression(), config(workers), folder, progress=False)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Kill until done."""
    folder, seed, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    halves = 0
    Accelerator(cpu=True)
    for kills in range(100):
        child = sitting(folder, workers)
        deadline = time.monotonic() + chance.uniform(0.05, 0.8)
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                if status:
                    sys.exit(f"a sitting failed with status {status}")
                print(json.dumps({"kills": kills, "halves": halves}))
                return
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        halves += any((folder / "checkpoints").glob(".*.partial"))
    sys.exit("the training never came to its end: resuming makes no headway")


if __name__ == "__main__":
    main()
