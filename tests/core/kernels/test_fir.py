from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from recurra.core.kernels import fir


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_two_taps_worked_by_hand():
    x = torch.tensor([[[1.0], [2.0], [4.0]]])
    taps = torch.tensor([[[10.0]], [[1.0]]])  # 10 * previous + current
    y, state = fir(x, taps)
    assert y.flatten().tolist() == [1.0, 12.0, 24.0]
    assert state.flatten().tolist() == [4.0]


def test_symmetric_grouped_dilated_equals_torch_conv1d():
    x, taps = random(2, 31, 6), random(5, 3, 2, seed=1)
    y, _ = fir(x, taps, dilation=2, left=4, right=4)
    kernel = taps.permute(1, 2, 0)  # (C, m, K)
    expected = functional.conv1d(x.transpose(1, 2), kernel, padding=4, dilation=2, groups=3)
    torch.testing.assert_close(y, expected.transpose(1, 2), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    frames=st.integers(0, 40),
    batch=st.integers(0, 3),
    n_taps=st.integers(1, 6),
    channels=st.sampled_from([1, 5, 24]),
    group=st.integers(1, 2),
    dilation=st.integers(1, 3),
    data=st.data(),
)
def test_fast_equals_reference(frames, batch, n_taps, channels, group, dilation, data):
    span = (n_taps - 1) * dilation
    right = data.draw(st.integers(0, span))
    x, taps = random(batch, frames, channels * group), random(n_taps, channels, group, seed=1)
    options = {"dilation": dilation, "right": right}
    y, state = fir(x, taps, **options)
    expected, expected_state = fir(x, taps, **options, backend="reference")
    assert y.shape == (batch, frames, channels)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    assert torch.equal(state, expected_state)


@pytest.mark.parametrize("size", [1, 60, 400, 10_000])
def test_gradients_of_long_inputs_are_summed_over_pieces(size, monkeypatch):
    monkeypatch.setattr(import_module("recurra.core.kernels.fir.fast"), "_CACHED", size)
    x, taps = random(3, 50, 4), random(5, 4, 1, seed=1)
    gradients = []
    for backend in ("fast", "reference"):
        leaf = taps.clone().requires_grad_()
        y, _ = fir(x, leaf, dilation=2, backend=backend)
        gradients += torch.autograd.grad((y * random(3, 50, 4, seed=2)).sum(), leaf)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("left", [0, 1, 4, 9])
@pytest.mark.parametrize("right", [0, 3])
def test_a_row_gives_what_it_would_give_cut_to_its_length(left, right):
    lengths = torch.tensor([11, 0, 4, 7])
    x, taps = random(4, 11, 6), random(3, 3, 2, seed=1)
    state = random(4, left, 6, seed=2)
    spoilt = x.clone()
    for row, length in enumerate(lengths):
        spoilt[row, length:] = torch.nan
    spoilt.requires_grad_()
    options = {"dilation": 2, "left": left, "right": right}
    y, last = fir(spoilt, taps, **options, state=state, lengths=lengths)
    for row, length in enumerate(lengths):
        count = max(0, int(length) + left + right - 4)
        assert torch.equal(y[row, count:], torch.zeros_like(y[row, count:]))
        if int(length) + left + right >= 4:
            rows = slice(row, row + 1)
            alone = fir(x[rows, :length], taps, **options, state=state[rows])
            torch.testing.assert_close(y[rows, :count], alone[0], rtol=0, atol=1e-12)
            assert torch.equal(last[rows], alone[1])
    (gradient,) = torch.autograd.grad(y.sum() + last.sum(), spoilt)
    assert gradient.isfinite().all()
    assert all(not gradient[row, length:].any() for row, length in enumerate(lengths))


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="x has 7 channels"):
        fir(random(1, 5, 7), random(3, 4, 2))
    with pytest.raises(ValueError, match="float32"):
        fir(random(1, 5, 4, dtype=torch.float32), random(3, 4, 1))
    with pytest.raises(ValueError, match="state must be"):
        fir(random(1, 5, 4), random(3, 4, 1), state=random(1, 3, 4))
