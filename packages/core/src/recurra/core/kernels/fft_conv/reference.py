"""The definition of `fft_conv`: a plain sum over the kernel."""

import torch
from torch import Tensor


def convolve(line: Tensor, kernel: Tensor) -> Tensor:
    """Convolve line (B, K - 1 + T, C) with kernel (K, C) where all of it is met: (B, T, C)."""
    span = kernel.shape[0] - 1
    n_steps = line.shape[1] - span
    terms = [line[:, span - k : span - k + n_steps] * tap for k, tap in enumerate(kernel.unbind())]
    return torch.stack(terms).sum(0)
