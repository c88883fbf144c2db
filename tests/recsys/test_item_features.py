"""Columns about items as features: how they are read, and that what they say is learnt."""

import json

import numpy as np
import polars as pl
import pytest

from recurra.core.cli import run
from recurra.core.errors import RecurraError
from recurra.recsys.cli import PACKAGE, app
from recurra.recsys.data import Interactions, leave_one_out
from recurra.recsys.item_features import FeatureColumns, ItemFeatures
from recurra.recsys.judging import judge
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.recipes import load_recipe
from recurra.recsys.recommender import Recommender
from recurra.recsys.train import train

ROWS = [("pot", "iron|old", 1), ("tea", None, 2), ("cup", "clay | iron", None), ("mug", "NaN|", 1)]


@pytest.fixture
def table(tmp_path):
    frame = pl.DataFrame(ROWS, schema=["item", "kind", "shelf"], orient="row")
    frame.write_csv(tmp_path / "items.csv")
    return tmp_path / "items.csv"


def named(features, log, table, column):
    """Of each item of the log the values that its numbers stand for."""
    names = {}
    for item, numbers in zip(log.items, features.values[1:], strict=True):
        cell = next((row for row in table if row[0] == item), None)
        given = [] if cell is None or cell[column] is None else str(cell[column]).split("|")
        given = [text.strip() for text in given if text.strip() not in ("", "NaN")]
        assert (numbers > 0).sum() == len(given)
        for number, text in zip(numbers, given, strict=False):
            assert names.setdefault(number, text) == text
    return set(names.values())


def test_a_cell_may_hold_several_values_or_none(log, table):
    features = FeatureColumns(table, ("kind",)).read(log)
    assert named(features, log, ROWS, 1) == {"iron", "old", "clay"}
    assert features.n_values == 3
    assert features.values.shape == (6, 2)
    assert not features.values[0].any()
    assert features.summary() == "3 values of kind; 2 of 5 items have some"


def test_lists_and_numbers_of_parquet_and_the_spaces_of_recbole_are_read_alike(log, table):
    expected = FeatureColumns(table, ("kind", "shelf")).read(log)
    cells = [None if kind is None else kind.replace(" ", "").split("|") for _, kind, _ in ROWS]
    columns = {"item": [row[0] for row in ROWS], "kind": cells, "shelf": [r[2] for r in ROWS]}
    pl.DataFrame(columns).write_parquet(table.with_name("items.parquet"))
    lines = ["item_id:token\tkind:token_seq\tshelf:token"]
    for item, kinds, shelf in zip(*columns.values(), strict=True):
        lines.append(f"{item}\t{' '.join(kinds or [])}\t{shelf or ''}")
    table.with_name("log.item").write_text("\n".join(lines) + "\n")
    for name in ("items.parquet", "log.item"):
        found = FeatureColumns(table.with_name(name), ("kind", "shelf")).read(log)
        assert found.n_values == expected.n_values == 5
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.digest() == expected.digest()
    assert FeatureColumns(table, ("kind",)).read(log).digest() != expected.digest()


def test_what_cannot_be_read_is_one_line(log, table):
    with pytest.raises(RecurraError, match="no column 'colour'; it has kind, shelf"):
        FeatureColumns(table, ("colour",)).read(log)
    table.write_text("item,kind\n7,iron\n")
    with pytest.raises(RecurraError, match=r"no item of the log has a value of kind.*such as pot"):
        FeatureColumns(table, ("kind",)).read(log)


@pytest.fixture(scope="module")
def kinds():
    """120 items of 6 kinds; who takes one of a kind takes any of the next kind then."""
    rng = np.random.default_rng(0)
    kind_of = np.arange(120) % 6
    rows = [
        (user, int(rng.choice(np.flatnonzero(kind_of == (start + step) % 6))))
        for user, start in enumerate(rng.integers(0, 6, 150))
        for step in range(8)
    ]
    log = Interactions.from_frame(pl.DataFrame(rows, schema=["user", "item"], orient="row"))
    numbers = 1 + kind_of[log.items.to_numpy()]
    values = np.concatenate([[0], numbers])[:, None]
    return leave_one_out(log), ItemFeatures(("kind",), 6, values)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch, once
@pytest.mark.parametrize(
    ("model", "more"),
    [("sasrec", []), ("esasrec", []), ("esasrec", ["sparse_table=true"])],
    ids=["sasrec", "esasrec", "esasrec with a sparse table"],
)
def test_what_is_learnt_of_a_kind_serves_all_its_items(kinds, model, more, tmp_path):
    split, features = kinds
    words = ["first_embeddings=random", "network.d_model=16", "network.max_len=10", "validations=1"]
    words += ["learning_rate=1e-2", "batch_size=16", *more]
    config = load_recipe(model, words, {"epochs": 10, "threads": 1})
    found = {}
    for name, known in (("with", features), ("without", None)):
        trained, _ = train(split, config, tmp_path / name, features=known, progress=False)
        found[name] = judge(NetworkScorer(trained), split).means()["hit_rate@10"]
    # 20 items are of a kind: who knows the next kind, and no more, is right one time in two.
    assert found["with"] > 0.4
    assert found["without"] < 0.2


def test_features_take_a_run_folder_of_their_own(kinds, tmp_path):
    split, features = kinds
    config = load_recipe("gsasrec", ["network.d_model=8", "validations=1"], {"epochs": 1})
    train(split, config, tmp_path / "run", features=features, progress=False)
    with pytest.raises(RecurraError, match="features"):
        train(split, config, tmp_path / "run", progress=False)


SMALL = ["network.d_model=8", "network.max_len=8", "validations=1"]


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(1)
    log = [f"{user},i{rng.integers(30)}\n" for user in range(40) for _ in range(5)]
    (tmp_path / "log.csv").write_text("user,item\n" + "".join(log))
    items = [f"i{item},{'abc'[item % 3]}|{'xy'[item % 2]}\n" for item in range(28)]
    (tmp_path / "items.csv").write_text("item,tags\n" + "".join(items))
    return tmp_path


def command(files, name, *words):
    log, about = str(files / "log.csv"), ["--items", str(files / "items.csv"), "--features", "tags"]
    return run(app, PACKAGE, [name, log, *about, "--epochs", "2", *words])


def test_train_tells_of_features_and_writes_a_plain_model(files, capsys):
    assert command(files, "train", "-o", str(files / "model"), *SMALL) == 0
    assert "5 values of tags; 28 of 30 items have some" in capsys.readouterr().err
    assert json.loads((files / "model" / "metrics.json").read_text())["features"] == ["tags"]
    recommender = Recommender.from_pretrained(files / "model")
    assert recommender.model.config.n_feature_values == 0
    assert len(recommender.for_histories([["i1", "i2"]], k=5).table) == 5


def test_tune_and_compare_learn_features(files, capsys):
    words = ["--tries", "1", "-o", str(files / "model"), "--json", *SMALL]
    assert command(files, "tune", *words) == 0
    assert json.loads(capsys.readouterr().out)["features"] == ["tags"]
    assert Recommender.from_pretrained(files / "model").model.config.n_feature_values == 0
    words = ["--models", "sasrec,markov", "--run", str(files / "runs"), "--json"]
    assert command(files, "compare", *words) == 0
    assert json.loads(capsys.readouterr().out)["features"] == ["tags"]


def test_the_table_and_its_columns_go_together(files, capsys):
    for words in (["--items", str(files / "items.csv")], ["--features", "tags"]):
        assert run(app, PACKAGE, ["train", str(files / "log.csv"), *words]) == 2
        assert "--items FILE and --features COLUMN go together" in capsys.readouterr().err
