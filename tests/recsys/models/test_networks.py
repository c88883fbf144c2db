"""Laws that every network keeps, whatever its layers, places and encoder."""

import pytest
import torch
from torch.nn import functional

from recurra.core.errors import CheckpointError
from recurra.recsys.models import Bert4Rec, Bert4RecConfig, SasRec, SasRecConfig, load_model
from recurra.recsys.models.mixing import Attention, Rows
from recurra.recsys.models.transformer import LigrLayer, TransformerLayer

LAYERS = [{"layer": name} for name in ("post-norm", "pre-norm", "ligr")]
PLACES = [{"positions": name} for name in ("learned", "inverse", "rotary")]
FEATURES = {"n_feature_values": 3, "features_per_item": 2}
CAUSAL = [
    *LAYERS,
    *PLACES,
    {"encoder": "prefix-attention"},
    {"encoder": "mamba2"},
    {"ngrams": (1, 2)},
    {"ngrams": (1,), "encoder": "mamba2", "layer": "ligr"},
    FEATURES,
]


def network(kind, variant):
    torch.manual_seed(0)
    sizes = {"n_items": 9, "max_len": 8, "d_model": 8, **variant}
    model = Bert4Rec(Bert4RecConfig(**sizes)) if kind == "both" else SasRec(SasRecConfig(**sizes))
    if "n_feature_values" in variant:
        model.item_embedding.values[1:10] = VALUES
        torch.nn.init.normal_(model.item_embedding.value_weight)
    return model.eval()


# Of nine items: the fifth has no value, the mask and no item have none either.
VALUES = torch.tensor([[1, 0], [1, 2], [2, 3], [3, 0], [0, 0], [1, 3], [2, 0], [1, 2], [3, 1]])
EVERY = [("both", v) for v in [*LAYERS, *PLACES, FEATURES]] + [("back", v) for v in CAUSAL]
ROWS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 0, 0], [5, 0, 0, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize("variant", CAUSAL, ids=str)
def test_what_comes_later_changes_nothing_before(variant):
    model = network("back", variant)
    changed = ROWS.clone()
    changed[0, 5:] = torch.tensor([4, 4, 3])
    before, after = model.encode(ROWS)[0], model.encode(changed)[0]
    torch.testing.assert_close(before[:5], after[:5])
    assert not torch.allclose(before[5:], after[5:], atol=1e-3)


def test_a_network_that_looks_both_ways_sees_what_comes_later():
    model = network("both", {})
    changed = ROWS.clone()
    changed[0, 7] = 3
    assert not torch.allclose(model.encode(ROWS)[0, 0], model.encode(changed)[0, 0], atol=1e-4)


@pytest.mark.parametrize(("kind", "variant"), EVERY, ids=str)
def test_a_row_in_a_batch_is_what_it_is_alone(kind, variant):
    model = network(kind, variant)
    together = model.encode(ROWS)
    for row, n in enumerate([8, 6, 1]):
        alone = model.encode(ROWS[row : row + 1, :n])
        torch.testing.assert_close(together[row, :n], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "variant"), EVERY, ids=str)
def test_one_step_alone_scores_as_among_all(kind, variant):
    model = network(kind, variant)
    at = torch.tensor([7, 5, 0])
    hidden = model(ROWS, torch.arange(3) * 8 + at)
    whole = functional.linear(hidden, model.output_table, model.output_bias)
    torch.testing.assert_close(model.score(ROWS, at), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "variant"), EVERY, ids=str)
def test_some_steps_of_rows_are_what_they_are_among_all(kind, variant):
    model = network(kind, {**variant, "dropout": 0.0, "attention_dropout": 0.0}).train()
    model.requires_grad_(False).item_embedding.weight.requires_grad_()
    some = torch.tensor([1, 4, 6, 7, 8 + 3, 16])  # of the rows 4, 1 and 1
    seen = []
    for places in (some, torch.arange(24)):
        hidden = model(ROWS, places)
        hidden = hidden if len(hidden) == 6 else hidden[some]
        (gradient,) = torch.autograd.grad(hidden.square().sum(), model.item_embedding.weight)
        seen.append((hidden, gradient))
    torch.testing.assert_close(*seen, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_attention_that_drops_weights_is_the_fused_one_but_for_those(causal):
    torch.manual_seed(0)
    attention = Attention(8, 2, dropout=0.2, causal=causal, rotary=True)
    x, items = torch.randn(3, 8, 8), ROWS
    rows = Rows(items, items > 0)
    fused = attention.eval()(x, rows)[0]
    several = torch.stack([attention.train()(x, rows)[0] for _ in range(500)]).mean(dim=0)
    torch.testing.assert_close(several, fused, rtol=0, atol=0.06)
    attention.dropout.p = 1e-6
    torch.testing.assert_close(attention(x, rows)[0], fused, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "variant"), EVERY, ids=str)
def test_every_parameter_has_a_gradient(kind, variant):
    model = network(kind, {**variant, "dropout": 0.0})
    repeats = torch.tensor([[1, 2, 3, 1, 2, 3, 1, 2]])
    hidden = model(repeats, torch.arange(8))
    torch.nn.functional.cross_entropy(
        functional.linear(hidden, model.output_table, model.output_bias), repeats[0].roll(-1)
    ).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_turned_queries_and_keys_know_distances_and_not_places():
    torch.manual_seed(0)
    attention = Attention(8, 2, dropout=0.0, causal=False, rotary=True).eval()
    x, items = torch.randn(1, 6, 8), torch.ones(1, 6, dtype=torch.int64)
    inside = torch.tensor([[False, False, True, True, True, True]])
    late = attention(x, Rows(items, inside))[0][:, 2:]
    torch.testing.assert_close(late, attention(x[:, 2:], Rows(items[:, 2:], None))[0])


def test_inverse_places_are_counted_from_the_last_event():
    model = network("back", {"positions": "inverse"})
    found = model.embed(ROWS, ROWS > 0) - model.item_scale * model.item_embedding(ROWS)
    places = model.position_embedding.weight
    torch.testing.assert_close(found[1, :6], places[:6].flip(0))
    torch.testing.assert_close(found[2, 0], places[0])


def attended(layer, x):
    """Causal attention by torch's own module with the layer's weights."""
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    mine = layer.mixing
    state = {"in_proj_weight": mine.query_key_value.weight}
    state |= {"in_proj_bias": mine.query_key_value.bias}
    state |= {"out_proj.weight": mine.output.weight, "out_proj.bias": mine.output.bias}
    theirs.load_state_dict(state)
    later = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
    return theirs(x, x, x, attn_mask=later, need_weights=False)[0]


def drawn(layer):
    """The layer in eval mode with all its weights drawn, norms' and biases' too."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter) / 2)
    return layer.eval()


def causal_attention():
    return Attention(8, 2, dropout=0.1, causal=True, rotary=False)


def test_a_ligr_layer_is_its_formula():
    torch.manual_seed(0)
    layer = drawn(LigrLayer(causal_attention(), 8, 16, dropout=0.1, norm_eps=1e-5))
    x = torch.randn(2, 5, 8)
    weight = dict(layer.named_parameters())

    def linear(name, value):
        return functional.linear(value, weight[f"{name}.weight"], weight.get(f"{name}.bias"))

    h = x + torch.sigmoid(linear("mixing_gate", x)) * attended(layer, layer.mixing_norm(x))
    z = layer.norm(h)
    swiglu = linear(
        "network.out", functional.silu(linear("network.gate", z)) * linear("network.up", z)
    )
    expected = h + torch.sigmoid(linear("gate", h)) * swiglu
    torch.testing.assert_close(layer(x, Rows(torch.ones(2, 5), None))[0], expected)


def test_a_layer_that_normalises_before_is_that_of_torch():
    torch.manual_seed(0)
    layer = drawn(
        TransformerLayer(causal_attention(), 8, 16, dropout=0.1, norm_eps=1e-5, norm_first=True)
    )
    x = torch.randn(2, 5, 8)
    h = x + attended(layer, layer.mixing_norm(x))
    z = layer.norm(h)
    expected = h + layer.narrow(functional.gelu(layer.widen(z)))
    torch.testing.assert_close(layer(x, Rows(torch.ones(2, 5), None))[0], expected)


@pytest.mark.parametrize("variant", [{"encoder": "mamba2"}, {"ngrams": (1,)}], ids=str)
def test_what_only_looks_back_does_not_fill_in_masks(variant):
    with pytest.raises(ValueError, match="looks both ways"):
        network("both", variant)


def test_a_folder_gives_the_network_that_it_holds(tmp_path):
    for kind in ("both", "back"):
        model = network(kind, {"layer": "ligr", "ngrams": (1,) if kind == "back" else ()})
        model.save_pretrained(tmp_path / kind)
        loaded = load_model(tmp_path / kind)
        assert type(loaded) is type(model)
        assert loaded.config == model.config
        torch.testing.assert_close(loaded.encode(ROWS), model.encode(ROWS), rtol=0, atol=0)
    (tmp_path / "both/config.json").write_text('{"model": "frcrn"}')
    with pytest.raises(CheckpointError, match="'frcrn', not one of bert4rec, sasrec"):
        load_model(tmp_path / "both")


@pytest.mark.parametrize("kind", ["both", "back"])
def test_an_item_is_its_own_vector_and_those_of_its_values(kind):
    model = network(kind, FEATURES)
    own, of_values = model.item_embedding.weight, model.item_embedding.value_weight
    found = model.item_embedding(torch.tensor([[1, 8], [5, 0]]))
    torch.testing.assert_close(found[0, 0], own[1] + of_values[1])
    torch.testing.assert_close(found[0, 1], own[8] + of_values[1] + of_values[2])
    torch.testing.assert_close(found[1], torch.stack([own[5], torch.zeros(8)]))
    torch.testing.assert_close(model.output_table[8], found[0, 1])


@pytest.mark.parametrize("kind", ["both", "back"])
def test_a_folded_network_is_a_plain_one_with_the_same_scores(kind, tmp_path):
    model, at = network(kind, FEATURES), torch.tensor([7, 5, 0])
    expected = model.score(ROWS, at)
    folded = model.folded()
    assert torch.equal(folded.score(ROWS, at), expected)
    folded.save_pretrained(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.config.n_feature_values == 0
    assert torch.equal(loaded.score(ROWS, at), expected)
    with torch.no_grad():
        folded.item_embedding.weight.add_(1.0)
    assert torch.equal(model.score(ROWS, at), expected)  # it is another network


def test_a_network_with_features_is_saved_with_them(tmp_path):
    model = network("back", FEATURES)
    model.save_pretrained(tmp_path / "model")
    loaded, at = load_model(tmp_path / "model"), torch.tensor([7, 5, 0])
    assert torch.equal(loaded.item_embedding.values, model.item_embedding.values)
    assert torch.equal(loaded.score(ROWS, at), model.score(ROWS, at))
