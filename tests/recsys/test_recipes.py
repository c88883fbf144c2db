"""Named trainings: what they make, and how they are changed."""

import numpy as np
import pytest
import torch

from recurra.core.errors import RecurraError
from recurra.core.training import Draw
from recurra.recsys.data import Holdout
from recurra.recsys.first_embeddings import cooccurrence_embeddings
from recurra.recsys.models import Bert4Rec, SasRec
from recurra.recsys.models.transformer import LigrLayer
from recurra.recsys.recipes import RECIPES, load_recipe
from recurra.recsys.train import NextItemTask, build_batches, build_model


@pytest.mark.parametrize("name", RECIPES)
def test_an_update_of_every_recipe_lowers_its_loss(name, log):
    torch.manual_seed(0)
    config = load_recipe(name, ["network.dropout=0.0", "network.attention_dropout=0.0"])
    model, batches = build_model(config, log), build_batches(config, log)
    nobody = Holdout(log.without_last(0, np.array([], int)), np.array([], np.int32))
    task = NextItemTask(model, batches, nobody, config.loss)
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
