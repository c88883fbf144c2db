"""Ours against the numbers of RecBole, where it agrees with the original."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recurra.recsys.losses import linear_cross_entropy
from recurra.recsys.models import Bert4Rec, Bert4RecConfig
from recurra.recsys.neural import NetworkScorer

LAYER = {
    "mixing_norm": "multi_head_attention.LayerNorm",
    "mixing.output": "multi_head_attention.dense",
    "widen": "feed_forward.dense_1",
    "narrow": "feed_forward.dense_2",
    "norm": "feed_forward.LayerNorm",
}
OUTER = {
    "item_embedding": "item_embedding",
    "position_embedding": "position_embedding",
    "norm": "LayerNorm",
    "head": "output_ffn",
    "head_norm": "output_ln",
}


def as_ours(found, prefix):
    """Name tensors of RecBole as ours; query, key and value are one."""
    ours = {"output_bias": found[f"{prefix}.output_bias"]}
    for mine, theirs in OUTER.items():
        for part in ("weight", "bias"):
            if (name := f"{prefix}.{theirs}.{part}") in found:
                ours[f"{mine}.{part}"] = found[name]
    for i in range(2):
        layer = f"{prefix}.trm_encoder.layer.{i}"
        for part in ("weight", "bias"):
            for mine, theirs in LAYER.items():
                ours[f"layers.{i}.{mine}.{part}"] = found[f"{layer}.{theirs}.{part}"]
            attention = [
                found[f"{layer}.multi_head_attention.{name}.{part}"]
                for name in ("query", "key", "value")
            ]
            ours[f"layers.{i}.mixing.query_key_value.{part}"] = torch.cat(attention)
    return ours


@pytest.fixture(scope="module")
def vectors():
    return load_file(Path(__file__).parent / "vectors/recbole_bert4rec.safetensors")


@pytest.fixture
def model(vectors):
    sizes = Bert4RecConfig(n_items=29, max_len=12, d_model=16, dropout=0.0, attention_dropout=0.0)
    model = Bert4Rec(sizes)
    model.load_state_dict(as_ours(vectors, "weight"))
    return model.eval()


def places_of(inside):
    return inside.flatten().nonzero().squeeze(1)


def test_hidden_states_and_logits_of_real_steps_are_the_reference(model, vectors):
    items = vectors["input_ids"].long()
    inside = torch.arange(12) < vectors["seq_len"][:, None]
    hidden = model(items, places_of(inside))
    torch.testing.assert_close(hidden, vectors["hidden"][inside], rtol=0, atol=5e-5)
    logits = hidden @ model.output_table.t() + model.output_bias
    torch.testing.assert_close(logits, vectors["logits"][inside], rtol=0, atol=5e-5)


def test_the_loss_and_every_gradient_are_the_reference(model, vectors):
    masked = vectors["cloze_mask"].bool()
    targets = vectors["cloze_labels"].long()[masked]
    hidden = model(vectors["cloze_input_ids"].long(), places_of(masked))
    loss = linear_cross_entropy(hidden, model.output_table, model.output_bias, targets)
    torch.testing.assert_close(loss, vectors["cloze_loss"].squeeze(), rtol=1e-6, atol=0)
    loss.backward()
    expected = as_ours(vectors, "grad")
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=2e-6, msg=name)


def test_the_next_item_is_scored_with_every_event_of_a_short_history(model, vectors):
    """RecBole itself drops the first event of histories shorter than its rows."""
    lengths = vectors["seq_len"].tolist()
    histories = [
        row[:n].int().numpy() for row, n in zip(vectors["input_ids"], lengths, strict=True)
    ]
    scores = torch.from_numpy(NetworkScorer(model).score(histories))
    torch.testing.assert_close(scores, vectors["next_item_scores"], rtol=0, atol=5e-5)
    assert not torch.allclose(scores[:4], vectors["recbole_next_item_scores"][:4], atol=1e-2)
