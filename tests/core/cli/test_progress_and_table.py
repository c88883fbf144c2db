"""What people see: a bar only where and when it helps, tables that survive a pipe, valid JSON."""

import io
import json
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from recurra.core.cli import print_json, print_table, progress


class Terminal(io.StringIO):
    """A stand-in for a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.modules["recurra.core.cli.progress"], "_DELAY", 0.05)
    return Terminal()


def wait_for(terminal: Terminal, text: str) -> None:
    deadline = time.monotonic() + 20
    while text not in terminal.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_long_work_shows_a_bar_even_before_its_first_step(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    with redirect_stderr(terminal), progress("a [bold].wav", total=60, unit="s") as bar:
        wait_for(terminal, "0/60 s")
        bar.advance(45)
        wait_for(terminal, "45/60 s")
        print("a result")
    assert "a [bold].wav" in terminal.getvalue()
    assert "45/60 s" in terminal.getvalue()
    assert capsys.readouterr().out == "a result\n"


def test_quick_work_shows_nothing(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["recurra.core.cli.progress"], "_DELAY", 30.0)
    with redirect_stderr(terminal), progress("a.wav", total=2) as bar:
        bar.advance()
    assert terminal.getvalue() == ""


def test_nothing_is_shown_without_a_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "isatty", lambda: False)
    with redirect_stderr(terminal), progress("a.wav") as bar:
        time.sleep(0.2)
        bar.advance(3)
    assert bar.completed == 3
    assert terminal.getvalue() == ""


def test_bar_inside_a_bar_is_silent_and_the_next_is_shown(terminal: Terminal) -> None:
    with redirect_stderr(terminal), progress("outer"), progress("inner"):
        wait_for(terminal, "outer")
        time.sleep(0.1)
    assert "inner" not in terminal.getvalue()
    with redirect_stderr(terminal), progress("third"):
        wait_for(terminal, "third")
    assert "third" in terminal.getvalue()


def test_failure_inside_takes_the_bar_down(terminal: Terminal) -> None:
    def interrupted() -> None:
        with redirect_stderr(terminal), progress("a.wav"):
            wait_for(terminal, "a.wav")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert terminal.getvalue().count("\x1b[?25h") == 1  # the cursor is shown again


def test_threads_may_advance_at_once() -> None:
    with progress("a.wav", total=4000) as bar:
        threads = [Thread(target=lambda: [bar.advance() for _ in range(1000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert bar.completed == 4000


def test_table_in_a_pipe_keeps_each_row_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    name = "long[name]" * 30
    print_table([(name, 1.234, 5), ("b", None, 12)], ["file", "SI-SDR", "n"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == ["file", "SI-SDR", "n"]
    assert lines[-2:] == [[name, "1.23", "5"], ["b", "12"]]


def test_numbers_stand_to_the_right_under_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([("a", 1.0), ("b", 100.5)], ["file", "dB"], title="Scores of a[b].wav, in full")
    out = capsys.readouterr().out.splitlines()
    assert out[0].strip() == "Scores of a[b].wav, in full"
    rows = [line.rstrip() for line in out[-3:] if line.strip()]
    assert [row.split() for row in rows] == [["a", "1.00"], ["b", "100.50"]]
    assert len(rows[0]) == len(rows[1])


def test_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        print_table([("a",)], ["file", "dB"])


def test_json_has_numbers_from_everywhere_and_null_for_what_json_lacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json(
        {
            "path": Path("a/b"),
            "numpy": np.float32(0.5),
            "array": np.array([1.0, np.inf]),
            "tensor": torch.tensor([[1, 2]]),
            "nan": float("nan"),
            "flag": True,
            "nothing": None,
            3: ("x", 2**70),
        }
    )
    assert json.loads(capsys.readouterr().out) == {
        "path": "a/b",
        "numpy": 0.5,
        "array": [1.0, None],
        "tensor": [[1, 2]],
        "nan": None,
        "flag": True,
        "nothing": None,
        "3": ["x", 2**70],
    }


def test_json_refuses_what_it_cannot_hold() -> None:
    with pytest.raises(TypeError, match="object has no form in JSON"):
        print_json({"x": object()})
