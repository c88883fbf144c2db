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


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("chunk", [1, 3, 17])
def test_chunks_equal_whole(dtype, bound, chunk):
    x, taps = random(2, 50, 8, dtype=dtype), random(20, 4, 2, dtype=dtype, seed=1)
    whole, whole_state = fir(x, taps)
    state, pieces = x.new_zeros(2, 19, 8), []
    for piece in x.split(chunk, dim=1):
        y, state = fir(piece, taps, state=state)
        pieces.append(y)
    assert (torch.cat(pieces, 1) - whole).abs().max() <= bound * max(1, whole.abs().max())
    assert torch.equal(state, whole_state)


def test_gradients_and_gradients_of_gradients():
    x = random(2, 9, 6).requires_grad_()
    taps = random(3, 3, 2, seed=1).requires_grad_()
    state = random(2, 4, 6, seed=2).requires_grad_()

    def run(x, taps, state):
        return fir(x, taps, dilation=2, right=0, state=state)

    assert torch.autograd.gradcheck(run, (x, taps, state))
    assert torch.autograd.gradgradcheck(run, (x, taps, state))


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


def test_transposed_and_expanded_inputs_equal_contiguous():
    taps = random(4, 5, 1)
    transposed = random(5, 12, 2, seed=1).permute(2, 1, 0)
    expanded = random(1, 12, 5, seed=2).expand(3, 12, 5)
    for x in (transposed, expanded):
        torch.testing.assert_close(fir(x, taps)[0], fir(x.contiguous(), taps)[0], rtol=0, atol=0)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="x has 7 channels"):
        fir(random(1, 5, 7), random(3, 4, 2))
    with pytest.raises(ValueError, match="float32"):
        fir(random(1, 5, 4, dtype=torch.float32), random(3, 4, 1))
    with pytest.raises(ValueError, match="state must be"):
        fir(random(1, 5, 4), random(3, 4, 1), state=random(1, 3, 4))
