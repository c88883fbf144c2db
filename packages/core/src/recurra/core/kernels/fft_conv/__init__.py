"""Convolution with a long impulse response: linear time-invariant layers such as LSSL and LMU."""

from typing import Literal

import torch
from torch import Tensor

from recurra.core.kernels.chunks import accumulation_dtype
from recurra.core.kernels.fft_conv import fast, reference
from recurra.core.kernels.lengths import check_lengths, last_steps, zero_beyond

Backend = Literal["auto", "reference", "fast"]


def fft_conv(
    x: Tensor,
    kernel: Tensor,
    *,
    state: Tensor | None = None,
    lengths: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Convolve each channel causally with its own impulse response.

        y[b, t, c] = sum over k < K of kernel[k, c] x[b, t - k, c]

    kernel[0] meets the newest step, as impulse responses are written (the taps of `fir` lie the
    other way round). The steps before x are zeros, or `state`, so the response ends after K steps
    in streams as in whole rows. It costs O((T + K) log (T + K) C); `fir` is faster for a few taps.

    There is no Triton form, by decision. On a GPU nearly all of the time goes into Fourier
    transforms, O(n log n) and bound by memory, and the maker's library, cuFFT behind `torch.fft`,
    does these better than a kernel of ours would.

    Source: Gu et al. 2021, "Combining Recurrent, Convolutional, and Continuous-time Models" (LSSL,
    arXiv 2110.13985, section 3.1); Chilkuri & Eliasmith 2021, "Parallelizing Legendre Memory Unit
    Training" (arXiv 2102.11417, section 3.2).

    Args:
        x: (B, T, C), any floating dtype; T and B may be 0; any strides.
        kernel: (K, C), any floating dtype, K at least 1.
        state: (B, K - 1, C), the steps before x; None is zeros.
        lengths: (B,) integers from 0 to T: how many steps of each row count. The others change
            nothing: their y and their gradients are zero, even where the inputs are NaN.
        backend: "fast" multiplies spectra, for a single step the K values; "reference" is the plain
            sum; "auto" is "fast".

    Returns:
        y (B, T, C) in the dtype of x, computed in float32 or, where an input is, in float64, and
        the state after each row's last counted step: its last K - 1 steps, in the dtype of x.

    Raises:
        ValueError: shapes that do not fit together, lengths that are no integers.
    """
    if x.dim() != 3 or kernel.dim() != 2 or kernel.shape[0] < 1 or kernel.shape[1] != x.shape[2]:
        raise ValueError(
            "fft_conv takes x (B, T, C) and kernel (K, C) with K >= 1, not "
            f"{tuple(x.shape)} and {tuple(kernel.shape)}"
        )
    span = kernel.shape[0] - 1
    expected = (x.shape[0], span, x.shape[2])
    if state is not None and state.shape != expected:
        raise ValueError(f"state must be (B, K - 1, C) = {expected}, not {tuple(state.shape)}")
    check_lengths(lengths, x)
    (inputs,) = zero_beyond(lengths, x)
    before = x.new_zeros(expected) if state is None else state.to(x.dtype)
    line = torch.cat([before, inputs], dim=1)  # (B, K - 1 + T, C)
    dtype = accumulation_dtype(x, kernel)
    run = reference.convolve if backend == "reference" else fast.convolve
    with torch.autocast(x.device.type, enabled=False):
        y = run(line.to(dtype), kernel.to(dtype))
    return zero_beyond(lengths, y)[0].to(x.dtype), last_steps(line, span, x.shape[1], lengths)
