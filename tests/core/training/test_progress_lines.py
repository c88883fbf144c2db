"""What a log file of a run shows."""

import re
import time

import pytest

from recurra.core.training import progress_lines
from recurra.core.training.progress_lines import ProgressLines


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when it is told to."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_five_seconds_with_step_mean_loss_and_speed(clock, capsys):
    progress = ProgressLines(10, 100, shown=True)
    for step in range(11, 31):
        clock[0] += 0.5
        progress.step(step, float(step))
    lines = capsys.readouterr().err.splitlines()
    # 2 steps a second: lines at steps 20 and 30, with means of 11..20 and 21..30.
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == [
        "step 20/100 loss 15.5 2 steps/s, 0.0 h left",
        "step 30/100 loss 25.5 2 steps/s, 0.0 h left",
    ]


def test_what_is_left_is_never_more_than_the_time_of_the_run(clock, capsys):
    progress = ProgressLines(0, 1_000_000, shown=True)
    clock[0] += 10
    progress.step(10, 1.0, seconds_left=1800)
    assert capsys.readouterr().err.endswith("step 10/1000000 loss 1 1 steps/s, 0.5 h left\n")


def test_nothing_is_said_when_it_is_not_to_be_shown(clock, capsys):
    progress = ProgressLines(0, 10, shown=False)
    clock[0] += 60
    progress.step(1, 1.0)
    progress.note("resumed")
    progress.close()
    assert capsys.readouterr() == ("", "")


def test_a_validation_does_not_count_into_the_speed(clock):
    progress = ProgressLines(0, 10, shown=False)
    clock[0] += 1
    progress.step(1, 1.0)
    clock[0] += 1000
    progress.restart_clock(1)
    clock[0] += 0.25
    progress.step(2, 1.0)
    assert progress.steps_per_second == pytest.approx(4.0)


def test_a_terminal_gets_a_bar(clock, monkeypatch, capsys):
    monkeypatch.setattr(progress_lines.sys.stderr, "isatty", lambda: True, raising=False)
    progress = ProgressLines(0, 10, shown=True)
    progress.step(4, 1.0)
    progress.note("step 4 validate [mse] 0.5")
    progress.close()
    text = capsys.readouterr().err
    assert "step 4/10" in text
    assert "[mse] 0.5" in text
