"""`recurra-recsys tune`: what is tried, for how long, and that it goes on where it stopped."""

import json
from dataclasses import dataclass

import polars as pl
import pytest

from recurra.core.cli import run
from recurra.core.errors import RecurraError
from recurra.recsys import tune
from recurra.recsys.cli import PACKAGE, app
from recurra.recsys.search import draw_tries, halve, space_of
from recurra.recsys.tune import Search, TuneConfig

RATES = {"learning_rate": (1.0, 2.0, 3.0)}


def test_a_third_goes_on_for_three_times_as_long():
    assert halve(9, 100) == [(9, 12), (3, 34), (1, 100)]
    assert halve(4, 9) == [(4, 1), (2, 3), (1, 9)]
    assert halve(1, 5) == [(1, 5)]


def test_tries_differ_are_drawn_by_their_seed_and_begin_with_the_recipe():
    space = space_of("bert4rec", longest=30)
    assert space["network.max_len"] == (25, 50)
    assert "cloze.mask_share" not in space_of("sasrec", 30)
    tries = draw_tries(space, 9, seed=1, fixed=["network.d_model=16"])
    assert tries[0] == ("network.d_model=16",)
    assert len(set(tries)) == 9
    assert all(words[-1] == "network.d_model=16" and len(words) in (1, 6) for words in tries)
    assert tries == draw_tries(space, 9, seed=1, fixed=["network.d_model=16"])
    assert tries != draw_tries(space, 9, seed=2, fixed=["network.d_model=16"])
    assert len(draw_tries(RATES, 9, seed=0)) == 4
    assert draw_tries(RATES, 9, seed=0, fixed=["learning_rate=5"]) == [("learning_rate=5",)]


@dataclass
class Result:
    best: float
    end: str

    @property
    def finished(self):
        return self.end != "interrupted"


@pytest.fixture
def trained(monkeypatch):
    """A training whose figure is its rate, or (of the next one) the end that is put here."""
    ends, asked = [], []

    def train(split, config, folder, features):
        asked.append((config.learning_rate, config.epochs))
        return None, Result(config.learning_rate, ends.pop() if ends else "steps")

    monkeypatch.setattr(tune, "train", train)
    return ends, asked


def search(folder, **changes):
    options = {"budget": changes.pop("budget", None)}
    config = TuneConfig(**changes)
    return Search(None, config, {"events": 7}, folder, **options)


WORDS = [(f"learning_rate={rate}",) for rate in (1.0, 3.0, 2.0)]


def test_the_best_of_a_round_goes_on_and_the_best_of_all_is_kept(trained, tmp_path):
    found = search(tmp_path / "run")
    assert found.run(WORDS, 6)
    assert trained[1] == [(1.0, 2), (3.0, 2), (2.0, 2), (3.0, 6)]
    assert (found.best().ndcg, found.best().words) == (3.0, WORDS[1])


def test_an_interrupted_search_goes_on_with_the_try_that_was_not_done(trained, tmp_path):
    ends, asked = trained
    ends += ["interrupted", "steps"]
    assert not search(tmp_path / "run").run(WORDS, 6)
    assert search(tmp_path / "run").run(WORDS, 6)
    assert asked == [(1.0, 2), (3.0, 2), (3.0, 2), (2.0, 2), (3.0, 6)]
    asked.clear()
    assert search(tmp_path / "run").run(WORDS, 6)
    assert asked == []


def test_the_budget_ends_a_search_and_a_longer_one_goes_on(trained, tmp_path):
    ends, asked = trained
    ends.append("time")
    assert search(tmp_path / "run", budget=1e-9).run(WORDS, 6)
    assert asked == [(1.0, 2)]
    assert search(tmp_path / "run", budget=10.0).run(WORDS, 6)
    assert asked[1:] == [(1.0, 2), (3.0, 2), (2.0, 2), (3.0, 6)]


def test_another_search_or_folder_is_refused(trained, tmp_path):
    search(tmp_path / "run").run(WORDS, 6)
    with pytest.raises(RecurraError, match=r"another search \(seed differ\)"):
        search(tmp_path / "run", seed=1)
    (tmp_path / "run" / "tries.json").write_text("{}")
    with pytest.raises(RecurraError, match="not what `recurra-recsys tune` writes"):
        search(tmp_path / "run")
    with pytest.raises(RecurraError, match="holds no search"):
        search(tmp_path)


def test_a_log_is_tuned_judged_and_written_and_a_bad_call_is_one_line(tmp_path, capsys):
    rows = [(user, "abcdef"[(user + step) % 6]) for user in range(40) for step in range(5)]
    log = tmp_path / "log.csv"
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(log)
    folder = tmp_path / "model"
    command = ["tune", str(log), "-o", str(folder), "--tries", "2", "--epochs", "3", "--json"]
    command += ["network.d_model=16", "network.n_layers=1", "validations=1"]
    assert run(app, PACKAGE, command) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert "try 1, 1 epochs: network.d_model=16" in shown.err
    assert [row["epochs"] for row in found["tuning"]["tries"]].count(3) == 1
    assert len(found["tuning"]["tries"]) == 3
    best = max(found["tuning"]["tries"], key=lambda row: row["ndcg"])
    assert found["tuning"]["best"]["ndcg"] == best["ndcg"]
    assert json.loads((folder / "metrics.json").read_text())["test"] == found["test"]
    assert run(app, PACKAGE, ["recommend", str(folder), "--history", "a,b", "-k", "1"]) == 0
    capsys.readouterr()
    assert run(app, PACKAGE, [*command, "--seen"]) == 2
    assert "another search (filter_seen differ)" in capsys.readouterr().err.splitlines()[-1]
    assert run(app, PACKAGE, [*command, "--seed", "1"]) == 2
    assert "another search (seed differ)" in capsys.readouterr().err.splitlines()[-1]
    assert run(app, PACKAGE, [*command, "epoch=3"]) == 2
    assert "did you mean epochs" in capsys.readouterr().err
