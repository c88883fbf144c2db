"""Processes that load data: they leave signals to the training process, and end with it."""

import os
import signal
import threading
import time

from recurra.core.interruption import SIGNALS


def start_worker(worker: int, *, parent: int) -> None:
    """Prepare a data worker: signals are left to the training process, and it ends with it.

    A terminal, or a `kill` of the process group, sends signals to every process of the group; a
    worker that died of one would fail the step that the training process still wants to finish. A
    training process that is killed outright tells its workers nothing, and torch's own watch misses
    one that died while the worker was starting, so each worker looks for its parent itself.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
