"""What the chunked kernels share: their dtype, cutting time, decays inside a chunk.

A linear recurrence with a matrix as its state costs a product of matrices per chunk of steps
instead of one outer product per step. Decays are taken as logarithms, and only sums of them over
runs of steps are ever raised to a power: no quotient of two products that may both be zero, so a
decay of zero (-inf) is as good as any other.
"""

import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.kernels.linear_scan import linear_scan


def accumulation_dtype(*inputs: Tensor) -> torch.dtype:
    """Return float64 if any input has it, else float32: what states and decays are kept in."""
    dtype = torch.float32
    for x in inputs:
        dtype = torch.promote_types(dtype, x.dtype)
    return dtype


def check_attention(q: Tensor, k: Tensor, v: Tensor, state: Tensor | None, chunk: int) -> None:
    """Raise ValueError unless q, k (B, T, H, N), v (B, T, H, P), state (B, H, P, N) fit."""
    if q.dim() != 4 or v.dim() != 4 or q.shape != k.shape or q.shape[:3] != v.shape[:3]:
        raise ValueError(
            "q and k must be (B, T, H, N) and v (B, T, H, P), "
            f"not {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        )
    expected = (v.shape[0], v.shape[2], v.shape[3], k.shape[3])
    if state is not None and state.shape != expected:
        raise ValueError(f"state must be (B, H, P, N) = {expected}, not {tuple(state.shape)}")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")


def is_free(n_steps: int) -> bool:
    """Say whether torch.export leaves a number of steps open: then only arithmetic works on it."""
    return isinstance(n_steps, torch.SymInt)


def chunk_length(chunk: int, n_steps: int) -> int:
    """Return how many steps to take at once: no more than there are, where that is known."""
    return chunk if is_free(n_steps) else max(1, min(chunk, n_steps))


def into_chunks(x: Tensor, chunk: int) -> Tensor:
    """Cut x (B, T, H, ...) into (B, n, H, chunk, ...), with zeros after the end.

    T = 0 makes one chunk of zeros, which changes no state. Where an export leaves T open there are
    one or two more of them, as for torch a single chunk is another program. The result is
    contiguous, because each product of matrices would copy it anew otherwise.
    """
    n_steps = x.shape[1]
    n_chunks = n_steps // chunk + 2 if is_free(n_steps) else max(1, -(-n_steps // chunk))
    missing = n_chunks * chunk - n_steps
    if missing:
        x = functional.pad(x, (0, 0) * (x.dim() - 2) + (0, missing))
    return torch.unflatten(x, 1, (n_chunks, chunk)).movedim(2, 3).contiguous()


def from_chunks(y: Tensor, n_steps: int) -> Tensor:
    """Join y (B, n, H, chunk, ...) to (B, n_steps, H, ...)."""
    return y.movedim(3, 2).flatten(1, 2)[:, :n_steps]


def decay_between(log_a: Tensor) -> Tensor:
    """Return exp of the sum of log_a (..., L) over j < k <= i, at [i, j]; 0 where i < j.

    The sums are made by adding, not as differences of one running sum: exact for decays of very
    unlike strength. What is not on the way from j to i is multiplied by zero, as is what a chunk
    has above its diagonal; so -inf, a decay of zero, becomes the least finite number first. Masks
    that are selected, or exponentials of -inf, take more than twice as long.
    """
    length = log_a.shape[-1]
    lower = torch.ones(length, length, dtype=log_a.dtype, device=log_a.device).tril()  # j <= k
    finite = log_a.clamp(min=torch.finfo(log_a.dtype).min)
    sums = (finite[..., :, None] * lower.tril(-1)).cumsum(dim=-2)
    return sums.exp_() * lower


def carry(added: Tensor, decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Run state <- decay * state + added over chunks.

    Args:
        added: (B, n, H, P, N).
        decay: (B, n, H, 1, N) or (B, n, H, 1, 1).
        state: (B, H, P, N), before the first chunk.

    Returns:
        The state before each chunk (B, n, H, P, N), and the one after the last (B, H, P, N).
    """
    if is_free(added.shape[1]):  # a scan is one node, however many chunks there are
        after, last = linear_scan(decay, added, state)
        return torch.cat([state.unsqueeze(1), after], dim=1)[:, :-1], last
    before = []
    for added_here, decay_here in zip(added.unbind(1), decay.unbind(1), strict=True):
        before.append(state)
        state = torch.addcmul(added_here, decay_here, state)
    return torch.stack(before, dim=1), state
