"""The delta rule: a state that is corrected towards v at k. DeltaNet, and with a decay gated."""

from typing import Literal

import torch
from torch import Tensor

from recurra.core.kernels.chunks import accumulation_dtype, check_attention
from recurra.core.kernels.delta_rule import fast, reference
from recurra.core.kernels.lengths import check_lengths, zero_beyond
from recurra.core.kernels.triton_support import wants_triton

Backend = Literal["auto", "reference", "fast", "triton"]


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    log_a: Tensor | None = None,
    state: Tensor | None = None,
    lengths: Tensor | None = None,
    chunk: int = 64,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Run S = exp(log_a_t) S_{t-1}, S_t = S + beta_t (v_t - S k_t) k_t^T, y_t = S_t q_t.

    Each step is one step of gradient descent on |S k_t - v_t|^2 / 2 at rate beta_t, after the
    decay. It is stable where beta_t |k_t|^2 is from 0 to 2: normalise k, and take beta_t from a
    sigmoid. A factor such as N ** -0.5 goes into q.

    Source: Yang et al. 2024, "Parallelizing Linear Transformers with the Delta Rule over Sequence
    Length" (arXiv 2406.06484, section 3); with log_a Yang et al. 2024, "Gated Delta Networks"
    (arXiv 2412.06464, section 3.1).

    Args:
        q, k: (B, T, H, N), any floating dtype, as all others; T and B may be 0; any strides.
        v: (B, T, H, P).
        beta: (B, T, H).
        log_a: (B, T, H), the logarithm of each step's decay, -inf for zero; None is no decay.
        state: (B, H, P, N), before the first step; None is zeros.
        lengths: (B,) integers from 0 to T: how many steps of each row count. The others change
            nothing: their y and their gradients are zero, even where the inputs are NaN.
        chunk: steps that "fast" takes at once; it changes the speed and the rounding only.
        backend: "fast" solves a triangular system in each chunk; "triton" does so in chunks of 64
            and, where N fits on the chip (64; on sm_90 and gfx942 128), carries the state through
            them in a kernel for GPUs, in float32, else in PyTorch's loop over the chunks;
            "reference" is the plain loop; "auto" is "triton" where that can run, else "fast".

    Returns:
        y (B, T, H, P) in the dtype of v, and the state (B, H, P, N) after each row's last counted
        step, in float32, or in float64 where an input is. All is computed in that dtype, under
        autocast too.

    Raises:
        ValueError: shapes that do not fit together, lengths that are no integers, chunk below 1.
    """
    check_attention(q, k, v, state, chunk)
    check_lengths(lengths, v)
    log_a = torch.zeros_like(beta) if log_a is None else log_a
    if beta.shape != v.shape[:3] or log_a.shape != v.shape[:3]:
        raise ValueError(
            f"beta and log_a must be (B, T, H) = {tuple(v.shape[:3])}, "
            f"not {tuple(beta.shape)} and {tuple(log_a.shape)}"
        )
    shape = (v.shape[0], v.shape[2], v.shape[3], k.shape[3])
    before = v.new_zeros(shape) if state is None else state
    inputs = (*zero_beyond(lengths, q, k, v, beta, log_a), before)
    dtype = accumulation_dtype(*inputs)
    inputs = tuple(z.to(dtype) for z in inputs)
    on_gpu = wants_triton(backend, v, dtype)
    with torch.autocast(v.device.type, enabled=False):
        if backend == "reference" or v.shape[1] == 1:  # one step of a stream is no chunk
            y, last = reference.delta_rule(*inputs)
        elif on_gpu:
            from recurra.core.kernels.delta_rule import triton

            y, last = fast.delta_rule(*inputs, chunk=triton.CHUNK, run=triton.carry)
        else:
            y, last = fast.delta_rule(*inputs, chunk=max(1, min(chunk, v.shape[1])))
    return zero_beyond(lengths, y)[0].to(v.dtype), last
