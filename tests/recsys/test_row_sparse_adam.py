"""A table of which only the rows that were met move: by what Adam does, through a whole run."""

from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

from recurra.core.errors import RecurraError
from recurra.core.training import Draw
from recurra.recsys.data import Interactions, leave_one_out
from recurra.recsys.item_features import ItemFeatures
from recurra.recsys.losses import gbce, sampled_softmax
from recurra.recsys.recipes import load_recipe
from recurra.recsys.row_sparse_adam import RowSparseAdam
from recurra.recsys.train import SPARSE_FROM, NextItemTask, build_batches, build_model, train

V = 40
KINDS = ItemFeatures(("kind",), 5, (np.arange(V + 1) % 6)[:, None])  # 0 is without
pytestmark = pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch, once


@pytest.fixture
def split():
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", int(item)) for user in range(12) for item in rng.integers(0, V, 9)]
    rows += [("all", item) for item in range(V)]
    log = Interactions.from_frame(pl.DataFrame(rows, schema=["user", "item"], orient="row"))
    return leave_one_out(log)


def recipe(*words, **options):
    still = ["network.dropout=0.0", "network.attention_dropout=0.0", "network.d_model=8"]
    words = [*still, "loss.n_negatives=4", "first_embeddings=random", *words]
    return load_recipe("esasrec", words, {"epochs": 2, "batch_size": 4, "validations": 2} | options)


@pytest.mark.parametrize("loss", ["sampled-softmax", "gbce"])
@pytest.mark.parametrize("bias", [True, False])
def test_sparse_gradients_of_the_losses_are_the_dense_ones(loss, bias):
    torch.manual_seed(0)
    hidden, targets = torch.randn(6, 3), torch.randint(1, 9, (6,))
    negatives, shares = torch.tensor([2, 2, 7]), torch.full((3,), 1 / 8).log()
    found = []
    for sparse in (False, True):
        torch.manual_seed(1)
        table = torch.randn(9, 3, requires_grad=True)
        own = torch.randn(9) if bias else None
        embed = partial(functional.embedding, weight=table, sparse=sparse)
        if loss == "gbce":
            value = gbce(hidden, embed, own, targets, negatives, 0.75, n_items=8)
        else:
            value = sampled_softmax(hidden, embed, own, targets, negatives, shares)
        value.backward()
        assert table.grad.is_sparse == sparse
        found.append(table.grad.to_dense())
    torch.testing.assert_close(*found)


def test_rows_that_every_step_meets_move_as_under_adam_and_others_stay():
    torch.manual_seed(0)
    start, gradients = torch.randn(6, 3), torch.randn(5, 6, 3)
    met = torch.tensor([1, 4])
    dense = torch.nn.Parameter(start.clone())
    adam = torch.optim.Adam([dense], lr=0.1)
    table, weight = torch.nn.Parameter(start.clone()), torch.nn.Parameter(torch.ones(2, 2))
    ours = RowSparseAdam(table, [{"params": [weight], "weight_decay": 0.5}], lr=0.1)
    beside = torch.nn.Parameter(torch.ones(2, 2))
    adamw = torch.optim.AdamW([beside], lr=0.1, weight_decay=0.5)
    for gradient in gradients:
        dense.grad = gradient
        table.grad = torch.sparse_coo_tensor(met[None], gradient[met], (6, 3))
        weight.grad = beside.grad = gradient[:2, :2].clone()
        for optimizer in (adam, adamw, ours):
            optimizer.step()
    torch.testing.assert_close(table[met], dense[met])
    assert torch.equal(table[[0, 2, 3, 5]], start[[0, 2, 3, 5]])
    assert torch.equal(weight, beside)


def test_a_state_that_was_saved_goes_on_to_the_bit():
    def begin():
        torch.manual_seed(0)
        table, weight = (torch.nn.Parameter(torch.randn(5, 2)) for _ in range(2))
        return table, weight, RowSparseAdam(table, [{"params": [weight]}], lr=0.1)

    def step(table, weight, optimizer, number):
        values = torch.full((2, 2), float(number))
        table.grad = torch.sparse_coo_tensor(torch.tensor([[1, number % 5]]), values, (5, 2))
        weight.grad = table.grad.to_dense() + 1
        optimizer.step()

    whole, parts = begin(), begin()
    for number in range(6):
        step(*whole, number)
        step(*parts, number)
        if number == 2:
            table, weight, optimizer = begin()
            with torch.no_grad():
                table.copy_(parts[0])
                weight.copy_(parts[1])
            optimizer.load_state_dict(parts[2].state_dict())
            parts = table, weight, optimizer
    assert torch.equal(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])


@pytest.mark.parametrize("features", [None, KINDS], ids=["", "with features"])
def test_the_first_update_is_that_of_a_dense_table_without_decay(split, features):
    """What is told apart are gradients that the two places of epsilon do not matter for."""
    found = {}
    for sparse in ("true", "false"):
        config = recipe(f"sparse_table={sparse}")
        torch.manual_seed(0)
        model = build_model(config, split.train, features)
        batches = build_batches(config, split.train)
        start = {name: weight.clone() for name, weight in model.named_parameters()}
        task = NextItemTask(model.train(), batches, split.valid, config)
        rates = {"learning_rate": 1e-2, "weight_decay": 0.0}
        optimizer = task.optimizer(model.parameters(), **rates)
        torch.manual_seed(1)
        (1000 * task.training_step(model, batches[Draw(0, 0)])["loss"]).backward()
        optimizer.step()
        found[sparse] = dict(model.named_parameters())
        assert model.item_embedding.weight.grad.is_sparse == (sparse == "true")
    for name, weight in found["true"].items():
        large = found["false"][name].grad.abs() > 0.01
        torch.testing.assert_close(weight[large], found["false"][name][large], msg=name)
    moved = (found["true"]["item_embedding.weight"] != start["item_embedding.weight"]).any(dim=1)
    assert 0 < moved.sum() < V


def test_a_run_goes_on_to_the_bit_and_leaves_rows_that_it_never_met(split, tmp_path):
    config = recipe("sparse_table=true")
    _, result = train(split, config, tmp_path / "whole", progress=False)
    assert result.finished
    first = recipe("sparse_table=true", epochs=2, max_minutes=1e-9)
    _, result = train(split, first, tmp_path / "parts", progress=False)
    assert result.end == "time"
    _, result = train(split, config, tmp_path / "parts", progress=False)
    assert result.end == "steps"
    states = [sorted((tmp_path / name / "checkpoints").iterdir()) for name in ("whole", "parts")]
    last = [torch.load(paths[-1], weights_only=True) for paths in states]
    assert last[0]["step"] == last[1]["step"] == result.step
    for name, weight in last[0]["model"].items():
        assert torch.equal(weight, last[1]["model"][name]), name


def test_large_catalogues_get_it_where_the_loss_allows_and_it_is_said_where_not():
    assert recipe().has_sparse_table(SPARSE_FROM)
    assert not recipe().has_sparse_table(SPARSE_FROM - 1)
    assert not recipe("sparse_table=false").has_sparse_table(SPARSE_FROM)
    assert not recipe("loss.name=softmax").has_sparse_table(SPARSE_FROM)
    with pytest.raises(RecurraError, match=r"sparse_table takes loss\.name=sampled-softmax"):
        recipe("loss.name=softmax", "sparse_table=true")
