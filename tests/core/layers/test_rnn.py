import pytest
import torch
from torch import nn

from recurra.core.layers import RNN

TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "elman": nn.RNN}
# The first three are torch's modules, the others run on flashrnn.
KINDS = {
    "lstm": {},
    "gru_two_layers": {"cell": "gru", "n_layers": 2},
    "elman": {"cell": "elman"},
    "lstm_heads_two_layers": {"n_heads": 2, "n_layers": 2},
    "gru_heads": {"cell": "gru", "n_heads": 3},
    "elman_heads": {"cell": "elman", "n_heads": 2},
    "slstm": {"cell": "slstm", "n_heads": 2},
    "lstm_peephole": {"peephole": True},
}


@pytest.fixture(params=KINDS, ids=str)
def layer(request):
    torch.manual_seed(0)
    return RNN(5, 6, **KINDS[request.param]).double()


def random(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def near(found, expected, bound=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=bound)


def torch_twin(layer, d_in):
    """Return torch's module with the layer's numbers: heads become blocks on the diagonal."""
    twin = TORCH[layer.cell](
        d_in,
        layer.d_hidden,
        layer.n_layers,
        batch_first=True,
        bidirectional=len(layer.directions) == 2,
    ).double()
    width = layer.d_hidden // layer.n_heads
    numbers = layer.weights.state_dict()
    for name, value in numbers.items():
        if name.startswith("weight_hh"):
            blocks = value.unflatten(0, (-1, layer.n_heads, width))  # (G, H, D, D)
            whole = torch.cat([torch.block_diag(*gate) for gate in blocks])
            numbers[name] = whole
    twin.load_state_dict({name: x for name, x in numbers.items() if "peephole" not in name})
    return twin


# Against torch


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_heads_are_torch_with_a_block_diagonal_matrix(cell, bidirectional):
    layer = RNN(5, 6, cell=cell, n_heads=2, n_layers=2, bidirectional=bidirectional).double()
    twin = torch_twin(layer, 5)
    x, lengths = random(3, 7, 5), torch.tensor([7, 2, 5])
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    twin_y, twin_state = twin(packed)
    twin_y, _ = nn.utils.rnn.pad_packed_sequence(twin_y, batch_first=True)
    y, state = layer(x, lengths=lengths)
    near(y, twin_y)
    twin_states = twin_state if isinstance(twin_state, tuple) else (twin_state,)
    for value, expected in zip(state.values(), twin_states, strict=True):
        near(value.flatten(2).transpose(0, 1), expected)
    ours = torch.autograd.grad(y.square().sum(), layer.weights.weight_ih_l0)
    theirs = torch.autograd.grad(twin_y.square().sum(), twin.weight_ih_l0)
    near(ours[0], theirs[0], 1e-11)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_a_state_dict_of_torch_loads_and_gives_the_same_numbers(cell, bidirectional):
    theirs = TORCH[cell](5, 6, 2, batch_first=True, bidirectional=bidirectional)
    layer = RNN(5, 6, cell=cell, n_layers=2, bidirectional=bidirectional)
    layer.weights.load_state_dict(theirs.state_dict())
    x = random(3, 7, 5).float()
    assert torch.equal(layer(x)[0], theirs(x)[0])


def test_peepholes_of_zero_are_no_peepholes_and_load_from_torch_too():
    theirs = nn.LSTM(5, 6, batch_first=True).double()
    layer = RNN(5, 6, peephole=True).double()
    missing = layer.weights.load_state_dict(theirs.state_dict(), strict=False)
    assert missing.missing_keys == ["peephole_l0"]
    nn.init.zeros_(layer.weights.peephole_l0)
    x = random(2, 9, 5)
    near(layer(x)[0], theirs(x)[0])


def test_peepholes_equal_a_loop_written_out():
    layer = RNN(3, 4, peephole=True).double()
    x = random(2, 5, 3)
    w = layer.weights
    p_i, p_f, p_o = w.peephole_l0.squeeze(1)
    h = c = x.new_zeros(2, 4)
    outputs = []
    for t in range(5):
        gates = x[:, t] @ w.weight_ih_l0.T + w.bias_ih_l0 + h @ w.weight_hh_l0.T + w.bias_hh_l0
        i, f, z, o = gates.chunk(4, dim=1)
        c_new = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(z)
        h = torch.sigmoid(o + p_o * c_new) * torch.tanh(c_new)
        c = c_new
        outputs.append(h)
    expected = torch.stack(outputs, dim=1)
    y, state = layer(x)
    near(y, expected)
    near(state["c"].flatten(1), c)
    parameters = list(layer.parameters())
    ours = torch.autograd.grad(y.square().sum(), parameters)
    theirs = torch.autograd.grad(expected.square().sum(), parameters)
    for a, b in zip(ours, theirs, strict=True):
        near(a, b)


# The streaming contract


@pytest.mark.parametrize("chunk", [1, 4])
def test_steps_and_chunks_equal_whole(layer, chunk):
    x = random(2, 13, 5)
    whole, whole_state = layer(x)
    state, pieces = layer.initial_state(x), []
    for piece in x.split(chunk, dim=1):
        y, state = layer(piece, state)
        pieces.append(y)
    near(torch.cat(pieces, dim=1), whole)
    assert sum(value[0].numel() for value in state.values()) == layer.state_size()
    for name, value in whole_state.items():
        near(state[name], value)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_row_equals_the_row_alone_whatever_the_padding_holds(kind, bidirectional):
    layer = RNN(5, 6, **KINDS[kind], bidirectional=bidirectional).double()
    x = random(4, 7, 5)
    lengths = torch.tensor([4, 0, 7, 1])
    padding = torch.arange(7) >= lengths[:, None]
    x[padding] = torch.nan
    x.requires_grad_()
    _, start = layer(random(4, 3, 5, seed=2))
    y, state = layer(x, start, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        before = {name: value[row : row + 1] for name, value in start.items()}
        alone, alone_state = layer(x[row : row + 1, :length], before)
        near(y[row : row + 1, :length], alone)
        for name, value in alone_state.items():
            near(state[name][row : row + 1], value)
    assert not y[padding].any()
    (y.sum() + sum(value.sum() for value in state.values())).backward()
    assert not x.grad[padding].any()
    assert all(p.grad.isfinite().all() for p in [x, *layer.parameters()])


@pytest.mark.parametrize("shape", [(0, 7, 5), (3, 0, 5), (0, 0, 5)])
def test_no_rows_and_no_steps_leave_the_state_as_it_is(layer, shape):
    x = torch.zeros(shape, dtype=torch.float64)
    for lengths in (None, torch.zeros(shape[0], dtype=torch.int64)):
        _, start = layer(random(shape[0], 2, 5)) if shape[0] else (None, layer.initial_state(x))
        y, state = layer(x, start, lengths=lengths)
        assert y.shape == (*shape[:2], 6)
        assert all(torch.equal(state[name], start[name]) for name in start)


def test_the_state_is_not_changed_in_place(layer):
    x = random(2, 8, 5)
    _, state = layer(x)
    kept = {name: value.clone() for name, value in state.items()}
    layer(x, state)
    assert all(torch.equal(state[name], kept[name]) for name in kept)


def test_future_steps_do_not_change_past_output_but_in_two_directions_they_do():
    x = random(1, 6, 5)
    changed = torch.cat([x[:, :4], x[:, 4:] + 1], dim=1)
    for kind in KINDS.values():
        layer = RNN(5, 6, **kind).double()
        assert layer.causal
        assert layer.streams
        near(layer(x)[0][:, :4], layer(changed)[0][:, :4], 0)
    both = RNN(5, 6, bidirectional=True).double()
    assert not both.causal
    assert not both.streams
    assert (both(x)[0] - both(changed)[0])[:, :4, 6:].abs().min() > 0


def test_gradients_reach_parameters_given_from_outside(layer):
    x = random(2, 4, 5)
    given = {name: (2 * p.detach()).requires_grad_() for name, p in layer.named_parameters()}
    y, _ = torch.func.functional_call(layer, given, (x,))
    found = torch.autograd.grad(y.square().sum(), list(given.values()))
    layer.load_state_dict(given)
    expected = torch.autograd.grad(layer(x)[0].square().sum(), list(layer.parameters()))
    for a, b in zip(found, expected, strict=True):
        near(a, b)


# Precision, errors


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_float32_in_bfloat16_and_under_autocast(kind):
    layer = RNN(5, 6, **KINDS[kind])
    x = random(2, 4, 5).float()
    exact, _ = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, state = layer(x)
        y, state = layer(x.bfloat16(), layer.initial_state(x))
    assert y.dtype == torch.bfloat16
    low, low_state = layer.bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    assert {value.dtype for value in [*state.values(), *low_state.values()]} == {torch.float32}
    near(low.float(), exact, 0.03)


def test_a_step_exports_and_gives_the_same_numbers():
    class Step(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x, state):
            return self.layer(x, state)

    layer = RNN(5, 6, cell="slstm", n_heads=2)
    x = random(2, 1, 5).float()
    _, state = layer(x)
    y, after = torch.export.export(Step(layer), (x, state)).module()(x, state)
    expected, expected_after = layer(x, state)
    near(y, expected, 1e-6)
    for name, value in expected_after.items():
        near(after[name], value, 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "qrnn"}, "cell must be one of lstm, gru, slstm, elman, not 'qrnn'"),
        ({"n_heads": 4}, "d_hidden 6 does not divide into 4 heads"),
        ({"cell": "gru", "peephole": True}, "only the lstm has peepholes, not the gru"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RNN(5, 6, **options)
