"""Named trainings: what they make, and how they are changed."""

import numpy as np
import pytest
import torch

from recurra.core.errors import RecurraError
from recurra.core.training import Draw
from recurra.recsys.bert_adam import BertAdam
from recurra.recsys.data import Holdout, leave_one_out
from recurra.recsys.first_embeddings import cooccurrence_embeddings
from recurra.recsys.models import Bert4Rec, SasRec
from recurra.recsys.models.transformer import LigrLayer
from recurra.recsys.recipes import RECIPES, load_recipe
from recurra.recsys.train import NextItemTask, build_batches, build_model, train


@pytest.mark.parametrize("name", RECIPES)
def test_an_update_of_every_recipe_lowers_its_loss(name, log):
    torch.manual_seed(0)
    config = load_recipe(name, ["network.dropout=0.0", "network.attention_dropout=0.0"])
    model, batches = build_model(config, log), build_batches(config, log)
    nobody = Holdout(log.without_last(0, np.array([], int)), np.array([], np.int32))
    task = NextItemTask(model, batches, nobody, config)
    optimizer = task.optimizer(model.parameters(), learning_rate=1e-3, weight_decay=0.0)

    def loss():
        torch.manual_seed(1)  # the same negatives
        return task.training_step(model, batches[Draw(0, 0)])["loss"]

    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before


def test_recipes_are_what_their_papers_say(log):
    bert, sasrec, gsasrec, esasrec = (RECIPES[name] for name in RECIPES)
    assert type(build_model(bert, log)) is Bert4Rec
    assert type(build_model(sasrec, log)) is SasRec
    assert (sasrec.loss.name, gsasrec.loss.name) == ("softmax", "gbce")
    assert gsasrec.network == sasrec.network
    assert (esasrec.loss.name, esasrec.loss.n_negatives) == ("sampled-softmax", 256)
    assert isinstance(build_model(esasrec, log).layers[0], LigrLayer)


def test_embeddings_that_begin_from_cooccurrence_are_those_of_the_items(log):
    torch.manual_seed(0)
    config = load_recipe("bert4rec", ["network.d_model=8"])
    table = build_model(config, log).item_embedding.weight.detach()
    np.testing.assert_array_equal(table[1:6], cooccurrence_embeddings(log, 8, config.seed)[1:])
    assert not table[0].any()
    assert table[6].any()  # the mask is random


def test_words_and_options_change_a_recipe_and_what_does_not_fit_is_said():
    config = load_recipe("esasrec", ["network.d_model=32"], {"epochs": 3, "patience": None})
    assert (config.network.d_model, config.network.layer) == (32, "ligr")
    assert (config.epochs, config.patience) == (3, RECIPES["esasrec"].patience)
    for words, message in [
        (["loss.n_negatives=0"], "at least 1"),
        (["loss.name=gbce", "loss.negative_power=0.5"], "negative_power must be 0"),
        (
            ["network.encoder=mamba2", "network.positions=rotary"],
            "rotary positions are of attention",
        ),
        (["batch_size=0"], "batch_size is 0"),
        (["window_step=2"], "window_step is 2"),
        (["epoch=2"], "did you mean epochs"),
    ]:
        with pytest.raises(RecurraError, match=message):
            load_recipe("sasrec", words)


def test_the_original_of_bert4rec_is_that_of_its_release():
    config = load_recipe("bert4rec", recipe="original")
    network = config.network
    assert (network.layer, network.positions, network.initial_deviation) == (
        "post-norm",
        "learned",
        0.02,
    )
    sizes = (network.max_len, network.d_model, network.n_heads, network.n_layers, network.dropout)
    assert sizes == (200, 64, 2, 2, 0.2)
    assert (config.batch_size, config.learning_rate, config.weight_decay) == (256, 1e-4, 0.01)
    assert (config.clip_norm, config.cloze.mask_share, config.patience) == (5.0, 0.2, None)
    changed = load_recipe("bert4rec", ["network.max_len=50"], {"epochs": 7}, recipe="original")
    assert (changed.network.max_len, changed.epochs, changed.batch_size) == (50, 7, 256)


def test_steps_of_berts_adam_by_hand():
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = BertAdam([weight], lr=0.1, eps=1e-6, weight_decay=0.5)
    m = v = 0.0
    p = 2.0
    for gradient in (4.0, -1.0):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        p -= 0.1 * (m / (v**0.5 + 1e-6) + 0.5 * p)
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        assert weight.item() == pytest.approx(p, rel=1e-6)


def test_an_update_by_the_original_recipe_is_the_one_by_hand(log, tmp_path):
    """The first update of a run: clipped at 5, a warm-up of a tenth of 10 steps, decay by kind."""
    changes = ["network.d_model=8", "network.dropout=0.0", "network.attention_dropout=0.0"]
    options = {"epochs": 10, "validations": 10}
    config = load_recipe("bert4rec", changes, options, recipe="original")
    split = leave_one_out(log)
    batches = build_batches(config, split.train)
    assert len(batches) == 1

    def begin():
        torch.manual_seed(3)
        model = build_model(config, log)
        with torch.no_grad():
            model.head.weight *= 400  # so that there is something to clip
        return model

    model = begin()
    task = NextItemTask(model.train(), batches, split.valid, config)
    task.training_step(model, batches[Draw(0, 0)])["loss"].backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    assert norm > 5
    expected = {}
    for name, weight in model.named_parameters():
        gradient = 5 * weight.grad / norm
        update = 0.1 * gradient / ((0.001 * gradient**2).sqrt() + 1e-6)
        if weight.ndim > 1:
            update += 0.01 * weight
        expected[name] = (weight - 1e-4 * update).detach()

    after = []

    def note(task, model):
        after.append({name: weight.clone() for name, weight in model.named_parameters()})
        return {"ndcg@10": 0.0}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NextItemTask, "validate", note)  # after each of ten updates
        train(split, config, tmp_path / "run", start=begin(), progress=False)
    assert len(after) == 10
    for name, weight in expected.items():
        torch.testing.assert_close(after[0][name], weight, rtol=1e-5, atol=1e-8, msg=name)


def test_the_original_rate_falls_on_a_line_to_zero(log, tmp_path):
    config = load_recipe("bert4rec", (), {"epochs": 20, "validations": 1}, recipe="original")
    train(leave_one_out(log), config, tmp_path / "run", progress=False)
    state = torch.load(tmp_path / "run/checkpoints/step-00000020.pt", weights_only=True)
    assert {group["lr"] for group in state["optimizer"]["param_groups"]} == {0.0}
