"""The definition of `fir`: a plain sum over the taps."""

import torch
from torch import Tensor


def fir_valid(x: Tensor, taps: Tensor, dilation: int) -> Tensor:
    """Filter where every tap meets a frame: x (B, S, C * m), taps (K, C, m) -> (B, S - span, C)."""
    n_taps, channels, group = taps.shape
    n_frames = x.shape[1] - (n_taps - 1) * dilation
    grouped = x.reshape(x.shape[0], x.shape[1], channels, group)  # (B, S, C, m)
    y = x.new_zeros(x.shape[0], n_frames, channels)
    for k in range(n_taps):
        frames = grouped[:, k * dilation : k * dilation + n_frames]  # (B, T, C, m)
        y = y + torch.einsum("btcm,cm->btc", frames, taps[k])
    return y
