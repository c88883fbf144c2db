"""One command, many inputs: each is done or fails on its own, and all are told in the end."""

import contextlib
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TextIO, TypeVar

from recurra.core.cli.errors import ExitCode, one_line, printable
from recurra.core.cli.json_output import print_json
from recurra.core.errors import RecurraError
from recurra.core.workers import Workers

Input = TypeVar("Input")

_MOMENT = 0.1  # seconds; waits with a limit can be interrupted on every system
# What the work on the input of this thread, or of one that it started, warns of.
_notes: ContextVar[list[str] | None] = ContextVar("notes", default=None)


@dataclass(frozen=True)
class Done:
    """What the work on one input made.

    Attributes:
        output: the file or folder that was written; None where there is none, or where it went to
            stdout.
        also: further files, such as a residual or a second speaker.
        details: numbers for `--json`.
        notes: what the person should know although the work is done, one line each.
    """

    output: str | Path | None = None
    also: Sequence[str | Path] = ()
    details: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of one input: `error` is None when it is done. `seconds` are of wall clock."""

    input: str
    output: str | None
    error: str | None
    seconds: float
    details: Mapping[str, object] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Batch:
    """Runs a function on each input of a command and reports.

    A RecurraError or an OSError fails its input alone. Each written file is a line `wrote ...` on
    stdout as soon as it is there, each failure and each note a line on stderr, and a count of the
    failures comes last; with `json` stdout has one document instead. Warnings that the work issues
    (UserWarning) count as notes of its input.

    Args:
        name: the command, as it stands before its messages.
        json: print the document instead of lines.
        stdout_is_data: the command's output itself goes to stdout, so the report goes to stderr.
    """

    def __init__(self, name: str, *, json: bool = False, stdout_is_data: bool = False) -> None:
        if json and stdout_is_data:
            raise RecurraError("--json and an output on stdout exclude each other; give -o FILE")
        self._name = name
        self._json = json
        self._stdout_is_data = stdout_is_data
        self.outcomes: list[Outcome] = []

    def run(
        self, inputs: Iterable[Input], work: Callable[[Input], Done], *, jobs: int = 1
    ) -> ExitCode:
        """Do the work on each input; what has been done is reported whatever happens.

        The report, its order and the exit code are the same for any number of jobs. An exception
        that fails more than its input, such as Ctrl-C or a bug, ends the work on all of them.

        Args:
            inputs: files, or anything whose text names it.
            work: takes one input; cleans up after itself when it fails or is interrupted.
            jobs: inputs in work at once, each in a thread; with more than one, `work` must bear it.

        Returns:
            ALL_DONE, SOME_FAILED, or NOTHING_DONE when none succeeded or there was no input.
        """
        inputs = list(inputs)
        jobs = min(jobs, len(inputs))
        try:
            with _warnings_as_notes():
                if jobs > 1:
                    self._side_by_side(inputs, work, jobs)
                else:
                    for entry in inputs:
                        self._add(_attempt(entry, work))
        except BrokenPipeError:
            # Nobody reads any more: there is no one to report to.
            raise
        except BaseException as stopped:
            # What stopped the work counts for more than a report to a terminal that has gone.
            with contextlib.suppress(OSError):
                self._report(len(inputs), interrupted=isinstance(stopped, KeyboardInterrupt))
            raise
        return self._report(len(inputs), interrupted=False)

    def _side_by_side(
        self, inputs: Sequence[Input], work: Callable[[Input], Done], jobs: int
    ) -> None:
        """Do the work in threads, and tell of each input after those before it."""
        finished: SimpleQueue[tuple[int, Outcome | BaseException]] = SimpleQueue()
        ready: dict[int, Outcome] = {}

        def attempt(index: int, entry: Input) -> None:
            try:
                finished.put((index, _attempt(entry, work)))
            except BaseException as stopped:
                finished.put((index, stopped))

        told = 0
        try:
            with Workers(jobs) as workers:
                for index, entry in enumerate(inputs):
                    workers.submit(attempt, index, entry)
                while told < len(inputs):
                    index, outcome = _next(finished)
                    if isinstance(outcome, BaseException):
                        raise outcome
                    ready[index] = outcome
                    while told in ready:
                        self._add(ready.pop(told))
                        told += 1
        except BrokenPipeError:
            raise
        except BaseException:
            while not finished.empty():
                index, outcome = finished.get()
                if isinstance(outcome, Outcome):
                    ready[index] = outcome
            with contextlib.suppress(OSError):
                for index in sorted(ready):
                    self._add(ready[index])
            raise

    def _add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        for note in outcome.notes:
            self._complain(f"warning: {_about(outcome.input, note)}")
        if outcome.error is not None:
            self._complain(f"error: {_about(outcome.input, outcome.error)}")
        elif not self._json:
            stream = sys.stderr if self._stdout_is_data else sys.stdout
            first = () if outcome.output is None else (outcome.output,)
            for path in (*first, *outcome.also):
                print(f"wrote {printable(path)}", file=stream, flush=True)

    def _report(self, total: int, *, interrupted: bool) -> ExitCode:
        failed = sum(outcome.error is not None for outcome in self.outcomes)
        done = len(self.outcomes) - failed
        if self._json:
            results = [_as_json(outcome) for outcome in self.outcomes]
            print_json(
                {"inputs": total, "done": done, "failed": failed, "interrupted": interrupted}
                | {"results": results}
            )
        if total == 0:
            self._complain("error: no inputs")
        if interrupted and total > 1:
            self._complain(f"{done} of {total} done")
        if failed and total > 1:
            self._complain(f"{failed} of {total} failed")
        if not done:
            return ExitCode.NOTHING_DONE
        return ExitCode.SOME_FAILED if failed else ExitCode.ALL_DONE

    def _complain(self, line: str) -> None:
        print(f"{self._name}: {line}", file=sys.stderr, flush=True)


def jobs_each(jobs: int, inputs: int) -> int:
    """How many of `jobs` remain for the work inside each input, while several are in work.

    Inputs come first: two of them share four jobs as two each, and one alone has all four.
    """
    return max(1, jobs // max(1, min(jobs, inputs)))


def _attempt(entry: Input, work: Callable[[Input], Done]) -> Outcome:
    done, error = Done(), None
    warned: list[str] = []
    _notes.set(warned)
    start = time.perf_counter()
    try:
        done = work(entry)
    except BrokenPipeError:
        raise
    except (RecurraError, OSError) as failure:
        error = one_line(failure)
    finally:
        _notes.set(None)
    return Outcome(
        input=str(entry),
        output=None if done.output is None else os.fspath(done.output),
        error=error,
        seconds=time.perf_counter() - start,
        details=done.details,
        also=tuple(os.fspath(path) for path in done.also),
        notes=tuple(dict.fromkeys(one_line(note) for note in (*done.notes, *warned))),
    )


@contextlib.contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Collect the warnings of each input; those for programmers go where they always do."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        show = warnings.showwarning

        def note(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            notes = _notes.get()
            if notes is None or not issubclass(category, UserWarning):
                show(message, category, filename, lineno, file, line)
            else:
                notes.append(str(message))

        warnings.showwarning = note
        yield


def _next(queue: SimpleQueue[Input]) -> Input:
    while True:
        with contextlib.suppress(Empty):
            return queue.get(timeout=_MOMENT)


def _about(entry: str, message: str) -> str:
    # Most errors name the file already, as they must when no batch is around them.
    return message if printable(entry) in message else f"{printable(entry)}: {message}"


def _as_json(outcome: Outcome) -> dict[str, object]:
    return {
        "input": outcome.input,
        "output": outcome.output,
        "also": outcome.also,
        "error": outcome.error,
        "notes": outcome.notes,
        "seconds": round(outcome.seconds, 3),
        "details": outcome.details,
    }
