"""`selective_scan` gives Mamba's official numbers (`vectors/README.md`)."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from recurra.core.kernels import selective_scan

VECTORS = Path(__file__).parent / "vectors"


@pytest.fixture
def pieces_of_eight_steps(monkeypatch):
    monkeypatch.setattr(import_module("recurra.core.kernels.selective_scan.fast"), "_PIECE", 8)


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def inputs(batch, steps, width=3, keys=2):
    u, b, c = random(batch, steps, width), random(batch, steps, keys), random(batch, steps, keys)
    delta = random(batch, steps, width, seed=1).sigmoid()
    return [u, delta, -random(width, keys, seed=2).abs(), b, c.flip(1), random(width, seed=3)]


def test_two_steps_worked_by_hand():
    u, delta = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [0.5]]])
    a = torch.tensor([[-2.0]])
    b, c = torch.tensor([[[1.0], [4.0]]]), torch.tensor([[[1.0], [10.0]]])
    y, state = selective_scan(u, delta, a, b, c, torch.tensor([7.0]))
    second = 3 * torch.tensor(-1.0).exp() + 0.5 * 4 * 2  # 3 decays by exp(.5 * -2)
    assert_close(y.flatten(), torch.stack([torch.tensor(10.0), 10 * second + 14]))
    assert_close(state.flatten(), second.reshape(1))


@pytest.mark.usefixtures("pieces_of_eight_steps")
@pytest.mark.parametrize("backend", ["reference", "fast"])
def test_mambas_selective_scan_ref(backend):
    t = load_file(VECTORS / "selective_scan_ref.safetensors")
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    leaves = {name: t["in." + name].requires_grad_() for name in names}

    def in_time(name):  # recorded as (B, channels, T)
        return leaves[name].mT

    delta = functional.softplus(in_time("delta") + leaves["delta_bias"])
    y, state = selective_scan(
        in_time("u"),
        delta,
        leaves["A"],
        in_time("B"),
        in_time("C"),
        leaves["D"],
        backend=backend,
    )
    out = (y * functional.silu(in_time("z"))).mT
    assert_close(out, t["out.out"])
    assert_close(state, t["out.last_state"])
    out.backward(t["in.grad_out"])
    for name in names:
        assert_close(leaves[name].grad, t["out.d_" + name])
    plain, _ = selective_scan(
        in_time("u"),
        t["in.delta_plain"].mT,
        leaves["A"],
        in_time("B"),
        in_time("C"),
        backend=backend,
    )
    assert_close(plain.mT, t["out.out_plain"])


@pytest.mark.usefixtures("pieces_of_eight_steps")
@pytest.mark.parametrize("steps", [0, 1, 7, 8, 9, 30])
def test_pieces_of_time_equal_the_reference(steps):
    state = random(2, 3, 2, seed=4)
    actual = selective_scan(*inputs(2, steps), state=state)
    expected = selective_scan(*inputs(2, steps), state=state, backend="reference")
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("pieces_of_eight_steps")
def test_rows_that_end_in_different_pieces_equal_the_rows_alone():
    given, state, lengths = inputs(4, 20), random(4, 3, 2, seed=4), torch.tensor([20, 9, 1, 0])
    for z in (given[0], given[1], given[3], given[4]):
        for row, length in enumerate(lengths.tolist()):
            z[row, length:] = torch.nan
    y, last = selective_scan(*given, state=state, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = [z[row : row + 1, :length] if z.dim() == 3 else z for z in given]
        expected, expected_last = selective_scan(*alone, state=state[row : row + 1])
        torch.testing.assert_close(y[row, :length], expected[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(last[row], expected_last[0], rtol=0, atol=1e-12)
        assert not y[row, length:].any()


def test_a_gradient_that_is_nan_in_the_padding_reaches_nothing():
    leaves = [z.requires_grad_() for z in inputs(2, 5)]
    y, _ = selective_scan(*leaves, lengths=torch.tensor([3, 0]))
    gradient = torch.full_like(y, torch.nan)
    gradient[0, :3] = 1
    assert all(g.isfinite().all() for g in torch.autograd.grad(y, leaves, gradient))


def test_a_step_so_large_that_the_state_is_forgotten_has_finite_gradients():
    given = [z.float() for z in inputs(1, 20)]
    given[1][:, ::5] = 1e5
    leaves = [z.requires_grad_() for z in given]
    y, state = selective_scan(*leaves)
    (y.sum() + state.sum()).backward()
    assert all(z.isfinite().all() for z in (y, state, *(leaf.grad for leaf in leaves)))


def test_autocast_does_not_lower_the_precision():
    given = [z.float() for z in inputs(1, 70)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = selective_scan(*given)
    expected, expected_state = selective_scan(*given)
    assert torch.equal(y, expected)
    assert torch.equal(state, expected_state)


def test_shapes_that_do_not_fit_are_named():
    u, delta, a, b, c, d = inputs(2, 4)
    with pytest.raises(ValueError, match="u and delta must be"):
        selective_scan(u, delta[:1], a, b, c, d)
    with pytest.raises(ValueError, match=r"a must be \(D, N\) with D = 3, not \(2, 3\)"):
        selective_scan(u, delta, a.mT, b, c, d)
    with pytest.raises(ValueError, match=r"b and c must be \(B, T, N\) = \(2, 4, 2\)"):
        selective_scan(u, delta, a, b[..., :1], c, d)
    with pytest.raises(ValueError, match=r"d must be \(D,\) = \(3,\)"):
        selective_scan(u, delta, a, b, c, d[:1])
    with pytest.raises(ValueError, match=r"state must be \(B, D, N\) = \(2, 3, 2\)"):
        selective_scan(u, delta, a, b, c, d, state=random(2, 2, 3))
    with pytest.raises(ValueError, match="lengths must be"):
        selective_scan(u, delta, a, b, c, d, lengths=torch.tensor([1]))
