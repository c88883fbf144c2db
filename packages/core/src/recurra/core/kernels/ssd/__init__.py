"""State-space duality: a matrix as the state, one decay a head. Mamba-2 and linear attention."""

from typing import Literal

import torch
from torch import Tensor

from recurra.core.kernels.chunks import accumulation_dtype, chunk_length
from recurra.core.kernels.lengths import check_lengths, zero_beyond
from recurra.core.kernels.ssd import fast, reference
from recurra.core.kernels.triton_support import wants_triton

Backend = Literal["auto", "reference", "fast", "triton"]


def ssd(
    x: Tensor,
    log_a: Tensor,
    b: Tensor,
    c: Tensor,
    *,
    state: Tensor | None = None,
    lengths: Tensor | None = None,
    chunk: int = 64,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Run S_t = exp(log_a_t) S_{t-1} + x_t b_t^T and y_t = S_t c_t in each head.

    Read as attention, c are queries, b keys and x values: with log_a = 0 it is causal linear
    attention (arXiv 2006.16236), and with a constant decay `retention`. Nothing is scaled here; a
    factor such as N ** -0.5 goes into c. Mamba-2 gives x and log_a already multiplied by its step.

    The decay is given as a logarithm because exp(log_a) near one is lost in low precision (.999 in
    bfloat16 is 1). -inf is a decay of zero: the state starts anew, and every gradient is finite.

    Source: Dao & Gu 2024, "Transformers are SSMs" (arXiv 2405.21060, sections 5 and 6).

    Args:
        x: (B, T, H, P), any floating dtype, as all others; T and B may be 0; any strides.
        log_a: (B, T, H), the logarithm of each step's decay, at most 0 for a state that stays
            bounded.
        b, c: (B, T, G, N), where G divides H: head h uses group h // (H // G).
        state: (B, H, P, N), before the first step; None is zeros.
        lengths: (B,) integers from 0 to T: how many steps of each row count. The others change
            nothing: their y and their gradients are zero, even where the inputs are NaN.
        chunk: steps that "fast" takes at once; it changes the speed and the rounding only.
        backend: "fast" is products of matrices in chunks; "triton" the same for GPUs, in float32
            and chunks of 64; "reference" is the plain loop; "auto" is "triton" where that can run,
            else "fast".

    Returns:
        y (B, T, H, P) in the dtype of x, and the state (B, H, P, N) after each row's last counted
        step, in float32, or in float64 where an input is. All is computed in that dtype, under
        autocast too.

    Raises:
        ValueError: shapes that do not fit together, lengths that are no integers, chunk below 1.
    """
    _check(x, log_a, b, c, state, chunk)
    check_lengths(lengths, x)
    shape = (x.shape[0], x.shape[2], x.shape[3], b.shape[3])
    before = x.new_zeros(shape) if state is None else state
    inputs = (*zero_beyond(lengths, x, log_a, b, c), before)
    dtype = accumulation_dtype(*inputs)
    inputs = tuple(z.to(dtype) for z in inputs)
    on_gpu = wants_triton(backend, x, dtype) and x.numel() > 0 and b.numel() > 0
    with torch.autocast(x.device.type, enabled=False):
        if backend == "reference" or x.shape[1] == 1:  # one step of a stream is no chunk
            y, last = reference.ssd(*inputs)
        elif on_gpu:
            from recurra.core.kernels.ssd import triton

            y, last = triton.ssd(*inputs)
        else:
            y, last = fast.ssd(*inputs, chunk=chunk_length(chunk, x.shape[1]))
    return zero_beyond(lengths, y)[0].to(x.dtype), last


def _check(
    x: Tensor, log_a: Tensor, b: Tensor, c: Tensor, state: Tensor | None, chunk: int
) -> None:
    if x.dim() != 4 or b.dim() != 4 or b.shape != c.shape or b.shape[:2] != x.shape[:2]:
        raise ValueError(
            "ssd takes x (B, T, H, P), b and c (B, T, G, N), "
            f"not {tuple(x.shape)}, {tuple(b.shape)} and {tuple(c.shape)}"
        )
    if log_a.shape != x.shape[:3]:
        raise ValueError(
            f"log_a must be (B, T, H) = {tuple(x.shape[:3])}, not {tuple(log_a.shape)}: "
            "expand a decay that is the same at each step"
        )
    if b.shape[2] == 0 or x.shape[2] % b.shape[2]:
        raise ValueError(f"{b.shape[2]} groups of b and c do not divide {x.shape[2]} heads of x")
    expected = (x.shape[0], x.shape[2], x.shape[3], b.shape[3])
    if state is not None and state.shape != expected:
        raise ValueError(f"state must be (B, H, P, N) = {expected}, not {tuple(state.shape)}")
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, not {chunk}")
