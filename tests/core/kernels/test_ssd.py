"""`ssd`, `retention` and `gated_linear_attention` give official numbers (`vectors/README.md`)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recurra.core.kernels import gated_linear_attention, retention, ssd
from recurra.core.kernels.ssd import fast

VECTORS = Path(__file__).parent / "vectors"
BACKENDS = pytest.mark.parametrize("backend", ["reference", "fast"])


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_two_steps_worked_by_hand():
    x = torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1)
    b = torch.tensor([3.0, 5.0]).reshape(1, 2, 1, 1)
    c = torch.tensor([1.0, 10.0]).reshape(1, 2, 1, 1)
    log_a = torch.tensor([0.0, 0.5]).log().reshape(1, 2, 1)  # the first step forgets the state
    y, state = ssd(x, log_a, b, c, state=torch.full((1, 1, 1, 1), 7.0))
    assert y.flatten().tolist() == [3.0, 115.0]  # 1 * 3, then (0.5 * 3 + 2 * 5) * 10
    assert state.item() == 11.5


@pytest.mark.parametrize("cached", [1, 2 * 2 * 4 * 4 * 3])
def test_in_pieces_it_is_the_same(cached, monkeypatch):
    monkeypatch.setattr(fast, "_CACHED", cached)  # one chunk of 4 steps a piece, or three
    x, b, c = (torch.randn(2, 26, 2, 3, dtype=torch.float64) for _ in range(3))
    log_a, state = -torch.rand(2, 26, 2, dtype=torch.float64), torch.randn(2, 2, 3, 3).double()
    expected = ssd(x, log_a, b, c, state=state, backend="reference")
    for actual, wanted in zip(ssd(x, log_a, b, c, state=state, chunk=4), expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-12)


@BACKENDS
@pytest.mark.parametrize("chunk", [16, 24, 64])
def test_mamba2_ssd_minimal(backend, chunk):
    t = load_file(VECTORS / "ssd_minimal.safetensors")
    names = ("X_times_dt", "A_times_dt", "B", "C")
    leaves = [t["in." + name].requires_grad_() for name in names]
    options = {"backend": backend, "chunk": chunk}
    y, state = ssd(*leaves, **options)
    assert_close(y, t["out.Y"])
    assert_close(state, t["out.final_state"])
    y.backward(t["in.grad_Y"])
    # The recorded dX and dA are those to X * dt and A * dt.
    for leaf, name in zip(leaves, ("dX", "dA", "dB", "dC"), strict=True):
        assert_close(leaf.grad, t["out." + name])
    y, state = ssd(*leaves, state=t["in.initial_states"][:, 0], **options)
    assert_close(y, t["out.Y_with_init"])
    assert_close(state, t["out.final_state_with_init"])


@BACKENDS
def test_linear_attention_is_no_decay_and_its_norm_a_column_of_ones(backend):
    t = load_file(VECTORS / "linear_attn_recurrent.safetensors")
    q, k, v = t["in.q"] * 8**-0.5, t["in.k"], t["in.v"]
    no_decay = torch.zeros(v.shape[:3])
    y, state = ssd(v, no_decay, k, q, backend=backend)
    assert_close(y, t["out.o"])
    assert_close(state, t["out.final_state"].mT)
    v_and_one = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    y, _ = ssd(v_and_one, no_decay, k.abs(), q.abs(), backend=backend)
    assert_close(y[..., :-1] / y[..., -1:], t["out.o_abs_normalized"])


@BACKENDS
def test_retention(backend):
    t = load_file(VECTORS / "retention_parallel.safetensors")
    q, k, v = (t["in." + name].transpose(1, 2) for name in "qkv")
    y, _ = retention(q * 8**-0.5, k, v, backend=backend)
    assert_close(y, t["out.o"].transpose(1, 2))


def test_retention_decays_by_the_constant_of_the_head():
    ones = torch.ones(1, 2, 3, 1)
    y, _ = retention(ones, ones, ones)
    assert_close(y[0, 1, :, 0], 1 + torch.tensor([31 / 32, 63 / 64, 127 / 128]))
    y, _ = retention(ones, ones, ones, log_gamma=torch.tensor([0.5, 0.0, 1.0]).log())
    assert_close(y[0, 1, :, 0], torch.tensor([1.5, 1.0, 2.0]))


@BACKENDS
@pytest.mark.parametrize("chunk", [1, 8, 20, 64])
def test_gated_linear_attention(backend, chunk):
    t = load_file(VECTORS / "gla_recurrent.safetensors")
    inputs = t["in.q"] * 8**-0.5, t["in.k"], t["in.v"], t["in.gk"]
    options = {"backend": backend, "chunk": chunk}
    y, state = gated_linear_attention(*inputs, **options)
    assert_close(y, t["out.o"])
    assert_close(state, t["out.final_state"].mT)
    y, state = gated_linear_attention(*inputs, state=t["in.initial_state"].mT, **options)
    assert_close(y, t["out.o_with_init"])
    assert_close(state, t["out.final_state_with_init"].mT)


def test_a_decay_equal_in_all_channels_is_ssd():
    q, k, v = (torch.randn(2, 70, 2, 4, dtype=torch.float64) for _ in range(3))
    log_a = -torch.rand(2, 70, 2, dtype=torch.float64)
    actual = gated_linear_attention(q, k, v, log_a[..., None].expand_as(k))
    for a, e in zip(actual, ssd(v, log_a, k, q), strict=True):
        torch.testing.assert_close(a, e, rtol=0, atol=1e-12)


def test_decays_and_groups_that_do_not_fit_are_named():
    x, b = torch.zeros(1, 3, 4, 2), torch.zeros(1, 3, 3, 5)
    with pytest.raises(ValueError, match="3 groups of b and c do not divide 4 heads"):
        ssd(x, torch.zeros(1, 3, 4), b, b)
    with pytest.raises(ValueError, match=r"log_a must be \(B, T, H\) = \(1, 3, 4\)"):
        ssd(x, torch.zeros(4), x, x)
    with pytest.raises(ValueError, match="ssd takes x"):
        ssd(x, torch.zeros(1, 3, 4), x, b)
    with pytest.raises(ValueError, match=r"log_gamma must be \(H,\) = \(4,\), not \(3,\)"):
        retention(x, x, x, log_gamma=torch.zeros(3))
    with pytest.raises(ValueError, match="ssd takes one decay a head"):
        gated_linear_attention(x, x, x, torch.zeros(1, 3, 4))
