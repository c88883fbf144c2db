"""The definition of `linear_scan`: a plain loop over the steps."""

import torch
from torch import Tensor


def scan(a: Tensor, b: Tensor, h0: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """Run h = a * h + b over axis 1 from h0: a (1 or B, T, ...), b (B, T, ...), h0 (B, ...)."""
    steps = list(zip(a.unbind(1), b.unbind(1), strict=True))
    h, states = h0, []
    for a_t, b_t in reversed(steps) if reverse else steps:
        h = a_t * h + b_t
        states.append(h)
    if not states:
        return b, h0.clone()
    return torch.stack(states[::-1] if reverse else states, dim=1), h
