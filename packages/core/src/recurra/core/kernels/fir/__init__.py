"""A finite impulse response along time: the memory of every FSMN, causal, symmetric, dilated."""

from typing import Literal

import torch
from torch import Tensor

from recurra.core.kernels.fir import fast, reference
from recurra.core.kernels.lengths import check_lengths, last_steps, zero_beyond
from recurra.core.kernels.triton_support import wants_triton

Backend = Literal["auto", "reference", "fast", "triton"]


def fir(
    x: Tensor,
    taps: Tensor,
    *,
    dilation: int = 1,
    left: int | None = None,
    right: int = 0,
    state: Tensor | None = None,
    lengths: Tensor | None = None,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Filter each channel along time with its own taps.

    With `left` frames put before x and `right` frames of zeros after it, giving z,

        y[b, t, c] = sum over k and j of taps[k, c, j] * z[b, t + k * dilation, c * m + j].

    The frames before x are zeros, or `state`. A causal filter has left = (K - 1) * dilation and
    right = 0 (the default). A symmetric one has left = right = half of that. To filter along
    another axis, move it to the place of time.

    To stream a filter that looks ahead by L frames, keep left = (K - 1) * dilation and pass the
    returned state on: y then comes delayed by L frames.

    Source: the memory block of FSMN (Zhang et al. 2015, arXiv 1512.08301, eq. 6); m > 1 is the
    grouped convolution of MossFormer2's dense FSMN (Zhao et al. 2023, arXiv 2312.11825).

    Args:
        x: (B, T, C * m), any floating dtype; T and B may be 0; any strides.
        taps: (K, C, m) in the dtype of x. taps[K - 1] meets the newest frame.
        dilation: distance in frames between two taps, at least 1.
        left: frames before x, at least 0; the default makes the output as long as the input.
        right: frames of zeros after x, at least 0.
        state: (B, left, C * m), the input frames that came before x.
        lengths: (B,) integers from 0 to T: how many frames of each row count. A row gives what it
            would give cut to its length, and zeros after that; the frames that do not count change
            nothing and have no gradient, even where they are NaN.
        backend: "fast" runs a channels-last depthwise convolution (oneDNN on CPU, cuDNN on CUDA)
            with a backward pass of its own; "triton" is for GPUs, with sums in float32;
            "reference" is the plain loop; "auto" is "triton" where that can run, else "fast".

    Returns:
        y (B, T + left + right - (K - 1) * dilation, C), and the next state
        (B, (K - 1) * dilation, C * m): the last frames of what came before x and of what counts
        of x itself, with zeros before them where there are too few.

    Raises:
        ValueError: shapes, dtypes, dilation, left or right that do not fit together, or lengths
            that are no integers.
    """
    span = (taps.shape[0] - 1) * dilation
    left = span - right if left is None else left
    _check(x, taps, dilation, left, right, state)
    check_lengths(lengths, x)
    (x,) = zero_beyond(lengths, x)
    before = x.new_zeros(x.shape[0], left, x.shape[2]) if state is None else state
    context = _concatenate(before, x)
    padded = (
        context if right == 0 else _concatenate(context, x.new_zeros(x.shape[0], right, x.shape[2]))
    )
    run = reference.fir_valid if backend == "reference" else fast.fir_valid
    if wants_triton(backend, x, torch.promote_types(x.dtype, torch.float32)):
        from recurra.core.kernels.fir import triton

        run = triton.fir_valid
    y = run(padded, taps, dilation)
    if lengths is not None:  # of the zeros after a row's end the filter sees `right`, too
        (y,) = zero_beyond(lengths + (left + right - span), y)
    return y, _last_frames(context, span, x.shape[1], lengths)


def _concatenate(first: Tensor, second: Tensor) -> Tensor:
    return second if first.shape[1] == 0 else torch.cat([first, second], dim=1)


def _last_frames(context: Tensor, count: int, n_new: int, lengths: Tensor | None) -> Tensor:
    """Return the `count` frames before each row's end, with zeros before the first."""
    known = context.shape[1] if lengths is None else context.shape[1] - n_new
    if known < count:
        zeros = context.new_zeros(context.shape[0], count - known, context.shape[2])
        context = _concatenate(zeros, context)
    return last_steps(context, count, n_new, lengths)


def _check(
    x: Tensor, taps: Tensor, dilation: int, left: int, right: int, state: Tensor | None
) -> None:
    if x.dim() != 3 or taps.dim() != 3:
        raise ValueError(
            "fir takes x (B, T, C * m) and taps (K, C, m), "
            f"not {tuple(x.shape)} and {tuple(taps.shape)}"
        )
    if x.shape[2] != taps.shape[1] * taps.shape[2]:
        raise ValueError(
            f"x has {x.shape[2]} channels, "
            f"taps {tuple(taps.shape)} need {taps.shape[1] * taps.shape[2]}"
        )
    if x.dtype != taps.dtype:
        raise ValueError(f"x is {x.dtype} and taps are {taps.dtype}: cast one of them")
    if dilation < 1 or left < 0 or right < 0:
        raise ValueError(f"dilation {dilation} must be >= 1, left {left} and right {right} >= 0")
    if x.shape[1] + left + right < (taps.shape[0] - 1) * dilation:
        raise ValueError(
            f"{x.shape[1]} frames with left {left} and right {right} are fewer than "
            f"the filter's span {(taps.shape[0] - 1) * dilation}"
        )
    if state is not None and state.shape != (x.shape[0], left, x.shape[2]):
        raise ValueError(
            f"state must be (B, left, C * m) = {(x.shape[0], left, x.shape[2])}, "
            f"not {tuple(state.shape)}"
        )
