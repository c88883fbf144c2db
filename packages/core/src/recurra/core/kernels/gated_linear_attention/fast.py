"""The portable fast form of `gated_linear_attention`: chunks that are halved and halved again.

With a decay for each channel, the weight of step j in step i is a sum over channels of
q_i k_j exp(log_a_{j+1} + ... + log_a_i): a product of matrices only if the exponential is split
between q and k. Splitting it at the start of the chunk, as q_i exp(s_i) and k_j exp(-s_j) with
running sums s, overflows. Here it is split at a step between j and i, so that both factors decay:
the second half of each block meets the first with the split in the middle, for blocks of 2, 4, 8
and so on, and what is left is each step with itself. (The paper's own remedy has two levels of
blocks, with products channel by channel in the smaller ones, section 4.3.)
"""

import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.kernels.chunks import carry, from_chunks, into_chunks


def gated_linear_attention(
    q: Tensor, k: Tensor, v: Tensor, log_a: Tensor, state: Tensor, *, chunk: int
) -> tuple[Tensor, Tensor]:
    """Run in chunks of a power of two: q, k, log_a (B, T, H, N), v (B, T, H, P)."""
    n_steps = q.shape[1]
    q, k, v, log_a = (into_chunks(z, chunk) for z in (q, k, v, log_a))  # (B, n, H, L, .)
    since_start = log_a.cumsum(-2).exp()
    added = v.mT @ (k * _until_end(log_a))  # (B, n, H, P, N)
    before, state = carry(added, since_start[..., -1:, :], state)
    y = (q * since_start) @ before.mT + (q * k).sum(-1, keepdim=True) * v
    half = 1
    while half < chunk:
        y = y + _second_half_meets_first(q, k, v, log_a, half)
        half *= 2
    return from_chunks(y, n_steps), state


def _second_half_meets_first(q: Tensor, k: Tensor, v: Tensor, log_a: Tensor, half: int) -> Tensor:
    """Return what the first `half` steps of each block give to its next `half` steps."""

    def first_and_second(z: Tensor) -> tuple[Tensor, ...]:
        return torch.unflatten(z, -2, (-1, 2, half)).unbind(
            -3
        )  # each (B, n, H, L / half / 2, half, .)

    _, q_second = first_and_second(q)
    k_first, _ = first_and_second(k)
    v_first, _ = first_and_second(v)
    log_a_first, log_a_second = first_and_second(log_a)
    queries = q_second * log_a_second.cumsum(-2).exp()
    keys = k_first * _until_end(log_a_first)
    y = (queries @ keys.mT) @ v_first
    return functional.pad(y, (0, 0, half, 0)).flatten(-3, -2)


def _until_end(log_a: Tensor) -> Tensor:
    """Return the decay from after each step to the end: log_a (..., L, N) -> (..., L, N)."""
    later = functional.pad(log_a[..., 1:, :], (0, 0, 0, 1))
    return later.flip(-2).cumsum(-2).flip(-2).exp()
