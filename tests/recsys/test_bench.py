"""`recurra-recsys bench`: figures of a model and of a log."""

import json

import polars as pl
import pytest

from recurra.core.cli import run
from recurra.recsys import Recommender
from recurra.recsys.bench import bench
from recurra.recsys.cli import PACKAGE, app


@pytest.fixture
def folder(model, log, tmp_path):
    Recommender(model, log).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def log_file(tmp_path):
    rows = [(user, "abcdef"[(user + step) % 6]) for user in range(40) for step in range(5)]
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(tmp_path / "log.csv")
    return tmp_path / "log.csv"


def test_a_model_is_measured_and_stays_as_it_is(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    speed = bench(str(folder), seconds=0.1)
    assert (speed.model, speed.items, speed.users, speed.events) == ("bert4rec", 5, 3, 9)
    assert speed.training_users_per_cpu_second > 0
    # A batch of three short histories costs no more than eight lone ones, each a whole block.
    assert speed.top10_users_per_cpu_second * speed.one_user_cpu_ms / 1000 > 0.5
    assert 0 < speed.base_mib <= speed.peak_mib
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_log_is_measured_with_a_new_network_as_a_table_or_json(log_file, capsys):
    command = ["bench", str(log_file), "--model", "sasrec", "--seconds", "0.1"]
    assert run(app, PACKAGE, [*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["model"], found["items"], found["users"], found["threads"]) == (
        "sasrec",
        6,
        40,
        1,
    )
    assert run(app, PACKAGE, command) == 0
    assert "training, users per CPU second" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone"], "gone"),
        (["MODEL", "--model", "sasrec"], "is no log: --model and columns are for a log"),
        (["LOG", "--model", "sasrek"], "no model 'sasrek'"),
        (["MODEL", "--seconds", "0"], "0.1"),
    ],
)
def test_a_wrong_call_is_one_line(words, message, folder, log_file, capsys):
    words = [{"MODEL": str(folder), "LOG": str(log_file)}.get(word, word) for word in words]
    assert run(app, PACKAGE, ["bench", *words]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
