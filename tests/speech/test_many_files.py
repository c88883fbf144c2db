"""`recurra-speech enhance` on several files at once, and told to stop in the middle."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from recurra.core.cli import run
from recurra.speech.cli import app

MAIN = [sys.executable, "-c", "from recurra.speech.cli import main; raise SystemExit(main())"]


def recording(path, seconds, seed=0):
    """Write white noise at 16 kHz."""
    path.parent.mkdir(exist_ok=True)
    second = 0.1 * np.random.default_rng(seed).standard_normal(16000)
    soundfile.write(path, np.tile(second, seconds), 16000)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("abc"):
        recording(tmp_path / "in" / f"{name}.wav", 12 - 5 * seed, seed)
    (tmp_path / "in" / "broken.wav").write_text("not audio at all")
    return tmp_path


def test_results_report_and_progress_are_the_same_for_any_number_of_jobs(
    folder, model, capsys, monkeypatch
):
    bars = []
    real = sys.modules["recurra.core.cli.progress"].Progress

    class Kept(real):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            bars.append(self)

    monkeypatch.setattr(sys.modules["recurra.core.cli.progress"], "Progress", Kept)
    reports = []
    for jobs in (1, 2):
        arguments = ["enhance", "in", "-o", f"out{jobs}", "--model", model, "--window", "5"]
        assert run(app, "recurra-speech", [*arguments, "--jobs", str(jobs), "--json"]) == 1
        captured = capsys.readouterr()
        report = json.loads(captured.out.replace(f"out{jobs}/", "out/"))
        for result in report["results"]:
            del result["seconds"]
        reports.append((report, captured.err))
    assert reports[0] == reports[1]
    failed = {r["input"]: r["error"] is not None for r in reports[0][0]["results"]}
    assert failed == {f"in/{n}.wav": n == "broken" for n in ("a", "b", "broken", "c")}
    for name in "abc":
        first, second = ((folder / f"out{jobs}" / f"{name}.wav").read_bytes() for jobs in (1, 2))
        assert first == second
    assert [bar.completed for bar in bars] == [pytest.approx(12 + 7 + 2)] * 2


@pytest.mark.parametrize(
    ("number", "code", "names", "jobs"),
    [
        (signal.SIGTERM, 143, ["a"], 1),
        (signal.SIGINT, 130, ["a"], 2),
        (signal.SIGTERM, 143, ["a", "b"], 2),
    ],
)
def test_a_stopped_cleaning_ends_soon_and_leaves_only_the_input(
    tmp_path, model, number, code, names, jobs
):
    for name in names:
        recording(tmp_path / f"{name}.wav", 1200)
    process = subprocess.Popen(
        [*MAIN, "enhance", str(tmp_path), "--model", model, "--jobs", str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob(".*.part"))) < len(names) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)  # into the first windows
    process.send_signal(number)
    start = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert out == ""
    assert err.splitlines()[-1] == "recurra-speech: interrupted"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.wav" for name in names]
    assert time.monotonic() - start < 20
