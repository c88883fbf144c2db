import pytest
import torch
from torch.nn import functional

from recurra.core.layers import GatedDeltaNet


def inputs(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return GatedDeltaNet(6, heads=2, head_width=3).double()


def filtered(x, projection, conv):
    """Project and filter with PyTorch's own convolution, then silu, in two heads."""
    padded = functional.pad(projection(x).transpose(1, 2), (3, 0))
    y = functional.conv1d(padded, conv.weight, groups=conv.weight.shape[0]).transpose(1, 2)
    return functional.silu(y).unflatten(-1, (2, -1))


def step_by_step(layer, x):
    """Run the paper's S_t = S_{t-1} a (I - beta k k^T) + beta v k^T head by head."""
    q = filtered(x, layer.q_proj, layer.q_conv1d)
    k = filtered(x, layer.k_proj, layer.k_conv1d)
    v = filtered(x, layer.v_proj, layer.v_conv1d)
    q, k = (z / (z.square().sum(-1, keepdim=True) + 1e-6).sqrt() for z in (q, k))
    beta = torch.sigmoid(layer.b_proj(x))
    a = torch.exp(-layer.A_log.exp() * functional.softplus(layer.a_proj(x) + layer.dt_bias))
    rows = []
    for row in range(x.shape[0]):
        heads = []
        for h in range(2):
            state, outputs = torch.zeros(6, 3, dtype=x.dtype), []
            for t in range(x.shape[1]):
                key, rate = k[row, t, h], beta[row, t, h]
                erase = torch.eye(3, dtype=x.dtype) - rate * torch.outer(key, key)
                state = a[row, t, h] * state @ erase + rate * torch.outer(v[row, t, h], key)
                outputs.append(state @ q[row, t, h] / 3**0.5)
            heads.append(torch.stack(outputs))
        rows.append(torch.stack(heads, dim=1))
    y = torch.stack(rows)  # (B, T, H, 6)
    y = y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.o_norm.weight
    return layer.o_proj(y.flatten(2) * functional.silu(layer.g_proj(x)))


@torch.no_grad()
def test_it_is_the_papers_recurrence(layer):
    layer.o_norm.weight.uniform_(0.5, 2)
    layer.A_log.fill_(0.0)  # decays from .5 to 1, so that the state is more than the last step
    x = inputs(2, 9, 6)
    torch.testing.assert_close(layer(x)[0], step_by_step(layer, x), rtol=0, atol=1e-12)


def test_parameters_have_the_official_names_and_shapes():
    layer = GatedDeltaNet(64, heads=4, head_width=8)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    assert shapes == {
        "q_proj.weight": (32, 64),
        "k_proj.weight": (32, 64),
        "v_proj.weight": (64, 64),
        "a_proj.weight": (4, 64),
        "b_proj.weight": (4, 64),
        "A_log": (4,),
        "dt_bias": (4,),
        "q_conv1d.weight": (32, 1, 4),
        "k_conv1d.weight": (32, 1, 4),
        "v_conv1d.weight": (64, 1, 4),
        "g_proj.weight": (64, 64),
        "o_norm.weight": (16,),
        "o_proj.weight": (64, 64),
    }


@pytest.mark.parametrize("chunk", [1, 4, 30, 70])
def test_steps_and_chunks_equal_whole(layer, chunk):
    x = inputs(2, 70, 6)
    whole, whole_state = layer(x)
    state, pieces = layer.initial_state(x), []
    for piece in x.split(chunk, dim=1):
        y, state = layer(piece, state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-12)
    for name, value in whole_state.items():
        torch.testing.assert_close(state[name], value, rtol=0, atol=1e-12)
    assert sum(value[0].numel() for value in state.values()) == layer.state_size()


def test_a_padded_row_equals_the_row_alone(layer):
    x = inputs(4, 12, 6)
    lengths = torch.tensor([12, 7, 1, 0])
    _, before = layer(inputs(4, 5, 6))
    for row, length in enumerate(lengths.tolist()):
        x[row, length:] = torch.nan
    x.requires_grad_()
    y, state = layer(x, before, lengths)
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    for row, length in enumerate(lengths.tolist()):
        alone = {name: value[row : row + 1] for name, value in before.items()}
        expected, expected_state = layer(x[row : row + 1, :length], alone)
        torch.testing.assert_close(y[row, :length], expected[0], rtol=0, atol=1e-12)
        assert not y[row, length:].any()
        assert not gradient[row, length:].any()
        for name, value in expected_state.items():
            torch.testing.assert_close(state[name][row], value[0], rtol=0, atol=1e-12)


def test_future_steps_do_not_change_past_output(layer):
    x = inputs(1, 20, 6)
    changed = x.clone()
    changed[:, 10:] += 1
    difference = (layer(x)[0] - layer(changed)[0]).abs().amax(dim=(0, 2))
    assert difference[:10].max() == 0
    assert difference[10] > 0


def test_bfloat16_keeps_the_state_in_float32():
    torch.manual_seed(0)
    layer = GatedDeltaNet(6, heads=2, head_width=3)
    x = inputs(2, 40, 6).float()
    expected, _ = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, state = layer(x)
    assert state["memory"].dtype == torch.float32
    assert (y - expected).abs().max() <= 5e-2 * expected.abs().max()
    y, state = layer.bfloat16()(x.bfloat16())
    assert state["memory"].dtype == torch.float32
    assert (y - expected).abs().max() <= 5e-2 * expected.abs().max()


def test_an_input_of_zeros_has_finite_gradients(layer):
    x = torch.zeros(1, 5, 6, dtype=torch.float64, requires_grad=True)
    layer(x)[0].sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())
