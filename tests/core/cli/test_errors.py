"""How commands end, in this process and as a shell sees them."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Annotated

import pytest
import typer

from recurra.core.cli import ExitCode, create_app, one_line, run
from recurra.core.errors import CheckpointError, RecurraError


@pytest.fixture
def app() -> typer.Typer:
    made = create_app("Do things to sound.", package="recurra-core")

    @made.command()
    def fail(kind: Annotated[str, typer.Argument()]) -> None:
        """Fail in one way.

        \b
        Examples:
          things fail person
          things fail bug
        """
        raise {
            "person": RecurraError("x.wav: two\n  lines"),
            "checkpoint": CheckpointError("does not fit"),
            "disk": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out.wav"),
            "pipe": BrokenPipeError(errno.EPIPE, "Broken pipe"),
            "bug": ZeroDivisionError("a bug"),
            "cut": EOFError("ran out of input"),
            "interrupt": KeyboardInterrupt(),
            "some": typer.Exit(ExitCode.SOME_FAILED),
        }[kind]

    @made.command()
    def work() -> None:
        """Do nothing."""
        typer.echo("done")

    return made


@pytest.mark.parametrize(
    ("kind", "code", "stderr"),
    [
        ("person", 2, "things: error: x.wav: two lines\n"),
        ("checkpoint", 2, "things: error: does not fit\n"),
        ("disk", 2, "things: error: out.wav: No space left on device\n"),
        ("pipe", 1, ""),
        ("interrupt", 130, "things: interrupted\n"),
        ("some", 1, ""),
    ],
)
def test_ends_with_its_code_and_at_most_one_line(
    app: typer.Typer, capsys: pytest.CaptureFixture[str], kind: str, code: int, stderr: str
) -> None:
    assert run(app, "things", ["fail", kind]) == code
    assert capsys.readouterr() == ("", stderr)


@pytest.mark.parametrize(("kind", "bug"), [("bug", ZeroDivisionError), ("cut", EOFError)])
def test_bug_keeps_its_traceback(app: typer.Typer, kind: str, bug: type[Exception]) -> None:
    with pytest.raises(bug):
        run(app, "things", ["fail", kind])


def test_success_is_zero(app: typer.Typer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(app, "things", ["work"]) == 0
    assert capsys.readouterr() == ("done\n", "")


@pytest.mark.parametrize("args", [["wok"], ["work", "--no-such"], ["fail"], []])
def test_usage_error_is_two_and_leaves_stdout_alone(
    app: typer.Typer, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    assert run(app, "things", args) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("args", [["-h"], ["--help"]])
def test_help_is_plain_and_lists_the_commands(
    app: typer.Typer, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    assert run(app, "things", args) == 0
    out = capsys.readouterr().out
    assert out.startswith("Usage: things ")
    assert "Do things to sound." in out
    assert "work" in out
    assert "─" not in out


def test_examples_in_a_docstring_keep_their_lines(
    app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, "things", ["fail", "-h"]) == 0
    assert "    things fail person\n    things fail bug\n" in capsys.readouterr().out


def test_version_is_that_of_the_distribution(
    app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(app, "things", ["--version"]) == 0
    assert capsys.readouterr().out == "recurra-core 0.1.0\n"


def test_one_line_shows_control_characters_instead_of_sending_them() -> None:
    assert one_line(RecurraError("\x1b[2Jx\ty\udcff.wav")) == "\\x1b[2Jx\\ty\\udcff.wav"
    assert one_line(RecurraError()) == "RecurraError"
    assert one_line(FileNotFoundError(errno.ENOENT, "No such file", b"a\n.wav")) == (
        "a .wav: No such file"
    )


SCRIPT = '''
import pathlib, signal, sys, time
import typer
from recurra.core.cli import Batch, Done, create_app, run
from recurra.core.interruption import Interruption

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
app = create_app("A test.", package="recurra-core")

@app.command()
def lines() -> None:
    """Print until nobody reads."""
    for number in range(100_000):
        print(number)

@app.command()
def name() -> None:
    """Print a name that is not text."""
    print("wrote caf\\udce9.wav")

@app.command()
def slow(folder: pathlib.Path, jobs: int = 1) -> None:
    """Finish one input, then hang in the others with half-written files."""
    def work(name: str) -> Done:
        if name != "a":
            partial = folder / f"{name}.partial"
            try:
                partial.write_text("half")
                while True:
                    time.sleep(0.01)
            finally:
                partial.unlink()
        (folder / name).write_text("whole")
        return Done(folder / name)
    raise typer.Exit(Batch("things", json=True).run(["a", "b", "c", "d"], work, jobs=jobs))

@app.command()
def steps() -> None:
    """Stop at a good moment only, as training does."""
    with Interruption() as interruption:
        print("begun", flush=True)
        while not interruption.wanted:
            time.sleep(0.01)
    print("saved")
    raise typer.Exit(130)

sys.exit(run(app, "things"))
'''


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    (tmp_path / "things.py").write_text(SCRIPT)
    return [sys.executable, str(tmp_path / "things.py")]


def stop_in_the_middle(
    script: list[str], folder: Path, number: signal.Signals, *, jobs: int, stderr: int | IO[str]
) -> tuple[int, str, str]:
    """Stop `slow` when it has begun all that it can; its exit code and what it prints."""
    folder.mkdir()
    process = subprocess.Popen(
        [*script, "slow", str(folder), "--jobs", str(jobs)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    deadline = time.monotonic() + 30
    names = {"a", "b.partial", *(["c.partial"] if jobs == 2 else [])}
    while {path.name for path in folder.iterdir()} != names and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_stopped_command_reports_what_is_done_and_leaves_nothing_half_written(
    script: list[str], tmp_path: Path, number: signal.Signals, code: int, jobs: int
) -> None:
    folder = tmp_path / "out"
    ended, out, err = stop_in_the_middle(script, folder, number, jobs=jobs, stderr=subprocess.PIPE)
    assert ended == code
    assert [path.name for path in folder.iterdir()] == ["a"]
    document = json.loads(out)
    assert document["interrupted"] is True
    assert [result["input"] for result in document["results"]] == ["a"]
    assert err == "things: 1 of 4 done\nthings: interrupted\n"


def test_a_terminal_that_has_gone_does_not_change_how_a_command_ends(
    script: list[str], tmp_path: Path
) -> None:
    if not Path("/dev/full").exists():
        return
    with open("/dev/full", "w") as gone:
        folder = tmp_path / "out"
        ended, _, _ = stop_in_the_middle(script, folder, signal.SIGHUP, jobs=1, stderr=gone)
    assert ended == 129
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_a_command_that_stops_at_a_good_moment_ends_with_the_code_of_its_signal(
    script: list[str],
) -> None:
    process = subprocess.Popen([*script, "steps"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.terminate()
    assert process.communicate(timeout=30)[0] == "saved\n"
    assert process.returncode == 143


def test_reader_that_stops_early_is_no_error(script: list[str]) -> None:
    process = subprocess.Popen([*script, "lines"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 1


@pytest.mark.parametrize("command", ["lines", "name"])
def test_full_disk_behind_stdout_is_one_line(script: list[str], command: str) -> None:
    if not Path("/dev/full").exists():
        return
    with open("/dev/full", "w") as full:
        done = subprocess.run([*script, command], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "things: error: No space left on device\n")


def test_file_name_that_is_not_text_can_be_printed(script: list[str]) -> None:
    done = subprocess.run([*script, "name"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "wrote caf\\udce9.wav\n")


def test_importing_the_kit_imports_nothing_heavy() -> None:
    heavy = "torch numpy rich pydantic yaml safetensors"
    probe = (
        "import sys, time, recurra.core.cli; "
        f"print([name for name in '{heavy}'.split() if name in sys.modules], time.process_time())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    loaded, seconds = runs[0].stdout.split("]")
    assert loaded == "["
    # 0.14 s on the machine this was written on; twice that would be a new import.
    assert min(float(done.stdout.split("]")[1]) for done in runs) < 0.3, seconds
