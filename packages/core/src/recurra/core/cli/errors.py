"""How a command ends: its exit code, and one line for whatever a person can act on."""

import contextlib
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import TextIO

import typer
import typer.main

from recurra.core.errors import RecurraError
from recurra.core.interruption import Interruption


class ExitCode(IntEnum):
    """Exit codes of every command; one that a signal ended has 128 + its number, as in shells."""

    ALL_DONE = 0
    SOME_FAILED = 1
    """Some inputs failed, the others are done. A bug ends with 1 too, and shows its traceback."""
    NOTHING_DONE = 2
    """Usage error, or nothing could be done."""
    HUNG_UP = 129
    """The terminal was closed (SIGHUP); as after Ctrl-C."""
    INTERRUPTED = 130
    """Ctrl-C; what was being written is gone, what was finished stays."""
    TERMINATED = 143
    """Told to stop (SIGTERM), as `kill`, `timeout` and service managers do; as after Ctrl-C."""


def run(app: typer.Typer, name: str, args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code, which an entry point hands to the shell.

    A RecurraError or an OSError is one line on stderr; Ctrl-C, SIGTERM and SIGHUP raise
    KeyboardInterrupt where the command is, and say so when it has cleaned up; a reader that closed
    the pipe, as `head` does, ends the command quietly with 1. Any other exception is a bug and
    passes through with its traceback.

    Args:
        app: from `create_app`.
        name: the command, as it stands before its messages.
        args: what follows the command; None takes the process's own.
    """
    _print_any_character()
    with Interruption() as interruption:
        try:
            with interruption.at_once():
                code = _exit_code_of(app, name, args)
                sys.stdout.flush()
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except BrokenPipeError:
            code = ExitCode.SOME_FAILED
            _abandon(sys.stdout)
        except (RecurraError, OSError) as error:
            print(f"{name}: error: {one_line(error)}", file=sys.stderr)
            code = ExitCode.NOTHING_DONE
            _abandon(sys.stdout)
        if code == ExitCode.INTERRUPTED:
            code = 128 + (interruption.signal or signal.SIGINT)
            _say_interrupted(name)
    return int(code)


def one_line(message: BaseException | str) -> str:
    """`message` on one line, safe to print on a terminal.

    An OSError is told by its file and reason, without its number. Control characters, which file
    names may hold, are escaped.
    """
    if isinstance(message, OSError) and not isinstance(message, RecurraError) and message.strerror:
        path = message.filename
        where = f"{os.fsdecode(path)}: " if isinstance(path, str | bytes) else ""
        text = where + message.strerror
    else:
        text = str(message).strip() or type(message).__name__
    return printable(re.sub(r"\s*[\r\n]+\s*", " ", text))


def printable(text: str) -> str:
    """`text` with control characters and undecodable bytes written as escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def _exit_code_of(app: typer.Typer, name: str, args: Sequence[str] | None) -> int:
    # Not app(...), which would replace sys.excepthook for the whole process.
    command = typer.main.get_command(app)
    try:
        command.main(args=None if args is None else list(args), prog_name=name)
    except SystemExit as leaving:
        # typer takes an EOFError for a closed prompt; here it is a cut file that nobody caught.
        abort = leaving.__context__
        if isinstance(abort, typer.Abort) and isinstance(abort.__cause__, EOFError):
            raise abort.__cause__ from None
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return ExitCode.ALL_DONE


def _print_any_character() -> None:
    # A file name that the terminal cannot show must not end a batch with a UnicodeEncodeError.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _say_interrupted(name: str) -> None:
    # A terminal that was closed, which sends SIGHUP, is not there any more to be told.
    with contextlib.suppress(OSError):
        print(f"{name}: interrupted", file=sys.stderr)
    _abandon(sys.stderr)
    _abandon(sys.stdout)


def _abandon(stream: TextIO) -> None:
    # Python flushes it once more at exit, and would complain about the same pipe or disk again.
    # Under a test's stand-in for stdout there is no descriptor to turn away.
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
        return
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
