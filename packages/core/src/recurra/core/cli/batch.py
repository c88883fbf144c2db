"""One command, many inputs: each is done or fails on its own, and all are told in the end."""

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from recurra.core.cli.errors import ExitCode, one_line, printable
from recurra.core.cli.json_output import print_json
from recurra.core.errors import RecurraError

Input = TypeVar("Input")


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

    def run(self, inputs: Iterable[Input], work: Callable[[Input], Done]) -> ExitCode:
        """Do the work on each input in turn; what has been done is reported whatever happens.

        Args:
            inputs: files, or anything whose text names it.
            work: takes one input; cleans up after itself when it fails or is interrupted.

        Returns:
            ALL_DONE, SOME_FAILED, or NOTHING_DONE when none succeeded or there was no input.
        """
        inputs = list(inputs)
        try:
            for entry in inputs:
                outcome = self._attempt(entry, work)
                self.outcomes.append(outcome)
                self._tell(outcome)
        except BrokenPipeError:
            # Nobody reads any more: there is no one to report to.
            raise
        except BaseException as stopped:
            self._report(len(inputs), interrupted=isinstance(stopped, KeyboardInterrupt))
            raise
        return self._report(len(inputs), interrupted=False)

    def _attempt(self, entry: Input, work: Callable[[Input], Done]) -> Outcome:
        done, error = Done(), None
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                done = work(entry)
            except BrokenPipeError:
                raise
            except (RecurraError, OSError) as failure:
                error = one_line(failure)
        seconds = time.perf_counter() - start
        notes = [one_line(note) for note in done.notes]
        for warning in caught:
            if issubclass(warning.category, UserWarning):
                notes.append(one_line(str(warning.message)))
            else:
                warnings.showwarning(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
        return Outcome(
            input=str(entry),
            output=None if done.output is None else os.fspath(done.output),
            error=error,
            seconds=seconds,
            details=done.details,
            also=tuple(os.fspath(path) for path in done.also),
            notes=tuple(dict.fromkeys(notes)),
        )

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
