"""The definition of `gated_linear_attention`: a plain loop over the steps."""

import torch
from torch import Tensor


def gated_linear_attention(
    q: Tensor, k: Tensor, v: Tensor, log_a: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Step through time: q, k and log_a (B, T, H, N), v (B, T, H, P), state (B, H, P, N)."""
    outputs = []
    steps = zip(q.unbind(1), k.unbind(1), v.unbind(1), log_a.exp().unbind(1), strict=True)
    for q_t, k_t, v_t, a_t in steps:
        state = a_t[..., None, :] * state + v_t[..., :, None] * k_t[..., None, :]
        outputs.append(torch.einsum("bhpn,bhn->bhp", state, q_t))
    return (torch.stack(outputs, dim=1) if outputs else v), state
