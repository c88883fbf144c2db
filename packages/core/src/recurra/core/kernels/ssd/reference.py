"""The definition of `ssd`: a plain loop over the steps."""

import torch
from torch import Tensor


def ssd(x: Tensor, log_a: Tensor, b: Tensor, c: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Step through time: x (B, T, H, P), log_a (B, T, H), b and c (B, T, G, N)."""
    heads_per_group = x.shape[2] // b.shape[2]
    b, c = (z.repeat_interleave(heads_per_group, dim=2) for z in (b, c))  # (B, T, H, N)
    outputs = []
    steps = zip(x.unbind(1), log_a.exp().unbind(1), b.unbind(1), c.unbind(1), strict=True)
    for x_t, a_t, b_t, c_t in steps:
        state = a_t[..., None, None] * state + x_t[..., :, None] * b_t[..., None, :]
        outputs.append(torch.einsum("bhpn,bhn->bhp", state, c_t))
    return (torch.stack(outputs, dim=1) if outputs else x), state
