"""Gated linear attention: a matrix as the state, one decay for each channel of the keys."""

from typing import Literal

import torch
from torch import Tensor

from recurra.core.kernels.chunks import accumulation_dtype, check_attention, chunk_length
from recurra.core.kernels.gated_linear_attention import fast, reference
from recurra.core.kernels.lengths import check_lengths, zero_beyond
from recurra.core.kernels.triton_support import wants_triton

Backend = Literal["auto", "reference", "fast", "triton"]


def gated_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_a: Tensor,
    *,
    state: Tensor | None = None,
    lengths: Tensor | None = None,
    chunk: int = 64,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Run S_t = S_{t-1} diag(exp(log_a_t)) + v_t k_t^T and y_t = S_t q_t in each head.

    A decay that is the same in all channels is `ssd`, which is faster. Nothing is scaled here; a
    factor such as N ** -0.5 goes into q. A decay of zero is log_a = -inf.

    Source: Yang et al. 2023, "Gated Linear Attention Transformers" (arXiv 2312.06635, section 4).

    Args:
        q, k: (B, T, H, N), any floating dtype, as all others; T and B may be 0; any strides.
        v: (B, T, H, P).
        log_a: (B, T, H, N), the logarithm of each channel's decay, at most 0 for a state that
            stays bounded.
        state: (B, H, P, N), before the first step; None is zeros.
        lengths: (B,) integers from 0 to T: how many steps of each row count. The others change
            nothing: their y and their gradients are zero, even where the inputs are NaN.
        chunk: steps that "fast" takes at once, raised to a power of two; it changes the speed and
            the rounding only.
        backend: "fast" is products of matrices in chunks; "triton" the same for GPUs, in float32
            and chunks of 32; "reference" is the plain loop; "auto" is "triton" where that can run,
            else "fast".

    Returns:
        y (B, T, H, P) in the dtype of v, and the state (B, H, P, N) after each row's last counted
        step, in float32, or in float64 where an input is. All is computed in that dtype, under
        autocast too.

    Raises:
        ValueError: shapes that do not fit together, lengths that are no integers, chunk below 1.
    """
    check_attention(q, k, v, state, chunk)
    check_lengths(lengths, v)
    if log_a.shape != k.shape:
        raise ValueError(
            f"log_a must be (B, T, H, N) = {tuple(k.shape)}, not {tuple(log_a.shape)}: "
            "ssd takes one decay a head"
        )
    shape = (v.shape[0], v.shape[2], v.shape[3], k.shape[3])
    before = v.new_zeros(shape) if state is None else state
    inputs = (*zero_beyond(lengths, q, k, v, log_a), before)
    dtype = accumulation_dtype(*inputs)
    inputs = tuple(z.to(dtype) for z in inputs)
    on_gpu = wants_triton(backend, v, dtype) and v.numel() > 0 and k.numel() > 0
    with torch.autocast(v.device.type, enabled=False):
        if backend == "reference" or v.shape[1] == 1:  # one step of a stream is no chunk
            y, last = reference.gated_linear_attention(*inputs)
        elif on_gpu:
            from recurra.core.kernels.gated_linear_attention import triton

            y, last = triton.gated_linear_attention(*inputs)
        else:
            steps = chunk_length(chunk, v.shape[1])
            power_of_two = 1 << (steps - 1).bit_length()
            y, last = fast.gated_linear_attention(*inputs, chunk=power_of_two)
    return zero_beyond(lengths, y)[0].to(v.dtype), last
