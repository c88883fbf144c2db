import json

import numpy as np
import polars as pl
import pytest
import torch

from recurra.core.errors import CheckpointError, RecurraError
from recurra.recsys import Recommender
from recurra.recsys.models import Bert4Rec, Bert4RecConfig, SasRec, SasRecConfig
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.recommend import show_table


@pytest.fixture
def recommender(model, log):
    return Recommender(model, log)


def items_of(table, name, value):
    return table.filter(pl.col(name) == value)["item"].to_list()


def test_lists_are_in_the_ids_of_the_log_and_leave_out_what_was_seen(recommender):
    table = recommender.for_users(k=3).table
    assert table.columns == ["user", "rank", "item", "score"]
    assert set(items_of(table, "user", "ann")) == {"mug", "jug"}
    assert items_of(table, "user", "bob") == ["jug"]
    assert len(items_of(table, "user", "cyd")) == 3
    assert table.filter(user="cyd")["rank"].to_list() == [1, 2, 3]
    assert table.filter(user="cyd")["score"].is_sorted(descending=True)


def test_a_history_of_anyone_gives_what_a_user_with_it_gets(recommender):
    users = recommender.for_users(["ann"], k=5, filter_seen=False).table
    found = recommender.for_histories([["pot", "tea", "cup"]], k=5, filter_seen=False)
    assert found.table["item"].to_list() == users["item"].to_list()
    assert found.table["score"].to_list() == users["score"].to_list()
    assert found.table["history"].unique().to_list() == [1]


def test_unknown_items_are_skipped_and_counted_and_empty_histories_get_the_popular(recommender):
    found = recommender.for_histories([["pot", "boat"], ["boat"], []], k=2)
    assert found.unknown_items == 2
    assert found.cold_starts == 2
    known = recommender.for_histories([["pot"]], k=2).table
    assert items_of(found.table, "history", 1) == known["item"].to_list()
    popular = found.table.filter(history=3)
    assert popular["item"].to_list() == ["pot", "tea"]
    assert popular["score"].to_list() == [None, None]


def test_different_histories_get_different_lists(recommender):
    table = recommender.for_histories([["pot"], ["tea"]], k=5, filter_seen=False).table
    scores = table["score"].to_list()
    assert scores[:5] != scores[5:]


def test_ids_and_prices_are_not_printed_as_scores(capsys):
    table = pl.DataFrame({"item": [12.0, 1.5], "score": [0.123, None], "price": [9.995, 2.0]})
    show_table(table, None, "lists", json=False)
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "." in line]
    assert rows == [["12.0", "0.12", "9.995"], ["1.5", "2.0"]]


def test_unknown_users_and_empty_lists_are_errors(recommender):
    with pytest.raises(RecurraError, match="no user dan"):
        recommender.for_users(["dan"])
    with pytest.raises(RecurraError, match="k is 0"):
        recommender.for_users(k=0)


def test_a_saved_model_gives_the_same_lists_to_the_bit(recommender, tmp_path):
    recommender.save(tmp_path / "model")
    loaded = Recommender.from_pretrained(tmp_path / "model")
    assert loaded.for_users(k=5).table.equals(recommender.for_users(k=5).table)
    np.testing.assert_array_equal(loaded.log.sequence, recommender.log.sequence)
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["files"] == ["histories.parquet", "items.parquet"]
    recommender.save(tmp_path / "model")  # a model folder may be replaced
    (tmp_path / "model/notes.txt").write_text("mine")
    with pytest.raises(RecurraError, match=r"notes\.txt"):
        recommender.save(tmp_path / "model")


def test_a_folder_whose_tables_do_not_fit_is_refused(recommender, tmp_path):
    recommender.save(tmp_path / "model")
    pl.DataFrame({"item": ["pot"]}).write_parquet(tmp_path / "model/items.parquet")
    with pytest.raises(CheckpointError, match="do not fit"):
        Recommender.from_pretrained(tmp_path / "model")
    (tmp_path / "model/items.parquet").unlink()
    with pytest.raises(CheckpointError, match=r"no items\.parquet"):
        Recommender.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"junk", "a table is damaged"),
        (pl.DataFrame({"item": ["pot"]}), "a table is damaged"),
        (pl.DataFrame({"user": ["ann"], "items": [["pot"]]}), "a table is damaged"),
        (pl.DataFrame({"user": ["ann"], "items": [[0]]}), "do not fit"),
        (pl.DataFrame({"user": ["ann"], "items": [[6]]}), "do not fit"),
        (pl.DataFrame({"user": ["ann"], "items": [[None, 1]]}), "do not fit"),
    ],
)
def test_damaged_tables_are_one_line(recommender, tmp_path, table, message):
    recommender.save(tmp_path / "model")
    path = tmp_path / "model/histories.parquet"
    path.write_bytes(table) if isinstance(table, bytes) else table.write_parquet(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        Recommender.from_pretrained(tmp_path / "model")
    assert "\n" not in str(caught.value)


def test_a_history_scores_the_same_alone_and_in_any_batch():
    torch.manual_seed(1)
    scorer = NetworkScorer(Bert4Rec(Bert4RecConfig(n_items=300, max_len=50)))
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 301, n) for n in rng.integers(1, 80, 150)]
    together = scorer.score(histories)
    for row in (0, 70, 149):
        np.testing.assert_array_equal(scorer.score([histories[row]])[0], together[row])


def test_only_the_last_events_that_fit_count(model):
    scorer = NetworkScorer(model)
    long, short = np.array([5, 5, 1, 2, 3, 4, 1]), np.array([1, 2, 3, 4, 1])
    np.testing.assert_array_equal(*scorer.score([long, short]))


def test_a_network_without_a_mask_sees_an_event_more_and_says_nothing_about_none(log, tmp_path):
    torch.manual_seed(0)
    model = SasRec(SasRecConfig(n_items=5, max_len=6, d_model=8))
    scorer = NetworkScorer(model)
    long, fits = np.array([5, 1, 5, 1, 2, 3, 4]), np.array([1, 5, 1, 2, 3, 4])
    scores = scorer.score([long, fits, np.empty(0, np.int32)])
    np.testing.assert_array_equal(scores[0], scores[1])
    expected = model.score(torch.from_numpy(fits)[None], torch.tensor([5]))
    np.testing.assert_allclose(scores[0], expected[0].detach(), rtol=1e-5, atol=1e-6)
    assert not scores[2].any()
    Recommender(model, log).save(tmp_path / "model")
    found = Recommender.from_pretrained(tmp_path / "model").for_users(k=5).table
    assert found.equals(Recommender(model, log).for_users(k=5).table)
