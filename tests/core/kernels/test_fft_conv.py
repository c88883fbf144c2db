import numpy as np
import pytest
import torch
from torch.nn import functional

from recurra.core.kernels import fft_conv, fir, linear_scan


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_two_steps_worked_by_hand():
    x = torch.tensor([[[1.0], [2.0], [4.0]]])
    y, state = fft_conv(x, torch.tensor([[1.0], [10.0]]))  # current + 10 * previous
    torch.testing.assert_close(y.flatten(), torch.tensor([1.0, 12.0, 24.0]))
    assert state.flatten().tolist() == [4.0]


@pytest.mark.parametrize("n_kernel", [1, 2, 100, 701])
def test_it_is_numpys_convolution_also_where_the_kernel_is_longer_than_the_row(n_kernel):
    x, kernel = random(2, 300, 3), random(n_kernel, 3, seed=1)
    y, _ = fft_conv(x, kernel)
    for row in range(2):
        for c in range(3):
            expected = np.convolve(x[row, :, c], kernel[:, c])[:300]
            np.testing.assert_allclose(y[row, :, c], expected, rtol=0, atol=1e-10)


def test_its_kernel_is_the_taps_of_fir_the_other_way_round():
    x, kernel = random(2, 50, 3), random(7, 3, seed=1)
    expected, _ = fir(x, kernel.flip(0).unsqueeze(2))
    torch.testing.assert_close(fft_conv(x, kernel)[0], expected, rtol=0, atol=1e-12)


def test_a_state_space_run_by_its_impulse_response_is_the_recurrence():
    decay = torch.tensor([0.9, 0.5, -0.7]).double()
    x = random(1, 400, 3)
    response = decay ** torch.arange(400)[:, None]  # (K, C)
    expected, _ = linear_scan(decay, x)
    torch.testing.assert_close(fft_conv(x, response)[0], expected, rtol=0, atol=1e-12)


def test_float32_rounds_little_over_long_rows():
    x, kernel = random(1, 5000, 2, dtype=torch.float32), random(3000, 2, dtype=torch.float32)
    kernel = functional.normalize(kernel, dim=0)
    exact, _ = fft_conv(x.double(), kernel.double())
    torch.testing.assert_close(fft_conv(x, kernel)[0].double(), exact, rtol=0, atol=1e-5)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"kernel \(K, C\) with K >= 1"):
        fft_conv(random(1, 5, 3), random(2, 4))
    with pytest.raises(ValueError, match="state must be"):
        fft_conv(random(1, 5, 3), random(2, 3), state=random(1, 2, 3))
