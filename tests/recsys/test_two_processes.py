"""Commands under torchrun: two processes learn, one prints and writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.recsys import two_processes

from recurra.core.cli import run
from recurra.recsys import Recommender
from recurra.recsys.cli import PACKAGE, app

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
COMMAND = ("--no-python", "--", str(Path(sys.executable).with_name("recurra-recsys")))
SMALL = ("batch_size=4", "network.d_model=8")
pytestmark = pytest.mark.slow


def started(*words):
    """What two processes wrote that torchrun started and that ended well."""
    done = subprocess.run(
        [*TORCHRUN, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    rows = [f"u{user},{'abcdef'[(user + step) % 6]}" for user in range(40) for step in range(5)]
    path.write_text("user,item\n" + "\n".join(rows) + "\n")
    return path


def test_train_prints_one_table_and_writes_one_model(log, tmp_path):
    words = ["train", log, "-o", tmp_path / "model", "--epochs", "2", *SMALL]
    done = started(*COMMAND, *words)
    assert done.stdout.count("Test: the last event of each user") == 1
    assert done.stdout.count("bert4rec") == 1
    assert done.stdout.count("wrote ") == 1
    assert done.stderr.count("200 events of 40 users and 6 items") == 1
    assert done.stderr.count("markov: NDCG@10") == 1
    assert len(Recommender.from_pretrained(tmp_path / "model").for_users(k=1).table) == 40


def test_compare_prints_one_table_and_writes_its_files_once(log, tmp_path):
    files = ["--users", tmp_path / "users.parquet", "--run", tmp_path / "run"]
    words = ["compare", log, "--models", "markov,sasrec", "--epochs", "1", *files]
    done = started(*COMMAND, *words, "--json")
    assert set(json.loads(done.stdout)["test"]) == {"markov", "sasrec"}
    assert done.stderr.count("200 events of 40 users and 6 items") == 1
    assert done.stderr.count("sasrec:") == 1
    assert (tmp_path / "users.parquet").is_file()


def test_tune_tries_the_same_in_both_and_prints_and_writes_once(log, tmp_path):
    words = ["tune", log, "-o", tmp_path / "model", "--tries", "4", "--epochs", "3", *SMALL]
    done = started(*COMMAND, *words, "validations=1", "--json")
    tuning = json.loads(done.stdout)["tuning"]
    rounds = [[row["epochs"] for row in tuning["tries"]].count(epochs) for epochs in (1, 3)]
    assert rounds == [4, 1]
    assert {row["end"] for row in tuning["tries"]} == {"steps"}
    first = [row for row in tuning["tries"] if row["epochs"] == 1]
    longer = next(row for row in tuning["tries"] if row["epochs"] == 3)
    best = max(row["ndcg"] for row in first)
    assert longer["words"] in [row["words"] for row in first if row["ndcg"] == best]
    assert done.stderr.count("try 1, 1 epochs") == 1
    assert done.stderr.count("200 events of 40 users and 6 items") == 1
    # Nothing is left to be tried: both know of it by the folder.
    again = started(*COMMAND, *words, "validations=1", "--json")
    assert json.loads(again.stdout)["tuning"] == tuning
    assert "try 1" not in again.stderr


@pytest.mark.parametrize("epochs", [0, 2])
def test_extend_prints_one_line_and_replaces_the_model_once(log, tmp_path, epochs, capsys):
    model = tmp_path / "model"
    assert run(app, PACKAGE, ["train", str(log), "-o", str(model), "--epochs", "1", *SMALL]) == 0
    (tmp_path / "new.csv").write_text("user,item\nu1,a\nu2,g\nnew,b\n")
    words = ["extend", model, tmp_path / "new.csv", "-o", model, "--epochs", epochs]
    done = started(*COMMAND, *words)
    assert done.stdout.count("the first new event of known users") == 1
    assert done.stdout.count("3 new events, 1 new users and 1 new items") == 1
    assert Recommender.from_pretrained(model).log.n_users == 41
    assert not (tmp_path / "model.extend").exists()


def test_two_processes_with_half_the_batches_each_learn_what_one_does_with_all(tmp_path):
    started(two_processes.__file__, tmp_path)
    for kind in ("sparse", "dense"):
        alone = two_processes.learn(tmp_path / "alone" / kind, kind=kind, accumulate=2)
        shared = torch.load(tmp_path / f"{kind}.pt", weights_only=True)
        for name, value in alone.items():
            if name.endswith("query_key_value.bias"):
                # A bias of keys shifts all scores of a query alike: its gradient is rounding, of
                # which Adam makes steps of full length.
                for weights in (value, shared[name]):
                    weights[8:16] = 0
            close = torch.isclose(shared[name], value, rtol=1e-3, atol=1e-5)
            assert close.all(), (kind, name, (shared[name] - value).abs().max())
