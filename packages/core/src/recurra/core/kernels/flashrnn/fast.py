"""The portable fast form of `flashrnn`: a loop in preallocated memory, with a backward of its own.

Forward, the gates of a step live in one buffer that the next step overwrites. The states of all
steps are all that is kept for the backward pass, which computes the gates again, many steps at a
time with one matrix product; then goes back step by step; then forms the gradient to R from all
steps in one product for each head.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.core.kernels.flashrnn.cell import Cell
from recurra.core.kernels.flashrnn.recurrence import (
    Gates,
    Passes,
    before_and_after,
    flat,
    gradients,
    run_passes,
)

# Gate values of a piece of the backward pass: 16 steps of 16 rows and 256 units, which stay in a
# processor's cache.
_CACHED = 262_144


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
    passes = Passes(_forward, _backward)
    return run_passes(
        passes, cell, wx, r, b, states, peephole, idle, reverse=reverse, all_states=all_states
    )


def _forward(
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
    """Return for each state a buffer (T + 1, B, H, D) in the order of time, the first state too.

    A state whose history nobody asks for has a buffer of two steps, used in turn.
    """
    n_rows, n_steps, _, heads, width = wx.shape
    history = []
    for index, state in enumerate(states.unbind(1)):
        size = n_steps + 1 if keep_all or index == 0 else 2
        history.append(state.new_empty(size, n_rows, heads, width))
        history[-1][(n_steps if reverse else 0) % size] = state
    slots = [buffer.unbind(0) for buffer in history]
    steps = wx.transpose(2, 3).unbind(1)  # each (B, H, n_input, D)
    h_of_heads = history[0].transpose(1, 2).unbind(0)  # each (H, B, D)
    # Heads first in memory, so that the product writes there: of other layouts torch takes one head
    # after the other.
    gates = Gates(cell, r, b, b.new_empty(heads, n_rows, cell.n_gates, width).transpose(0, 1))
    for t in reversed(range(n_steps)) if reverse else range(n_steps):
        old, new = (t + 1, t) if reverse else (t, t + 1)
        before = [slot[old % len(slot)] for slot in slots]
        after = [slot[new % len(slot)] for slot in slots]
        pre = gates.fill(steps[t], h_of_heads[old])
        cell.step_in_place(pre, before, after, peephole)
        if idle is not None:
            for still, moved in zip(before, after, strict=True):
                torch.where(idle[t], still, moved, out=moved)
    return history


def _backward(
    ctx: Any,
    given: Sequence[Tensor],
    idle: Tensor | None,
    history: Sequence[Tensor],
    cotangents: Sequence[Tensor],
) -> list[Tensor | None]:
    """Return the gradients to what was given, from the states that the forward pass kept."""
    wx, r, b, _, peephole = given
    cell: Cell = ctx.cell
    n_steps = wx.shape[1]
    before, after = before_and_after(history, ctx.reverse)
    *grad_sequences, grad_last = cotangents
    # Heads first in memory, as in the forward pass.
    first = grad_last.permute(1, 2, 0, 3).clone(memory_format=torch.contiguous_format)
    grads = list(first.transpose(1, 2).unbind())  # each (B, H, D)
    grad_pre = b.new_empty(n_steps, *before[0].shape[1:-1], cell.n_gates, b.shape[-1])

    back = r.transpose(0, 1).flatten(1, 2)  # (H, n_recurrent * D, D)
    inputs = wx.permute(1, 0, 3, 2, 4)  # (T, B, H, n_input, D)
    size = max(1, _CACHED // max(1, grad_pre[:1].numel()))
    starts = range(0, n_steps, size)
    for start in starts if ctx.reverse else reversed(starts):
        piece = slice(start, start + size)
        old, new = [x[piece] for x in before], [x[piece] for x in after]
        gates = torch.empty_like(grad_pre[piece])
        Gates(cell, r, b, gates).fill(inputs[piece], flat(old[0]))
        cell.step_in_place(gates, old, [torch.empty_like(x) for x in new], peephole)
        slopes = cell.slopes(gates, old, new, peephole, grad_pre[piece])
        _walk_back(
            cell,
            grad_pre[piece],
            slopes,
            grads,
            [x[piece] for x in grad_sequences],
            None if idle is None else idle[piece],
            back,
            ctx.reverse,
        )

    return gradients(cell, given, grad_pre, grads, before, after)


def _walk_back(
    cell: Cell,
    grad_pre: Tensor,
    slopes: Sequence[Tensor],
    grads: Sequence[Tensor],
    grad_sequences: Sequence[Tensor],
    idle: Tensor | None,
    back: Tensor,
    reverse: bool,
) -> None:
    """Step back through a piece: `grads`, to the states, and `grad_pre` change in place."""
    steps = grad_pre.unbind(0)
    through_r = grad_pre[..., : cell.n_recurrent, :].flatten(-2).transpose(1, 2).unbind(0)
    grad_h = flat(grads[0])
    slopes_of = [x.unbind(0) for x in slopes]
    for t in range(len(steps)) if reverse else reversed(range(len(steps))):
        for grad, sequence in zip(grads, grad_sequences, strict=False):
            grad.add_(sequence[t])
        passed = [] if idle is None else [grad.clone() for grad in grads]
        cell.step_back(steps[t], [x[t] for x in slopes_of], grads)
        if idle is not None:
            steps[t].masked_fill_(idle[t].unsqueeze(-1), 0)
            for grad, unchanged in zip(grads, passed, strict=True):
                torch.where(idle[t], unchanged, grad, out=grad)
        grad_h.baddbmm_(through_r[t], back)
