"""Many inputs: each stands or falls alone, and the report says so."""

import json
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from recurra.core.cli import Batch, Done, ExitCode, jobs_each
from recurra.core.errors import RecurraError


def work(name: str) -> Done:
    """Succeed unless the name says otherwise."""
    if "bad" in name:
        raise RecurraError(f"{name}: not audio")
    if "disk" in name:
        raise OSError(28, "No space left on device", "out/" + name)
    if "stop" in name:
        raise KeyboardInterrupt
    if "bug" in name:
        raise ZeroDivisionError
    return Done(Path("out") / name, details={"peak": float("nan"), "rate": np.int64(8000)})


def test_all_done_is_zero_with_a_line_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert Batch("things").run(["a.wav", "b.wav"], work) is ExitCode.ALL_DONE
    assert capsys.readouterr() == ("wrote out/a.wav\nwrote out/b.wav\n", "")


def test_failures_do_not_stop_the_rest_and_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    inputs = ["a.wav", "bad.wav", "disk.wav", "b.wav"]
    assert Batch("things").run(inputs, work) is ExitCode.SOME_FAILED
    out, err = capsys.readouterr()
    assert out == "wrote out/a.wav\nwrote out/b.wav\n"
    assert err.splitlines() == [
        "things: error: bad.wav: not audio",
        "things: error: out/disk.wav: No space left on device",
        "things: 2 of 4 failed",
    ]


def test_error_that_does_not_name_its_input_gets_the_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(name: str) -> Done:
        raise RecurraError("no frames")

    Batch("things").run(["a.wav"], fail)
    assert capsys.readouterr().err == "things: error: a.wav: no frames\n"


def test_nothing_done_is_two_and_one_input_needs_no_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert Batch("things").run(["bad.wav"], work) is ExitCode.NOTHING_DONE
    assert capsys.readouterr() == ("", "things: error: bad.wav: not audio\n")


def test_no_inputs_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert Batch("things").run([], work) is ExitCode.NOTHING_DONE
    assert capsys.readouterr().err == "things: error: no inputs\n"


def test_json_is_the_only_thing_on_stdout_and_lists_failures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = Batch("things", json=True).run([Path("a.wav"), Path("bad.wav")], lambda p: work(p.name))
    assert code is ExitCode.SOME_FAILED
    out, err = capsys.readouterr()
    document = json.loads(out)
    for result in document["results"]:
        assert 0 <= result.pop("seconds") < 5
    assert document == {
        "inputs": 2,
        "done": 1,
        "failed": 1,
        "interrupted": False,
        "results": [
            {
                "input": "a.wav",
                "output": "out/a.wav",
                "also": [],
                "error": None,
                "notes": [],
                "details": {"peak": None, "rate": 8000},
            },
            {
                "input": "bad.wav",
                "output": None,
                "also": [],
                "error": "bad.wav: not audio",
                "notes": [],
                "details": {},
            },
        ],
    }
    assert "1 of 2 failed" in err


@pytest.mark.parametrize(
    ("stop", "raised"), [("stop", KeyboardInterrupt), ("bug", ZeroDivisionError)]
)
def test_what_is_done_is_reported_when_the_batch_ends_early(
    capsys: pytest.CaptureFixture[str], stop: str, raised: type[BaseException]
) -> None:
    with pytest.raises(raised):
        Batch("things", json=True).run(["a", "bad", stop, "b"], work)
    document = json.loads(capsys.readouterr().out)
    assert (document["inputs"], document["done"], document["failed"]) == (4, 1, 1)
    assert document["interrupted"] is (stop == "stop")
    assert [result["input"] for result in document["results"]] == ["a", "bad"]


def test_reader_that_went_away_ends_the_batch(capsys: pytest.CaptureFixture[str]) -> None:
    tried = []

    def closed(name: str) -> Done:
        tried.append(name)
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Batch("things").run(["a", "b"], closed)
    assert tried == ["a"]
    assert capsys.readouterr() == ("", "")


def test_report_goes_to_stderr_where_stdout_carries_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Batch("things", stdout_is_data=True).run(["a.wav"], work)
    assert capsys.readouterr() == ("", "wrote out/a.wav\n")
    with pytest.raises(RecurraError, match="exclude each other"):
        Batch("things", json=True, stdout_is_data=True)


def test_further_files_are_listed_and_no_file_is_no_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    batch = Batch("things")
    batch.run(["a"], lambda name: Done("a.wav", also=["rest.wav"]))
    batch.run(["b"], lambda name: Done())
    assert capsys.readouterr().out == "wrote a.wav\nwrote rest.wav\n"


def test_notes_and_warnings_name_their_input_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    def noted(name: str) -> Done:
        for _ in range(3):
            warnings.warn("cut short\nat 3 s", stacklevel=1)
        return Done(notes=["12 samples clipped"])

    batch = Batch("things")
    assert batch.run(["a.wav"], noted) is ExitCode.ALL_DONE
    assert capsys.readouterr().err.splitlines() == [
        "things: warning: a.wav: 12 samples clipped",
        "things: warning: a.wav: cut short at 3 s",
    ]
    assert batch.outcomes[0].notes == ("12 samples clipped", "cut short at 3 s")


def test_warnings_for_programmers_pass_through() -> None:
    def deprecated(name: str) -> Done:
        warnings.warn("old", FutureWarning, stacklevel=1)
        return Done()

    batch = Batch("things")
    with pytest.warns(FutureWarning, match="old"):
        batch.run(["a"], deprecated)
    assert batch.outcomes[0].notes == ()


def test_file_name_cannot_reach_the_terminal_as_commands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Batch("things").run(["\x1b[2J.wav", "bad\x1b[2J.wav"], work)
    out, err = capsys.readouterr()
    assert out == "wrote out/\\x1b[2J.wav\n"
    assert err.startswith("things: error: bad\\x1b[2J.wav: not audio\n")


def out_of_turn(name: str) -> Done:
    """Take longer for the first than for the others."""
    time.sleep(0.2 if name == "a.wav" else 0.01)
    return work(name)


@pytest.mark.parametrize("json_output", [False, True])
def test_the_report_is_the_same_for_any_number_of_jobs(
    capsys: pytest.CaptureFixture[str], json_output: bool
) -> None:
    inputs = ["a.wav", "bad.wav", "b.wav", "disk.wav", "c.wav"]
    reports = []
    for jobs in (1, 3, 50):
        code = Batch("things", json=json_output).run(inputs, out_of_turn, jobs=jobs)
        out, err = capsys.readouterr()
        lines = [line for line in out.splitlines() if '"seconds"' not in line]
        reports.append((code, lines, err))
    assert reports[0][0] is ExitCode.SOME_FAILED
    assert reports[1:] == [reports[0]] * 2


def test_no_more_than_the_jobs_are_in_work_at_once() -> None:
    guard, now, most = threading.Lock(), 0, 0

    def count(name: str) -> Done:
        nonlocal now, most
        with guard:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with guard:
            now -= 1
        return Done()

    Batch("things").run([f"{number}" for number in range(6)], count, jobs=2)
    assert most == 2


@pytest.mark.parametrize(
    ("stop", "raised"), [("stop", KeyboardInterrupt), ("bug", ZeroDivisionError)]
)
def test_what_is_done_out_of_turn_is_reported_when_the_batch_ends_early(
    capsys: pytest.CaptureFixture[str], stop: str, raised: type[BaseException]
) -> None:
    others_done = threading.Event()

    def hang(name: str) -> Done:
        if name == "hanging":
            while True:
                time.sleep(0.001)
        if name == stop:
            others_done.wait(20)
        if name == "b":
            others_done.set()
        return work(name)

    with pytest.raises(raised):
        Batch("things", json=True).run(["hanging", "bad", stop, "b"], hang, jobs=3)
    document = json.loads(capsys.readouterr().out)
    assert (document["inputs"], document["done"], document["failed"]) == (4, 1, 1)
    assert [result["input"] for result in document["results"]] == ["bad", "b"]


def test_warnings_stay_with_their_input_whatever_is_in_work_beside_it() -> None:
    both = threading.Barrier(2, timeout=20)

    def noted(name: str) -> Done:
        both.wait()
        warnings.warn(f"about {name}", stacklevel=1)
        both.wait()
        return Done()

    batch = Batch("things")
    batch.run(["a", "b"], noted, jobs=2)
    assert [outcome.notes for outcome in batch.outcomes] == [("about a",), ("about b",)]


def test_reader_that_went_away_ends_the_other_jobs_too(capsys: pytest.CaptureFixture[str]) -> None:
    def closed(name: str) -> Done:
        if name == "b":
            raise BrokenPipeError
        while True:
            time.sleep(0.001)

    with pytest.raises(BrokenPipeError):
        Batch("things").run(["a", "b"], closed, jobs=2)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("jobs", "inputs", "each"), [(1, 1, 1), (1, 9, 1), (4, 1, 4), (4, 2, 2), (4, 3, 1), (2, 0, 2)]
)
def test_jobs_that_files_do_not_need_go_inside_them(jobs: int, inputs: int, each: int) -> None:
    assert jobs_each(jobs, inputs) == each
