"""A progress bar for work that takes longer than a second, on a terminal, on stderr."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress

_DELAY = 1.0  # seconds; quicker work needs no bar, and does not pay for importing rich

_showing = Lock()  # two bars at once would draw over each other: the first one wins


@contextmanager
def progress(description: str, total: float | None = None, unit: str = "") -> Iterator["Progress"]:
    """Show how far the work inside has come; gone without a trace when it ends.

    Nothing is shown where stderr is not a terminal, in the first second, or inside another.

    Args:
        description: what is being done, such as the file's name.
        total: how much there is to do; None where that is unknown.
        unit: what is counted: "s", "files", "steps".

    Yields:
        Progress, whose `advance` says that more has been done.
    """
    bar = Progress(description, total, unit)
    shown = _is_terminal() and _showing.acquire(blocking=False)
    timer = Timer(_DELAY, bar._show)
    timer.daemon = True
    if shown:
        timer.start()
    try:
        yield bar
    finally:
        if shown:
            timer.cancel()
            bar._close()
            _showing.release()


class Progress:
    """How much has been done, counted whether a bar is shown or not. Made by `progress`."""

    def __init__(self, description: str, total: float | None, unit: str) -> None:
        self._description = description
        self._unit = unit
        self._lock = Lock()
        self._bar: rich.progress.Progress | None = None
        self._task: rich.progress.TaskID | None = None
        self._closed = False
        self.total = total
        self.completed = 0.0

    def advance(self, amount: float = 1.0) -> None:
        """Say that `amount` more is done, in the unit of the total; from any thread."""
        with self._lock:
            self.completed += amount
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=self.completed)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        amount = "{task.completed:.0f}" + ("" if self.total is None else "/{task.total:.0f}")
        bar = Bar(
            # File names may hold brackets, which rich would take for markup.
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn(f"{amount} {self._unit}".rstrip(), markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            # What the command prints on stdout is its result, and may go into a pipe.
            redirect_stdout=False,
        )
        with self._lock:
            if self._closed:
                return
            self._task = bar.add_task(self._description, total=self.total)
            bar.update(self._task, completed=self.completed)
            bar.start()
            self._bar = bar

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            if self._bar is not None:
                self._bar.stop()
                self._bar = None


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
