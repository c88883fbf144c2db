from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from recurra.core.layers import Mamba2


def inputs(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=[1, 2], ids=["one_group", "two_groups"])
def layer(request):
    torch.manual_seed(0)
    return Mamba2(6, 5, expand=2, head_width=3, groups=request.param).double()


def step_by_step(layer, x):
    """Run the paper's recurrence with PyTorch's own convolution and a loop over heads and steps."""
    n_keys = layer.groups * 5
    z, v_b_c, dt = layer.in_proj(x).split([12, 12 + 2 * n_keys, 4], dim=-1)
    conv = layer.conv1d
    padded = functional.pad(v_b_c.transpose(1, 2), (3, 0))
    filtered = functional.conv1d(padded, conv.weight, conv.bias, groups=conv.weight.shape[0])
    v, b, c = functional.silu(filtered.transpose(1, 2)).split([12, n_keys, n_keys], dim=-1)
    dt = functional.softplus(dt + layer.dt_bias)
    outputs = torch.zeros(x.shape[0], x.shape[1], 12, dtype=x.dtype)
    for head in range(4):
        group = head * layer.groups // 4
        state = torch.zeros(x.shape[0], 3, 5, dtype=x.dtype)
        for t in range(x.shape[1]):
            values = v[:, t, 3 * head : 3 * head + 3]
            key, query = (k[:, t, 5 * group : 5 * group + 5] for k in (b, c))
            step = dt[:, t, head, None, None]
            decay = torch.exp(-step * torch.exp(layer.A_log[head]))
            state = decay * state + step * values[:, :, None] * key[:, None, :]
            read = (state * query[:, None, :]).sum(-1) + layer.D[head] * values
            outputs[:, t, 3 * head : 3 * head + 3] = read
    gated = (outputs * functional.silu(z)).unflatten(-1, (layer.groups, -1))
    normed = gated / (gated.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return layer.out_proj(normed.flatten(2) * layer.norm.weight)


@torch.no_grad()
def test_it_is_the_papers_recurrence(layer):
    layer.D.uniform_(-1, 1)
    layer.norm.weight.uniform_(0.5, 2)
    x = inputs(2, 9, 6)
    torch.testing.assert_close(layer(x)[0], step_by_step(layer, x), rtol=0, atol=1e-12)


def test_official_weights_give_the_official_steps():
    t = load_file(Path(__file__).parent / "vectors" / "mamba2_step.safetensors")
    layer = Mamba2(8, 4, head_width=4)
    layer.load_state_dict({k[2:]: value for k, value in t.items() if k.startswith("w.")})
    y, state = layer(t["in.x"])
    torch.testing.assert_close(y, t["out.y"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state["ssm"], t["out.ssm"], rtol=1e-4, atol=1e-5)


def test_parameters_have_the_official_names_and_shapes():
    layer = Mamba2(64, 16, head_width=32, groups=2)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    assert shapes == {
        "in_proj.weight": (2 * 128 + 2 * 2 * 16 + 4, 64),
        "conv1d.weight": (128 + 2 * 2 * 16, 1, 4),
        "conv1d.bias": (128 + 2 * 2 * 16,),
        "dt_bias": (4,),
        "A_log": (4,),
        "D": (4,),
        "norm.weight": (128,),
        "out_proj.weight": (64, 128),
    }


def test_step_sizes_begin_between_a_thousandth_and_a_tenth():
    steps = functional.softplus(Mamba2(64, 4, head_width=1).dt_bias)
    assert steps.min() >= 0.999e-3
    assert steps.max() <= 0.1001
    assert 0.005 < steps.log().mean().exp() < 0.02  # log-uniform: their middle is 0.01


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
    layer = Mamba2(6, 5, head_width=3)
    x = inputs(2, 40, 6).float()
    expected, _ = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, state = layer(x)
    assert state["ssm"].dtype == torch.float32
    assert (y - expected).abs().max() <= 5e-2 * expected.abs().max()
    y, state = layer.bfloat16()(x.bfloat16())
    assert state["ssm"].dtype == torch.float32
    assert (y - expected).abs().max() <= 5e-2 * expected.abs().max()


def test_heads_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="head_width 5 must divide expand \\* d_model = 12"):
        Mamba2(6, 4, head_width=5)
    with pytest.raises(ValueError, match="groups 3"):
        Mamba2(6, 4, head_width=3, groups=3)
