"""Ctrl-C and SIGTERM as a wish to stop at the next good moment."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """Raised by a signal inside `Interruption.at_once`."""


class Interruption:
    """A context where the first Ctrl-C or SIGTERM only sets `wanted`; a second Ctrl-C interrupts.

    Outside the main thread, where Python allows no handlers, signals keep their usual meaning.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._at_once = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.wanted and number == signal.SIGINT
        self.wanted = True
        if self._at_once:
            raise Interrupted
        if again:
            raise KeyboardInterrupt

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Work that can be given up at any point: a signal in it raises `Interrupted`."""
        self._at_once = True
        try:
            if self.wanted:
                raise Interrupted
            yield
        finally:
            self._at_once = False


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
