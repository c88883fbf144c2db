"""The definition of `selective_scan`: a plain loop over the steps."""

import torch
from torch import Tensor


def selective_scan(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Step through time: u and delta (B, T, D), a (D, N), b and c (B, T, N), state (B, D, N)."""
    outputs = []
    steps = zip(u.unbind(1), delta.unbind(1), b.unbind(1), c.unbind(1), strict=True)
    for u_t, delta_t, b_t, c_t in steps:
        added = (delta_t * u_t)[..., :, None] * b_t[..., None, :]
        state = torch.exp(delta_t[..., None] * a) * state + added
        outputs.append(torch.einsum("bdn,bn->bd", state, c_t))
    return (torch.stack(outputs, dim=1) if outputs else u), state
