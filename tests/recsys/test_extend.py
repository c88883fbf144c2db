import json

import numpy as np
import polars as pl
import pytest
import torch

from recurra.core.cli import run
from recurra.recsys import Recommender, extend
from recurra.recsys.cli import PACKAGE, app
from recurra.recsys.data import Interactions
from recurra.recsys.extend import grow_model, join_logs, with_replay
from recurra.recsys.models import Bert4Rec, Bert4RecConfig, SasRec, SasRecConfig
from recurra.recsys.neural import NetworkScorer

NEW = {"bob": ["kettle", "jug"], "dan": ["kettle", "pan", "pot"], "ann": ["pot"]}


@pytest.fixture
def new():
    rows = [(user, item) for user, items in NEW.items() for item in items]
    return Interactions.from_frame(pl.DataFrame(rows, schema=["user", "item"], orient="row"))


def history(log, user):
    numbers = log.history(log.users.to_list().index(user))
    return log.items.gather(numbers - 1).to_list()


def test_new_events_come_behind_the_old_and_ids_keep_their_numbers(log, new):
    joined = join_logs(log, new)
    assert joined.items.to_list() == [*log.items.to_list(), "kettle", "pan"]
    assert joined.users.to_list() == ["ann", "bob", "cyd", "dan"]
    assert history(joined, "ann") == ["pot", "tea", "cup", "pot"]
    assert history(joined, "bob") == ["pot", "tea", "cup", "pot", "mug", "kettle", "jug"]
    assert history(joined, "cyd") == ["jug"]
    assert history(joined, "dan") == ["kettle", "pan", "pot"]


def test_ids_that_are_numbers_meet_text_and_stay_numbers_where_they_can():
    def log(*items):
        return Interactions.from_frame(pl.DataFrame({"user": ["u"] * len(items), "item": items}))

    assert join_logs(log(7, 8), log("8", "9")).items.to_list() == [7, 8, 9]
    assert join_logs(log(7, 8), log("8", "x")).items.to_list() == ["7", "8", "x"]


@pytest.mark.parametrize("n_new", [1, 7, 60])
@pytest.mark.parametrize("kind", [Bert4Rec, SasRec])
def test_old_items_score_the_same_to_the_bit(kind, n_new):
    torch.manual_seed(0)
    config = {Bert4Rec: Bert4RecConfig, SasRec: SasRecConfig}[kind](n_items=301, max_len=20)
    model, rng = kind(config).eval(), np.random.default_rng(0)
    sequence = rng.integers(1, 302 + n_new, 900).astype(np.int32)
    ids = pl.Series(np.arange(301 + n_new))
    log = Interactions(pl.Series(["u"]), ids, np.array([0, 900]), sequence)
    histories = [rng.integers(1, 302, n) for n in (1, 5, 19, 40)]
    before = NetworkScorer(model).score(histories)
    after = NetworkScorer(grow_model(model, log)).score(histories)
    np.testing.assert_array_equal(after[:, :302], before)
    assert np.isfinite(after).all()
    assert after.shape[1] == 302 + n_new


def test_a_new_item_begins_as_the_mean_of_its_old_neighbours(model, log, new):
    joined = join_logs(log, new)
    grown = grow_model(model, joined)
    table, old = grown.item_embedding.weight, model.item_embedding.weight
    jug, pot, mug = (old[joined.number([name])[0]] for name in ("jug", "pot", "mug"))
    # bob: cup pot mug KETTLE jug; dan: KETTLE pan pot
    around = torch.stack([pot, mug, jug, pot]).mean(dim=0)
    torch.testing.assert_close(table[joined.number(["kettle"])[0]], around)
    torch.testing.assert_close(table[joined.number(["pan"])[0]], pot)
    torch.testing.assert_close(table[grown.mask_id], old[model.mask_id], rtol=0, atol=0)


def test_as_many_other_users_are_learnt_again_as_have_new_events():
    touched = np.array([7, 2, 30])
    learnt = with_replay(touched, 31, seed=0)
    assert learnt.tolist() == sorted(set(learnt.tolist()))
    assert len(learnt) == 6
    assert set(touched) < set(learnt.tolist()) <= set(range(31))
    assert with_replay(touched, 31, seed=1).tolist() != learnt.tolist()
    assert with_replay(np.array([1, 0, 2]), 4, seed=0).tolist() == [0, 1, 2, 3]


def test_an_extended_model_knows_new_users_and_items(model, log, tmp_path, capsys):
    Recommender(model, log).save(tmp_path / "model")
    rows = [(user, item) for user, items in NEW.items() for item in items]
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(tmp_path / "new.csv")
    folders = [str(tmp_path / name) for name in ("model", "new.csv", "extended")]
    command = ["extend", *folders[:2], "-o", folders[2]]
    assert run(app, PACKAGE, [*command, "--epochs", "0"]) == 0
    assert "6 new events, 1 new users and 2 new items" in capsys.readouterr().out
    recommender = Recommender.from_pretrained(folders[2])
    assert "kettle" in recommender.for_users(["ann"], 9).table["item"].to_list()
    assert recommender.for_users(["dan"], 9).table.height == 4
    assert run(app, PACKAGE, [*command, "--epochs", "2"]) == 0
    learnt = Recommender.from_pretrained(folders[2])
    assert learnt.log.items.equals(recommender.log.items)
    assert not torch.equal(
        learnt.model.item_embedding.weight, recommender.model.item_embedding.weight
    )


def trained(tmp_path, *words):
    """A model of `train` for a round of six items, and a file of what came since."""
    rows = [(f"u{user}", "abcdef"[(user + n) % 6], n) for user in range(30) for n in range(6)]
    schema = ["user", "item", "time"]
    pl.DataFrame(rows, schema=schema, orient="row").write_csv(tmp_path / "log.csv")
    came = [(f"u{user}", "abcdef"[user % 6], 6) for user in range(9)] + [("new", "a", 7)]
    pl.DataFrame(came, schema=schema, orient="row").write_csv(tmp_path / "new.csv")
    sizes = ["network.d_model=8", "--epochs", "1", *words]
    log, model = str(tmp_path / "log.csv"), str(tmp_path / "model")
    assert run(app, PACKAGE, ["train", log, "-o", model, *sizes]) == 0
    return model, str(tmp_path / "new.csv")


def test_all_new_events_are_learnt_by_the_models_own_recipe(tmp_path, monkeypatch):
    folder, new = trained(tmp_path, "--model", "gsasrec", "batch_size=7")
    seen = []

    def train(split, config, *args, **options):
        seen.append((split, config, options))
        return extend.train_it(split, config, *args, **options)

    monkeypatch.setattr(extend, "train_it", extend.train, raising=False)
    monkeypatch.setattr(extend, "train", train)
    assert run(app, PACKAGE, ["extend", folder, new, "-o", str(tmp_path / "extended")]) == 0
    ((split, config, options),) = seen
    lengths = dict(zip(split.train.users, split.train.lengths.tolist(), strict=True))
    assert {lengths[f"u{user}"] for user in range(9)} == {7}
    assert lengths["new"] == 1
    assert len(lengths) == 20  # as many others
    assert (config.loss.name, config.batch_size, config.learning_rate) == ("gbce", 7, 1e-3)
    assert not options["choose"]
    again = extend.load_config(extend.TrainConfig, tmp_path / "extended" / "training.json")
    assert again.learning_rate == 2e-3  # a second extension is as fast as the first


def test_what_came_judges_the_model_before_it_is_learnt(tmp_path, capsys):
    folder, new = trained(tmp_path)
    capsys.readouterr()
    command = ["extend", folder, new, "-o", str(tmp_path / "extended"), "--json"]
    assert run(app, PACKAGE, [*command, "--epochs", "0"]) == 0
    found = json.loads(capsys.readouterr().out)["before"]
    assert found["users"] == 9
    assert set(found["test"]) == {"popularity", "markov", "bert4rec"}
    # A user has all six items, so the right one is the only candidate that is left.
    assert found["test"]["markov"]["ndcg@10"] == 1.0
    assert (
        run(app, PACKAGE, ["evaluate", str(tmp_path / "extended"), str(tmp_path / "log.csv")]) == 0
    )
    assert "test events among them" in capsys.readouterr().err


def test_a_model_is_extended_in_its_own_folder_time_and_again(tmp_path, capsys):
    folder, new = trained(tmp_path)
    weights = []
    for _ in range(3):
        assert run(app, PACKAGE, ["extend", folder, new, "-o", folder]) == 0
        weights.append(Recommender.from_pretrained(folder).model.item_embedding.weight)
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert "resumed" not in capsys.readouterr().err
    assert not (tmp_path / "model.extend").exists()
