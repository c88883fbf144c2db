"""The selective scan of Mamba: a diagonal state space whose step and input depend on the input."""

from typing import Literal

import torch
from torch import Tensor

from recurra.core.kernels.chunks import accumulation_dtype
from recurra.core.kernels.lengths import check_lengths, zero_beyond
from recurra.core.kernels.selective_scan import fast, reference
from recurra.core.kernels.triton_support import wants_triton

Backend = Literal["auto", "reference", "fast", "triton"]


def selective_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor | None = None,
    *,
    state: Tensor | None = None,
    lengths: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Run h_t = exp(delta_t a) h_{t-1} + delta_t b_t u_t and y_t = c_t . h_t + d u_t.

    Each of D channels has N numbers as its state. `a` is discretised by zero-order hold, `b` by
    Euler's rule, as the official code does (the paper's eq. 4 has zero-order hold for both). What
    surrounds the scan in Mamba is the caller's: delta = softplus(. + bias), and y * silu(z).

    Source: Gu & Dao 2023, "Mamba" (arXiv 2312.00752, section 3.2, algorithm 2).

    Args:
        u: (B, T, D), any floating dtype, as all others; T and B may be 0; any strides.
        delta: (B, T, D), the step sizes, at least 0.
        a: (D, N), at most 0 for a state that stays bounded.
        b, c: (B, T, N), shared by the channels.
        d: (D,), the weight of u itself; None is zero.
        state: (B, D, N), before the first step; None is zeros.
        lengths: (B,) integers from 0 to T: how many steps of each row count. The others change
            nothing: their y and their gradients are zero, even where the inputs are NaN.
        backend: "fast" is `linear_scan` over pieces of time, and keeps N times as much as the
            inputs for the gradients; "triton" is for GPUs, in float32, and keeps N / 4 times as
            much; "reference" is the plain loop; "auto" is "triton" where that can run, else "fast".

    Returns:
        y (B, T, D) in the dtype of u, and the state (B, D, N) after each row's last counted step,
        in float32, or in float64 where an input is. All is computed in that dtype, under autocast
        too.

    Raises:
        ValueError: shapes that do not fit together, lengths that are no integers.
    """
    _check(u, delta, a, b, c, d, state)
    check_lengths(lengths, u)
    before = u.new_zeros(u.shape[0], *a.shape) if state is None else state
    skipped = u.new_zeros(u.shape[2]) if d is None else d
    inputs = (*zero_beyond(lengths, u, delta, b, c), a, before, skipped)
    dtype = accumulation_dtype(*inputs)
    u_, delta_, b_, c_, a_, before_, skipped_ = (z.to(dtype) for z in inputs)
    run = reference.selective_scan if backend == "reference" else fast.selective_scan
    if wants_triton(backend, u, dtype) and u.numel() > 0 and a.numel() > 0:
        from recurra.core.kernels.selective_scan import triton

        run = triton.selective_scan
    with torch.autocast(u.device.type, enabled=False):
        y, last = run(u_, delta_, a_, b_, c_, before_)
        y = y if d is None else y + skipped_ * u_
    return zero_beyond(lengths, y)[0].to(u.dtype), last


def _check(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor | None,
    state: Tensor | None,
) -> None:
    if u.dim() != 3 or u.shape != delta.shape:
        raise ValueError(
            f"u and delta must be (B, T, D), not {tuple(u.shape)} and {tuple(delta.shape)}"
        )
    if a.dim() != 2 or a.shape[0] != u.shape[2]:
        raise ValueError(f"a must be (D, N) with D = {u.shape[2]}, not {tuple(a.shape)}")
    expected = (*u.shape[:2], a.shape[1])
    if b.shape != expected or c.shape != expected:
        raise ValueError(
            f"b and c must be (B, T, N) = {expected}, not {tuple(b.shape)} and {tuple(c.shape)}"
        )
    if d is not None and d.shape != u.shape[2:]:
        raise ValueError(f"d must be (D,) = {tuple(u.shape[2:])}, not {tuple(d.shape)}")
    if state is not None and state.shape != (u.shape[0], *a.shape):
        raise ValueError(
            f"state must be (B, D, N) = {(u.shape[0], *a.shape)}, not {tuple(state.shape)}"
        )
