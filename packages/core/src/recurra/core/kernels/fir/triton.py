"""The GPU form of `fir`: each program has 32 steps of 32 channels, and goes through the taps.

The gradient to x is the same filter run the other way round. That to the taps is a sum over rows
and steps: each program sums its part of them, tap by tap, and PyTorch adds the parts, in an order
that depends on shapes only, so that repeats are equal to the bit. To be differentiated twice, the
portable form is differentiated instead.

Roofline: the filter reads x and writes y, 8 bytes for each channel and frame in float32, for 2 K
FLOPs. Past the first tap x is read from the caches, 4 bytes a tap, and above some 20 taps these are
the bound. The front's padding moves x once more; backward reads x and grad and writes grad_x, twice
the work. (1, 4000, 2048) with 17 taps moves 66 MB forward, 20 us at the 3.35 TB/s of an H100. No
GPU was at hand when this was written: these are counts, not measurements.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from recurra.core.kernels import triton_support
from recurra.core.kernels.fir import fast
from recurra.core.kernels.second_derivatives import differentiable

_STEPS = 32
_BLOCK = 32  # channels of a program
_PROGRAMS = 512  # enough for about four on each of an H100's 132 multiprocessors
_RUNTIME = ["n_rows", "x_steps", "y_steps", "part"]


def fir_valid(x: Tensor, taps: Tensor, dilation: int) -> Tensor:
    """Filter where every tap meets a frame: x (B, S, C * m), taps (K, C, m) -> (B, S - span, C)."""
    n_frames = x.shape[1] - (taps.shape[0] - 1) * dilation
    if x.numel() == 0 or n_frames == 0:
        return fast.fir_valid(x, taps, dilation)
    if torch.is_grad_enabled() and (x.requires_grad or taps.requires_grad):
        y: Tensor = _Fir.apply(x, taps, dilation)  # type: ignore[no-untyped-call]
        return y
    return _run(x, taps, n_frames, dilation, backward=False)


class _Fir(torch.autograd.Function):
    """The filter, whose backward is the filter the other way round and a sum for each tap."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, taps)
        ctx.dilation = dilation
        n_frames = x.shape[1] - (taps.shape[0] - 1) * dilation
        return _run(x, taps, n_frames, dilation, backward=False)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, taps = ctx.saved_tensors
        if torch.is_grad_enabled():
            grad_x, grad_taps = differentiable(
                lambda x, taps: (fast.fir_valid(x, taps, ctx.dilation),), (x, taps), (grad,)
            )
            return grad_x, grad_taps, None
        of_x = of_taps = None
        if ctx.needs_input_grad[0]:
            of_x = _run(grad, taps, x.shape[1], ctx.dilation, backward=True)
        if ctx.needs_input_grad[1]:
            of_taps = _tap_gradient(x, grad, taps, ctx.dilation)
        return of_x, of_taps, None


def _run(x: Tensor, taps: Tensor, n_frames: int, dilation: int, *, backward: bool) -> Tensor:
    """Filter x to n_frames; `backward` goes from y's channels to those of x, and back in time."""
    n_taps, channels, group = taps.shape
    width = channels * group if backward else channels
    y = x.new_empty(x.shape[0], n_frames, width)
    programs = triton.cdiv(x.shape[0] * n_frames, _STEPS) * triton.cdiv(width, _BLOCK)
    triton_support.launch(
        _filter,
        programs,
        *(x.contiguous(), taps.contiguous(), y),
        *(x.shape[0], x.shape[1], n_frames, n_taps, width),
        -dilation if backward else dilation,
        *((1, group) if backward else (group, 1)),
        STEPS=_STEPS,
        BLOCK=_BLOCK,
        num_warps=4,
    )
    return y


def _tap_gradient(x: Tensor, grad: Tensor, taps: Tensor, dilation: int) -> Tensor:
    """Sum grad (B, T, C) times x (B, T + span, C * m), shifted for each tap: (K, C, m)."""
    n_rows, n_frames = grad.shape[:2]
    n_taps, _, group = taps.shape
    width = x.shape[2]
    n_blocks = triton.cdiv(width, _BLOCK)
    tiles = triton.cdiv(n_rows * n_frames, _STEPS)
    part = triton.cdiv(tiles, triton.cdiv(_PROGRAMS, n_blocks)) * _STEPS
    n_parts = triton.cdiv(n_rows * n_frames, part)
    sums = x.new_empty(n_parts, *taps.shape, dtype=torch.float32)
    triton_support.launch(
        _correlate,
        n_parts * n_blocks,
        *(x.contiguous(), grad.contiguous(), sums),
        *(n_rows, x.shape[1], n_frames, n_taps, width, dilation, group, part),
        STEPS=_STEPS,
        BLOCK=_BLOCK,
        num_warps=4,
    )
    return sums.sum(0).to(taps.dtype)


# Below, the steps of all rows are counted through, i: short rows fill programs as long ones do.


@triton.jit(do_not_specialize=_RUNTIME)
def _filter(
    x,
    taps,
    y,
    n_rows,
    x_steps,
    y_steps,
    n_taps,
    width,
    stride,
    group,
    shared,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write y[t, e] (B, y_steps, width), the sum over k and j of taps[k, n] x[t + k stride, n'].

    n = e group + j and n' = n // shared; frames outside x are zeros.
    """
    n_blocks = tl.cdiv(width, BLOCK)
    i = tl.program_id(0) // n_blocks * STEPS + tl.arange(0, STEPS)
    e = tl.program_id(0) % n_blocks * BLOCK + tl.arange(0, BLOCK)
    row, t = (i // y_steps).to(tl.int64), i % y_steps
    inside = (i < n_rows * y_steps)[:, None] & (e < width)[None, :]
    x_width = width * group // shared
    total = tl.zeros((STEPS, BLOCK), tl.float32)
    term = 0
    while term < n_taps * group:
        s = t + term // group * stride
        n = e * group + term % group
        tap_at = taps + term // group * width * group + n
        tap = tl.load(tap_at, mask=e < width, other=0.0).to(tl.float32)
        x_at = x + ((row * x_steps + s) * x_width)[:, None] + (n // shared)[None, :]
        met = inside & ((s >= 0) & (s < x_steps))[:, None]
        total += tap[None, :] * tl.load(x_at, mask=met, other=0.0).to(tl.float32)
        term += 1
    tl.store(y + (i.to(tl.int64) * width)[:, None] + e[None, :], total, mask=inside)


@triton.jit(do_not_specialize=_RUNTIME)
def _correlate(
    x,
    grad,
    sums,
    n_rows,
    x_steps,
    y_steps,
    n_taps,
    width,
    dilation,
    group,
    part,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the sum over a part of the steps of grad[t, n // group] x[t + k dilation, n], (K, n).

    The outer loop is that over the taps, so that a part of x and grad stays in the caches.
    """
    n_blocks = tl.cdiv(width, BLOCK)
    place = tl.program_id(0) // n_blocks
    n = tl.program_id(0) % n_blocks * BLOCK + tl.arange(0, BLOCK)
    end = tl.minimum((place + 1) * part, n_rows * y_steps)
    k = 0
    while k < n_taps:
        total = tl.zeros((STEPS, BLOCK), tl.float32)
        start = place * part
        while start < end:
            i = start + tl.arange(0, STEPS)
            inside = (i < end)[:, None] & (n < width)[None, :]
            frame = (i // y_steps).to(tl.int64) * x_steps + i % y_steps + k * dilation
            g_at = grad + (i.to(tl.int64) * (width // group))[:, None] + (n // group)[None, :]
            g = tl.load(g_at, mask=inside, other=0.0).to(tl.float32)
            x_at = x + (frame * width)[:, None] + n[None, :]
            total += g * tl.load(x_at, mask=inside, other=0.0).to(tl.float32)
            start += STEPS
        at = sums + (place.to(tl.int64) * n_taps + k) * width + n
        tl.store(at, tl.sum(total, axis=0), mask=n < width)
        k += 1
