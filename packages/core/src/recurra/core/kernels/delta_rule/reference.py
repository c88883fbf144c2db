"""The definition of `delta_rule`: a plain loop over the steps."""

import torch
from torch import Tensor


def delta_rule(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_a: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Step through time: q and k (B, T, H, N), v (B, T, H, P), beta and log_a (B, T, H)."""
    outputs = []
    steps = zip(*(z.unbind(1) for z in (q, k, v, beta, log_a.exp())), strict=True)
    for q_t, k_t, v_t, beta_t, a_t in steps:
        state = a_t[..., None, None] * state
        error = v_t - torch.einsum("bhpn,bhn->bhp", state, k_t)
        state = state + (beta_t[..., None] * error)[..., :, None] * k_t[..., None, :]
        outputs.append(torch.einsum("bhpn,bhn->bhp", state, q_t))
    return (torch.stack(outputs, dim=1) if outputs else v), state
