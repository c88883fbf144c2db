"""Lists out of an index: what they hold, that they are whole, and what a folder may hand us."""

import json
import sys

import numpy as np
import polars as pl
import pytest
import safetensors.numpy
import torch

from recurra.core.cli import run
from recurra.core.errors import CheckpointError, MissingExtraError, RecurraError
from recurra.recsys import Recommender
from recurra.recsys.cli import PACKAGE, app
from recurra.recsys.data import Interactions
from recurra.recsys.index import index_model
from recurra.recsys.item_index import INDEX, LONGEST, ItemIndex, recall
from recurra.recsys.models import Bert4Rec, Bert4RecConfig, SasRec, SasRecConfig
from recurra.recsys.selection import Selection
from recurra.recsys.serving.metrics import ServiceMetrics
from recurra.recsys.serving.service import Query, Service

V, WIDTH = 3000, 16


@pytest.fixture(scope="module", autouse=True)
def small_catalogues_are_indexed():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recurra.recsys.index.LEAST_ITEMS", V)
        yield


def make_model(kind=SasRec):
    """Items of 40 kinds, whose embeddings differ by kind more than within one."""
    torch.manual_seed(0)
    config = {SasRec: SasRecConfig, Bert4Rec: Bert4RecConfig}[kind]
    model = kind(config(n_items=V, max_len=20, d_model=WIDTH)).eval()
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(40, WIDTH))[rng.integers(0, 40, V)]
    with torch.no_grad():
        table = torch.from_numpy(kinds + 0.5 * rng.normal(size=(V, WIDTH))).float() / 4
        model.item_embedding.weight[1 : V + 1] = table
        if model.output_bias is not None:
            model.output_bias[1:] = torch.randn(V) / 4
    return model


def make_log(users=60):
    rng = np.random.default_rng(1)
    rows = [(f"u{u}", f"i{item}") for u in range(users) for item in rng.integers(0, V, 12)]
    seen = Interactions.from_frame(pl.DataFrame(rows, schema=["user", "item"], orient="row"))
    ids = pl.Series("item", [f"i{n}" for n in range(V)])
    return Interactions(seen.users, ids, seen.offsets, seen.sequence)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    Recommender(make_model(), make_log()).save(path)
    index_model(path, least_recall=0.95)
    return path


@pytest.fixture(scope="module")
def exact(folder):
    return Recommender.from_pretrained(folder)


@pytest.fixture(scope="module")
def indexed(folder):
    return Recommender.from_pretrained(folder, use_index=True)


def histories(log, count=40):
    return [log.history(user) for user in range(count)]


@pytest.mark.parametrize("kind", [SasRec, Bert4Rec])
def test_an_index_whose_cells_are_all_looked_at_finds_the_exact_lists(kind):
    model, log = make_model(kind), make_log()
    index = ItemIndex.build(model)
    index.probes = len(index.centres)
    exact = Recommender(model, log).lists(histories(log), 10)
    found = Recommender(model, log, index).lists(histories(log), 10)
    for (items, scores), (right, expected) in zip(found, exact, strict=True):
        np.testing.assert_array_equal(items, right)
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)


def test_some_cells_find_nearly_all_and_more_find_more(exact, folder):
    index = ItemIndex.load(folder / INDEX, exact.model)
    assert 1 <= index.probes < len(index.centres) == round(4 * V**0.5)
    right, shares = exact.lists(histories(exact.log), 10), []
    for index.probes in (1, 4, 16, 64):
        found = Recommender(exact.model, exact.log, index).lists(histories(exact.log), 10)
        shares.append(recall(found, right))
    assert shares == sorted(shares)
    assert shares[0] < 0.9
    assert shares[-1] > 0.97


def test_recall_by_hand():
    lists = [(np.array(items), np.zeros(len(items))) for items in ([1, 2, 3, 4], [5, 6], [])]
    found = [(np.array(items), np.zeros(len(items))) for items in ([4, 1, 9, 8], [6, 5], [1])]
    assert recall(found, lists) == (0.5 + 1) / 2


def test_lists_leave_out_what_was_seen_and_do_not_depend_on_the_batch(indexed):
    asked = histories(indexed.log)
    together = indexed.lists(asked, [1 + place % 20 for place in range(len(asked))])
    for place in (0, 7, 39):
        ((items, scores),) = indexed.lists([asked[place]], 1 + place % 20)
        np.testing.assert_array_equal(items, together[place][0])
        np.testing.assert_array_equal(scores, together[place][1])
        assert len(items) == 1 + place % 20
        assert not np.isin(items, asked[place]).any()
    with_seen = indexed.lists(asked, 20, filter_seen=False)
    assert any(np.isin(items, own).any() for (items, _), own in zip(with_seen, asked, strict=True))


@pytest.mark.parametrize("left", [1, 7, 25])
def test_a_rule_that_leaves_few_items_gets_all_of_them_in_exact_order(exact, indexed, left):
    asked = histories(exact.log, 8)
    allowed = np.zeros(V + 1, bool)
    allowed[np.random.default_rng(left).permutation(V)[:left] + 1] = True
    rule = Selection(allowed)
    for found, right in zip(
        indexed.lists(asked, 20, selection=rule),
        exact.lists(asked, 20, selection=rule),
        strict=True,
    ):
        np.testing.assert_array_equal(found[0], right[0])
        assert len(found[0]) <= left


def test_categories_are_limited_as_in_exact_lists(exact, folder):
    index = ItemIndex.load(folder / INDEX, exact.model)
    index.probes = len(index.centres)
    rule = Selection(None, np.arange(V + 1) % 7, 2)
    asked = histories(exact.log, 8)
    indexed = Recommender(exact.model, exact.log, index)
    for k in (5, 14, 20):  # 7 categories, 2 of each: there are 14
        lists = indexed.lists(asked, k, selection=rule), exact.lists(asked, k, selection=rule)
        for (items, _), (right, _) in zip(*lists, strict=True):
            np.testing.assert_array_equal(items, right)
            assert len(items) == min(k, 14)


def test_long_lists_and_cold_starts_are_those_without_an_index(exact, indexed):
    asked = [*histories(exact.log, 3), np.empty(0, np.int32)]
    for k in (LONGEST + 1, V + 5):
        found, right = indexed.lists(asked, k), exact.lists(asked, k)
        for ours, expected in zip(found, right, strict=True):
            np.testing.assert_array_equal(ours[0], expected[0])
            np.testing.assert_array_equal(ours[1], expected[1])
    assert len(indexed.lists(asked, V + 5)[0][0]) == V - len(np.unique(asked[0]))
    assert np.isnan(indexed.lists(asked, 5)[3][1]).all()


def test_a_saved_index_is_what_it_was_and_is_only_used_where_it_is_asked_for(folder, indexed):
    assert Recommender.from_pretrained(folder).index is None
    again = Recommender.from_pretrained(folder, use_index=True)
    for ours, theirs in zip(
        again.lists(histories(again.log), 10),
        indexed.lists(histories(again.log), 10),
        strict=True,
    ):
        np.testing.assert_array_equal(ours[0], theirs[0])
    config = json.loads((folder / "config.json").read_text())
    assert config["files"] == ["histories.parquet", INDEX, "items.parquet"]


def test_a_server_answers_by_the_index_unless_it_is_told_not_to(folder, indexed, exact):
    history = [f"i{number}" for number in range(5)]
    queries = [Query(history, None, k, True) for k in (3, 10)]
    for use_index, recommender in ((True, indexed), (False, exact)):
        service = Service(str(folder), ServiceMetrics(), use_index=use_index)
        assert service.health()["index"] is use_index
        ((items, _),) = recommender.lists([recommender.log.number(history)], 10)
        names = recommender.log.items.gather(items - 1).to_list()
        short, long = (
            [row["item"] for row in answer["items"]] for answer in service.recommend(queries)
        )
        assert (short, long) == (names[:3], names)


def test_a_model_that_replaces_another_has_no_index_of_the_old_one(folder, tmp_path):
    recommender = Recommender.from_pretrained(folder)
    recommender.save(tmp_path / "model")
    index_model(tmp_path / "model", least_recall=0.5)
    recommender.save(tmp_path / "model")
    assert not (tmp_path / "model" / INDEX).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parts: b"junk", "is damaged"),
        (lambda parts: parts | {"more": np.zeros(1)}, "no index of items"),
        (lambda parts: parts | {"cells": parts["cells"].astype(np.int64)}, "no index of items"),
        (lambda parts: parts | {"cells": parts["cells"][1:]}, "of another model"),
        (lambda parts: parts | {"cells": parts["cells"] * 0 - 1}, "of another model"),
        (
            lambda parts: parts | {"cells": parts["cells"] * 0 + len(parts["centres"])},
            "of another model",
        ),
        (lambda parts: parts | {"centres": parts["centres"][:, 1:].copy()}, "of another model"),
        (lambda parts: parts | {"centres": parts["centres"] * np.nan}, "is damaged"),
        (lambda parts: parts | {"probes": np.array(0)}, "is damaged"),
    ],
)
def test_an_index_that_was_tampered_with_is_refused_in_one_line(folder, tmp_path, change, message):
    model, path = Recommender.from_pretrained(folder).model, tmp_path / INDEX
    changed = change(safetensors.numpy.load_file(folder / INDEX))
    if isinstance(changed, bytes):
        path.write_bytes(changed)
    else:
        safetensors.numpy.save_file(changed, path)
    with pytest.raises(CheckpointError, match=message) as caught:
        ItemIndex.load(path, model)
    assert "\n" not in str(caught.value)


def test_without_faiss_an_index_says_what_to_install_and_exact_lists_are_made(
    folder, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"'recurra-recsys\[faiss\]'"):
        index_model(folder)
    command = ["recommend", str(folder), "--history", "i1,i2", "-k", "2", "--json"]
    assert run(app, PACKAGE, command) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run(app, PACKAGE, [*command, "--exact"]) == 0
    assert len(json.loads(capsys.readouterr().out)["lists"]) == 2


def test_a_small_catalogue_gets_no_index_and_a_name_no_file(monkeypatch, tmp_path, capsys):
    Recommender(make_model(), make_log()).save(tmp_path / "model")
    monkeypatch.setattr("recurra.recsys.index.LEAST_ITEMS", V + 1)
    assert run(app, PACKAGE, ["index", str(tmp_path / "model")]) == 0
    assert "has 3000 items: below 3001 all are scored" in capsys.readouterr().out
    assert not (tmp_path / "model" / INDEX).exists()
    assert run(app, PACKAGE, ["index", "some/model"]) == 2
    assert "is not a folder" in capsys.readouterr().err
    monkeypatch.setattr("recurra.recsys.index.LEAST_ITEMS", V)
    Recommender(make_model(), make_log(users=1)).save(tmp_path / "lonely")
    with pytest.raises(RecurraError, match="1 users with events"):
        index_model(tmp_path / "lonely")


def test_the_command_prints_the_recall_that_it_reaches(folder, capsys):
    assert run(app, PACKAGE, ["index", str(folder), "--recall", "0.98", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recall_at_10"] > 0.95
    assert found["recall_at_10"] > found["recall_at_100"] > 0.5
    assert found["written"] == str(folder / INDEX)
    assert run(app, PACKAGE, ["index", str(folder)]) == 0
    assert "recall@10 against exact lists" in capsys.readouterr().out
