"""Long work in sittings: finished once, stopped in time, resumed, and never beyond its budget."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "long_runs.py"

# Adds a line to a file each time; ends after two, or never before it is told to.
COMMANDS = {
    "quick": "open('quick', 'a').write('x\\n')",
    "wrong": "import sys; open('wrong', 'a').write('x\\n'); sys.exit(7)",
    "patient": """
import pathlib, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
begun = pathlib.Path('patient')
begun.write_text(begun.read_text() + 'x' if begun.exists() else 'x')
while len(begun.read_text()) < 2: time.sleep(0.01)
""",
    "deaf": """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('deaf').write_text('term'), sys.exit(9)))
pathlib.Path('begun').symlink_to(str(os.getpid()))
time.sleep(60)
""",
    "busy": "while True: pass",
}


@pytest.fixture
def sitting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def start(*names, what="run", hours=1.0, options=()):
        lines = []
        for name in names:
            Path(f"{name}.py").write_text(COMMANDS[name])
            lines += [f"[{name}]", f"command = '{sys.executable} -S {name}.py'"]
            lines += [f"cpu_hours = {hours}"]
        Path("list.toml").write_text("\n".join(lines))
        command = [sys.executable, "-S", SCRIPT, what, "list.toml", "--folder", "state", *options]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(*names, **settings):
        process = start(*names, **settings)
        printed, _ = process.communicate(timeout=60)
        return process.returncode, printed

    run.start = start
    return run


def state(name):
    return json.loads(Path("state/state.json").read_text())[name]


def wait_for(path):
    deadline = time.monotonic() + 30
    while not Path(path).is_symlink() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_finished_run_is_not_run_again(sitting):
    assert sitting("quick")[0] == 0
    code, printed = sitting("quick")
    assert (code, Path("quick").read_text()) == (0, "x\n")
    assert printed.split()[-6:-2] == ["quick", "finished", "finished", "1"]
    assert state("quick")["sittings"] == 1
    sitting("quick", options=["--again", "quick"])
    assert Path("quick").read_text() == "x\nx\n"


def test_a_sitting_that_is_over_stops_its_run_and_the_next_goes_on(sitting):
    code, printed = sitting("patient", "quick", options=["--for", "0.02"])
    assert code == 3
    assert "patient: stopped" in printed
    assert not Path("quick").exists()
    spent = state("patient")["cpu_seconds"]
    assert spent > 0

    assert sitting("patient", "quick")[0] == 0
    assert Path("patient").read_text() == "xx"
    assert state("patient")["sittings"] == 2
    assert state("patient")["cpu_seconds"] > spent
    assert Path("state/patient.log").read_text().count("== sitting") == 2


def test_a_run_stops_when_its_budget_is_spent_and_goes_on_when_it_is_raised(sitting):
    hours = 0.5 / 3600
    code, printed = sitting("busy", hours=hours, options=["--grace", "1"])
    assert code == 1
    assert "budget spent" in printed
    assert 0.5 <= state("busy")["cpu_seconds"] < 3
    assert sitting("busy", hours=hours)[0] == 1
    assert state("busy")["sittings"] == 1
    assert "to do" in sitting("busy", hours=1, what="status")[1]


def test_a_failing_run_lets_the_others_work_and_is_given_up_after_three_sittings(sitting):
    for _ in range(3):
        code, printed = sitting("wrong", "quick")
        assert "failed with 7" in printed
    assert code == 1
    assert "given up" in printed
    sitting("wrong", "quick")
    assert Path("wrong").read_text() == 3 * "x\n"
    assert Path("quick").read_text() == "x\n"


def test_ctrl_c_stops_in_order_and_what_ignores_it_gets_sigterm(sitting):
    process = sitting.start("deaf", options=["--grace", "0.3"])
    wait_for("begun")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0]
    assert process.returncode == 3
    assert Path("deaf").read_text() == "term"
    assert state("deaf")["end"] == "stopped"


def test_two_sittings_never_work_at_once_even_if_the_first_was_killed(sitting):
    process = sitting.start("deaf")
    wait_for("begun")
    code, printed = sitting("deaf")
    assert (code, printed) == (2, "state: another sitting is at work\n")
    process.kill()
    process.communicate()
    try:
        assert sitting("deaf")[1] == "state: another sitting is at work\n"
        assert state("deaf")["end"] == "cut off"
    finally:
        os.kill(int(os.readlink("begun")), signal.SIGKILL)


def test_a_wrong_list_is_one_line(sitting):
    Path("bad.toml").write_text("[x]\ncommand = 'true'\nhours = 3\n")
    command = [sys.executable, SCRIPT, "status", "bad.toml", "--folder", "state"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "bad.toml: [x] must have `command` and `cpu_hours`\n"
