"""`delta_rule` gives the official numbers (`vectors/README.md`) and the papers' special cases."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from recurra.core.kernels import delta_rule, ssd

VECTORS = Path(__file__).parent / "vectors"


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backend", ["reference", "fast"])
@pytest.mark.parametrize("chunk", [16, 24, 64])
def test_deltanet(backend, chunk):
    t = load_file(VECTORS / "delta_rule.safetensors")
    leaves = [t["in." + name].requires_grad_() for name in ("q", "k", "v", "beta")]
    options = {"backend": backend, "chunk": chunk}

    def run(state=None):
        q, k, v, beta = (z.transpose(1, 2) for z in leaves)  # recorded as (B, H, T, .)
        y, last = delta_rule(q * 8**-0.5, k, v, beta, state=state, **options)
        return y.transpose(1, 2), last.mT

    y, state = run()
    assert_close(y, t["out.o"])
    assert_close(state, t["out.final_state"])
    y.backward(t["in.grad_o"])
    for leaf, name in zip(leaves, ("dq", "dk", "dv", "dbeta"), strict=True):
        assert_close(leaf.grad, t["out." + name])
    y, state = run(t["in.initial_state"].mT)
    assert_close(y, t["out.o_with_init"])
    assert_close(state, t["out.final_state_with_init"])


@pytest.mark.parametrize("backend", ["reference", "fast"])
@pytest.mark.parametrize("chunk", [16, 24, 64])
def test_gated_deltanet(backend, chunk):
    t = load_file(VECTORS / "gated_delta_rule.safetensors")
    leaves = [t["in." + name].requires_grad_() for name in ("q", "k", "v", "beta", "g")]

    def run(state=None):
        q, k, v, beta, log_a = leaves
        options = {"log_a": log_a, "state": state, "backend": backend, "chunk": chunk}
        y, last = delta_rule(q * 8**-0.5, k, v, beta, **options)
        return y, last.mT

    y, state = run()
    assert_close(y, t["out.o"])
    assert_close(state, t["out.final_state"])
    y.backward(t["in.grad_o"])
    for leaf, name in zip(leaves, ("dq", "dk", "dv", "dbeta", "dg"), strict=True):
        assert_close(leaf.grad, t["out." + name])
    y, state = run(t["in.initial_state"].mT)
    assert_close(y, t["out.o_with_init"])
    assert_close(state, t["out.final_state_with_init"])


def test_a_full_step_on_a_unit_key_stores_its_value_exactly():
    k = functional.normalize(random(1, 70, 2, 8), dim=-1)
    v = random(1, 70, 2, 5, seed=1)
    y, _ = delta_rule(k, k, v, torch.ones(1, 70, 2, dtype=torch.float64))
    torch.testing.assert_close(y, v, rtol=0, atol=1e-12)


def test_orthogonal_keys_make_it_linear_attention():
    k = torch.eye(8, dtype=torch.float64).reshape(1, 8, 1, 8)
    q, v, log_a = random(1, 8, 1, 8), random(1, 8, 1, 5, seed=1), -random(1, 8, 1, seed=2).abs()
    actual = delta_rule(q, k, v, torch.ones(1, 8, 1, dtype=torch.float64), log_a=log_a)
    for a, e in zip(actual, ssd(v, log_a, k, q), strict=True):
        torch.testing.assert_close(a, e, rtol=0, atol=1e-12)


def test_no_decay_is_a_decay_of_one():
    q, k, v = random(2, 70, 2, 4), random(2, 70, 2, 4, seed=1) / 4, random(2, 70, 2, 3, seed=2)
    beta = random(2, 70, 2, seed=3).sigmoid()
    plain = delta_rule(q, k, v, beta)
    gated = delta_rule(q, k, v, beta, log_a=torch.zeros_like(beta))
    assert all(torch.equal(a, b) for a, b in zip(plain, gated, strict=True))


def test_the_decay_comes_before_the_correction():
    one = torch.ones(1, 1, 1, 1)
    _, state = delta_rule(
        one,
        one,
        torch.zeros_like(one),
        torch.full((1, 1, 1), 0.5),
        log_a=torch.full((1, 1, 1), 0.25).log(),
        state=torch.full((1, 1, 1, 1), 8.0),
    )
    assert state.item() == 1.0  # 8 decays to 2, and half of the error 0 - 2 is corrected


def test_rates_that_do_not_fit_are_named():
    q = torch.zeros(1, 3, 2, 4)
    with pytest.raises(ValueError, match=r"beta and log_a must be \(B, T, H\) = \(1, 3, 2\)"):
        delta_rule(q, q, q, torch.zeros(1, 3, 2, 1))
    with pytest.raises(ValueError, match="q and k must be"):
        delta_rule(q, q[..., :3], q, torch.zeros(1, 3, 2))
