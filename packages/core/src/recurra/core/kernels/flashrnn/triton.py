"""The GPU form of `flashrnn`: one program runs 16 rows of one head through the whole sequence.

The head's recurrent matrices are loaded once and stay on the chip, as do the states; each step
reads the input's part of the gates and writes h. Backward, the gates of all steps come from one
matrix product, a second kernel walks back with the matrices on the chip again, and the gradient to
R is one product over all steps, as in the portable form: no accumulator of its size has to fit
beside it. Time and rows are numbers, not constants: another length compiles nothing.

Source of the idea to keep R on the chip: Pöppel, Beck and Hochreiter 2024, "FlashRNN"
(arXiv 2412.07752, section 3).

Roofline, for each row, step and head of an LSTM: forward 8 D^2 FLOPs and 4 (4 D + D) bytes in
float32, backward as many FLOPs in the walk, 16 D^2 more in the two products, and 4 * 20 D bytes. At
16 rows, 12 heads of 64 and 1024 steps that is 6.4 GFLOP and 0.25 GB forward, 0.08 ms at the 3.35
TB/s of an H100. The recurrence cannot reach it: 1024 products of 16 x 64 x 256 wait for one
another, on 12 of 132 multiprocessors. The bound is latency, so more rows and heads should cost
nothing until the chip is full. No GPU was at hand when this was written: these are counts, not
measurements.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from recurra.core.kernels import triton_support
from recurra.core.kernels.flashrnn import triton_kernels
from recurra.core.kernels.flashrnn.cell import Cell
from recurra.core.kernels.flashrnn.recurrence import (
    Gates,
    Passes,
    before_and_after,
    flat,
    gradients,
    run_passes,
)

_ROWS = 16  # of a program: the least that a matrix unit takes


def run(
    cell: Cell,
    wx: Tensor,
    r: Tensor,
    b: Tensor,
    states: Tensor,
    peephole: Tensor | None,
    idle: Tensor | None,
    *,
    reverse: bool,
    all_states: bool,
) -> tuple[list[Tensor], Tensor]:
    """Run one cell over time; arguments and results are those of `reference.run`."""
    passes = Passes(_run_forward, _run_backward)
    return run_passes(
        passes, cell, wx, r, b, states, peephole, idle, reverse=reverse, all_states=all_states
    )


def _run_forward(
    cell: Cell,
    wx: Tensor,
    r: Tensor,
    b: Tensor,
    states: Tensor,
    peephole: Tensor | None,
    idle: Tensor | None,
    reverse: bool,
    keep_all: bool,
) -> list[Tensor]:
    """Return a buffer (T + 1, B, H, D) for each state whose history is asked for, else its last."""
    n_rows, n_steps, _, heads, width = wx.shape
    kept = len(cell.states) if keep_all else 1
    shape = (n_steps + 1, n_rows, heads, width)
    history = [states.new_empty(shape) for _ in range(kept)]
    for buffer, state in zip(history, states.unbind(1), strict=False):
        buffer[n_steps if reverse else 0] = state
    last = torch.empty_like(states, memory_format=torch.contiguous_format)
    tensors = (wx, r, b, states, *_four(history), last)
    _launch(
        triton_kernels.forward, cell, tensors, peephole, idle, wx.shape, REVERSE=reverse, KEPT=kept
    )
    return [*history, *(x.unsqueeze(0) for x in last.unbind(1)[kept:])]


def _run_backward(
    ctx: Any,
    given: Sequence[Tensor],
    idle: Tensor | None,
    history: Sequence[Tensor],
    cotangents: Sequence[Tensor],
) -> list[Tensor | None]:
    """Return the gradients to what was given, from the states that the forward pass kept."""
    wx, r, b, _, peephole = given
    cell: Cell = ctx.cell
    n_rows, n_steps, _, heads, width = wx.shape
    before, after = before_and_after(history, ctx.reverse)
    gates = b.new_empty(n_steps, n_rows, heads, cell.n_gates, width)
    inputs = wx.permute(1, 0, 3, 2, 4)  # (T, B, H, n_input, D)
    Gates(cell, r, b, gates).fill(inputs, flat(before[0]))
    *grad_sequences, grad_last = cotangents
    grads = grad_last.clone(memory_format=torch.contiguous_format)
    tensors = (gates, r, *_four(history), *_four(grad_sequences), grads)
    options = {"REVERSE": ctx.reverse, "KEPT": len(grad_sequences)}
    _launch(triton_kernels.backward, cell, tensors, peephole, idle, wx.shape, **options)
    return gradients(cell, given, gates, grads.unbind(1), before, after)


def _four(states: Sequence[Tensor]) -> list[Tensor]:
    """Return an argument for each of h, c, n and m; what the cell does not have is not read."""
    return [*states, *[states[0]] * (4 - len(states))]


def _launch(
    kernel: Any,
    cell: Cell,
    tensors: Sequence[Tensor],
    peephole: Tensor | None,
    idle: Tensor | None,
    shape: torch.Size,
    **constants: Any,
) -> None:
    n_rows, n_steps, _, heads, width = shape
    optional = (tensors[0] if x is None else x for x in (peephole, idle))
    triton_support.launch(
        kernel,
        heads * triton.cdiv(n_rows, _ROWS),
        *(x.contiguous() for x in (*tensors, *optional)),
        n_rows,
        n_steps,
        heads,
        width,
        CELL=type(cell).__name__.lower(),
        N_STATES=len(cell.states),
        PEEPHOLE=peephole is not None,
        IDLE=idle is not None,
        ROWS=_ROWS,
        BLOCK=triton_support.power_of_two(width, 16),
        **constants,
        **triton_support.product_options(tensors[0]),
    )
