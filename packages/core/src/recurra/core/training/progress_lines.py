"""What a person sees of a run: a bar on a terminal, a line every few seconds in a log file."""

import contextlib
import sys
import time
from typing import Any

SECONDS_BETWEEN_LINES = 5.0


class ProgressLines:
    """Shows steps on stderr; a terminal or a log that has gone does not end the run.

    Args:
        start: the step that this sitting begins at.
        total: steps of the run.
        shown: False shows nothing.
    """

    def __init__(self, start: int, total: int, shown: bool) -> None:
        self.total = total
        self.shown = shown
        self._bar: Any = None
        self._marks = [(time.monotonic(), start)]
        self._last_line = self._marks[0][0]
        self._losses: list[float] = []
        if shown and sys.stderr.isatty():
            self._bar, self._row = _bar(start, total)

    @property
    def steps_per_second(self) -> float:
        """The speed over the last half minute or so; 0 before the first step."""
        (then, first), (now, last) = self._marks[0], self._marks[-1]
        return (last - first) / (now - then) if now > then else 0.0

    def step(self, step: int, loss: float, seconds_left: float = float("inf")) -> None:
        """Step number `step` is done, with `loss`; a line shows the mean since the line before.

        `seconds_left` is what the run may still take: it ends then, whatever the steps are.
        """
        now = time.monotonic()
        self._losses.append(loss)
        self._marks.append((now, step))
        while len(self._marks) > 2 and now - self._marks[0][0] > 30:
            self._marks.pop(0)
        due = now - self._last_line >= SECONDS_BETWEEN_LINES
        if self._bar is not None:
            self._bar.update(self._row, completed=step, speed=self._speed(step, seconds_left))
        if not due:
            return
        mean = sum(self._losses) / len(self._losses)
        self._losses, self._last_line = [], now
        if self._bar is not None:
            self._bar.update(self._row, loss=f"{mean:.4g}")
        elif self.shown:
            self._line(
                f"step {step}/{self.total} loss {mean:.4g} {self._speed(step, seconds_left)}"
            )

    def note(self, text: str) -> None:
        """A line of its own: a validation, a resume, an interruption."""
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.console.print(text, markup=False, highlight=False)
        elif self.shown:
            self._line(text)

    def restart_clock(self, step: int) -> None:
        """Do not count what has just passed (a validation) as the speed of steps."""
        self._marks = [(time.monotonic(), step)]

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.stop()

    def _speed(self, step: int, seconds_left: float) -> str:
        """Steps per second, and the time that the rest will take."""
        speed = self.steps_per_second
        if speed <= 0:
            return ""
        left = max(0.0, min((self.total - step) / speed, seconds_left))
        return f"{speed:.3g} steps/s, {left / 3600:.1f} h left"

    def _line(self, text: str) -> None:
        with contextlib.suppress(OSError):
            print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _bar(start: int, total: int) -> tuple[Any, Any]:
    """A running rich bar on stderr, and its row."""
    from rich import progress
    from rich.console import Console

    bar = progress.Progress(
        progress.TextColumn("step {task.completed}/{task.total}"),
        progress.BarColumn(),
        progress.TextColumn("loss {task.fields[loss]} {task.fields[speed]}"),
        console=Console(stderr=True),
        transient=False,
    )
    bar.start()
    return bar, bar.add_task("", total=total, completed=start, loss="", speed="")
