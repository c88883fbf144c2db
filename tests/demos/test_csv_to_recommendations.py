"""The demo on a small log of its own, and as a person runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

import csv_to_recommendations as demo


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["csv_to_recommendations.py", *map(str, words)])
    demo.main()


def test_a_log_of_ones_own_is_learnt_listed_and_drawn(monkeypatch, tmp_path, capsys):
    rounds = [(f"u{u}", "abcdef"[(u + t) % 6], t) for u in range(60) for t in range(4 + u % 5)]
    log, picture = tmp_path / "log.csv", tmp_path / "picture.png"
    pl.DataFrame(rounds, schema=["user", "item", "time"], orient="row").write_csv(log)
    run(monkeypatch, log, "--epochs", 60, "--picture", picture)
    printed = capsys.readouterr().out
    assert re.search(r"markov +[01]\.\d+", printed)
    # u0: what it took, what it took then, and what it may, which are the three that are left.
    assert re.search(r"^ *a, b, c +d +d, [ef], [ef] +d, [ef], [ef] *$", printed, re.M)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_log_that_is_missing_is_one_line(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path / "no.csv")
    assert "no such file" in capsys.readouterr().err.splitlines()[-1]


def test_the_demo_stays_short():
    assert len(Path(demo.__file__).read_text().splitlines()) <= 80


@pytest.mark.slow
def test_the_example_is_learnt_better_than_any_rule_in_two_minutes(tmp_path):
    picture = tmp_path / "picture.png"
    command = [sys.executable, demo.__file__, "--picture", str(picture)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    found = {name: float(value) for name, value in re.findall(r"(\S+) +(0\.\d{3}) ", printed)}
    assert len(found) == 6
    assert found.pop("bert4rec") > max(found.values()) + 0.1
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert usage.ru_utime + usage.ru_stime < 180  # some 50 where it was written
