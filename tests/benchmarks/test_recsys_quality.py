"""Quality of recommenders in sittings: logs as they come, seeds averaged, resumed where stopped."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def quality(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import recsys_quality

    return recsys_quality


@pytest.mark.parametrize(
    "files",
    [
        {"log.txt": "7 1 2 3\n8 2 9\n"},
        {"log.txt": "7 1\n7 2\n8 2\n7 3\n8 9\n"},
        {"log.txt": "user\titem\n7\t1\n7\t2\n8\t2\n7\t3\n8\t9\n"},
        {"train_input.txt": "1 2\n2 9\n", "val_input.txt": "1 2 3\n"},
    ],
)
def test_each_form_of_a_log_is_read(files, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from recsys_logs import read_benchmark_log

    for name, text in files.items():
        (tmp_path / name).write_text(text)
    log = read_benchmark_log(tmp_path / "log.txt" if "log.txt" in files else tmp_path)
    numbers = log.items.cast(pl.Int64).to_numpy()
    assert [list(numbers[log.history(user) - 1]) for user in (0, 1)] == [[1, 2, 3], [2, 9]]


def test_a_folder_answers_one_question(quality, tmp_path):
    quality.Study(tmp_path, {"budget": 1})
    quality.Study(tmp_path, {"budget": 1})
    with pytest.raises(quality.RecurraError, match="take another --folder"):
        quality.Study(tmp_path, {"budget": 2})


def test_seconds_of_sittings_add_up_and_epochs_stay(quality, tmp_path):
    for seconds in (1.5, 2.0):
        study = quality.Study(tmp_path, {})
        study.spent("bert4rec", 0, seconds)
    assert study.spent("bert4rec", 0) == 3.5
    assert [study.epochs("bert4rec", lambda n=n: n) for n in (7, 9)] == [7, 7]


def test_a_refit_learns_from_the_event_that_chose_the_weights_and_not_from_the_test(quality):
    from recurra.recsys.data import Interactions, leave_one_out

    log = Interactions(
        users=pl.Series(["a", "b"]),
        items=pl.Series([str(n) for n in range(1, 10)]),
        offsets=np.array([0, 4, 6]),
        sequence=np.array([1, 2, 3, 4, 5, 6], np.int32),
    )
    whole = quality.refit_split(log, leave_one_out(log))
    assert whole.train.sequence.tolist() == [1, 2, 3, 5, 6]  # b has too few to judge by
    assert whole.test.targets.tolist() == [4]


@pytest.mark.slow
def test_a_comparison_that_was_stopped_goes_on_there(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{user} {' '.join(map(str, rng.integers(1, 30, 9)))}" for user in range(60)]
    (tmp_path / "log.txt").write_text("\n".join(lines))
    script = [sys.executable, BENCHMARKS / "recsys_quality.py", "log.txt", "network.d_model=8"]
    command = [*script, "validations=4", "--folder", "study", "--seeds", "2", "--budget", "0.02"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path}

    first = subprocess.Popen(command, **pipes)
    while not list(tmp_path.glob("study/bert4rec-1.run/checkpoints/*.pt")):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    table, _ = first.communicate(timeout=300)
    assert first.returncode == 130
    assert "bert4rec" in table

    second = subprocess.run(command, **pipes, timeout=300)
    assert second.returncode == 0
    assert "resumed at step" in second.stderr
    assert "seed 0" not in second.stderr  # it was done
    (row,) = (line for line in second.stdout.splitlines() if "bert4rec" in line)
    assert len(re.findall(r"\d of \d", row)) == 2
    third = subprocess.run(command, **pipes, timeout=300)
    assert third.stdout == second.stdout

    refit = subprocess.run([*command, "--refit"], **pipes, timeout=300)
    assert "refit" in refit.stdout
    (row,) = (line for line in refit.stdout.splitlines() if "bert4rec" in line)
    assert len(re.findall(r"[+-]0\.\d{4} \(", row)) == 2
