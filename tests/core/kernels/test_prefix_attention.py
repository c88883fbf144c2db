import math

import pytest
import torch
from torch.nn import functional

from recurra.core.kernels import prefix_attention
from recurra.core.kernels.prefix_attention import fast


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def inputs(steps, rows=2):
    return random(3, 4), random(rows, steps, 3, 4, seed=1), random(rows, steps, 3, 5, seed=2)


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_three_steps_worked_by_hand(backend):
    q, v = torch.ones(1, 1), torch.tensor([6.0, 2.0, 4.0]).reshape(1, 3, 1, 1)
    k = torch.tensor([0.0, math.log(3), math.log(4)]).reshape(1, 3, 1, 1)
    y, state = prefix_attention(q, k, v, backend=backend)
    # 6, (6 + 3 * 2) / 4, (6 + 6 + 4 * 4) / 8; the sums 28 and 8 are relative to the weight 4.
    torch.testing.assert_close(y.flatten(), torch.tensor([6.0, 3.0, 3.5]))
    torch.testing.assert_close(state.flatten(), torch.tensor([7.0, 2.0, math.log(4)]))


@pytest.mark.parametrize("cached", [1, 2 * 3 * 5 * 7])
def test_in_pieces_it_is_the_same(cached, monkeypatch):
    expected = prefix_attention(*inputs(26), backend="reference")
    monkeypatch.setattr(fast, "_CACHED", cached)  # one step a piece, or seven
    for actual, wanted in zip(prefix_attention(*inputs(26)), expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-12)


def test_it_is_causal_attention_with_the_same_query_at_every_step():
    q, k, v = inputs(40)
    tiled = q.expand(2, 40, 3, 4).transpose(1, 2)
    expected = functional.scaled_dot_product_attention(
        tiled, k.transpose(1, 2), v.transpose(1, 2), is_causal=True
    )
    y, _ = prefix_attention(q, k, v)
    torch.testing.assert_close(y, expected.transpose(1, 2), rtol=0, atol=1e-12)
    by_row, _ = prefix_attention(q.expand(2, 3, 4), k, v)
    torch.testing.assert_close(by_row, y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_scores_of_any_size_are_exact_in_float32(size):
    scores = (size * random(1, 4000, 2, 1)).float()
    v = random(1, 4000, 2, 3, seed=1).float()
    y, _ = prefix_attention(torch.ones(2, 1), scores, v, scale=1.0)
    exact, _ = prefix_attention(
        torch.ones(2, 1), scores.double(), v.double(), scale=1.0, backend="reference"
    )
    assert (y - exact).abs().max() <= 2e-6


def test_scores_below_every_exponential_still_count():
    k = torch.tensor([-1e30, -1e30, -2e30]).reshape(1, 3, 1, 1)
    v = torch.tensor([2.0, 4.0, 9.0]).reshape(1, 3, 1, 1)
    for state in (None, torch.zeros(1, 1, 3)):
        y, _ = prefix_attention(torch.ones(1, 1), k, v, state)
        assert y.flatten().tolist() == [2.0, 3.0, 3.0]


def test_masked_steps_are_as_if_they_were_not_there_whatever_they_hold():
    q, k, v = inputs(9, rows=1)
    mask = torch.tensor([[False, True, True, False, False, True, False, True, True]])
    k[~mask], v[~mask] = torch.nan, torch.inf
    q, k, v = (x.requires_grad_() for x in (q, k, v))
    y, state = prefix_attention(q, k, v, mask=mask)
    expected, expected_state = prefix_attention(q, k[:, mask[0]], v[:, mask[0]])
    torch.testing.assert_close(y[:, mask[0]], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, expected_state, rtol=0, atol=1e-12)
    assert not y[:, 0].any()
    torch.testing.assert_close(y[:, 4], y[:, 2], rtol=0, atol=1e-12)
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), (q, k, v)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": torch.ones(1, 5, 3, 4)}, "a query for each step"),
        ({"v": torch.ones(1, 6, 3, 4)}, r"v \(B, T, H, E\)"),
        ({"state": torch.zeros(1, 3, 5)}, r"state must be \(B, H, E \+ 2\) = \(1, 3, 6\)"),
        ({"mask": torch.ones(1, 5)}, "booleans"),
        ({"lengths": torch.ones(1)}, "lengths must be"),
        ({"k": torch.ones(1, 5, 3, 4, dtype=torch.int64)}, "k is torch.int64"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, message):
    x = torch.ones(1, 5, 3, 4)
    with pytest.raises(ValueError, match=message):
        prefix_attention(**{"q": torch.ones(3, 4), "k": x, "v": x, **change})
