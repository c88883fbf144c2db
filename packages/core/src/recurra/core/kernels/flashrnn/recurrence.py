"""What the portable and the GPU form of `flashrnn` share: all but their two passes over time.

A forward pass gives the states of all steps, which are all that is kept; a backward pass turns
them and the gradients that come in into the gradients to the arguments. Under `create_graph` the
reference is differentiated instead, so that it can be differentiated again.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurra.core.kernels.flashrnn import reference
from recurra.core.kernels.flashrnn.cell import Cell
from recurra.core.kernels.flashrnn.lstm import peephole_gradient
from recurra.core.kernels.second_derivatives import differentiable


class Passes(NamedTuple):
    """The two passes of a form of the recurrence.

    `forward(cell, wx, r, b, states, peephole, idle, reverse, keep_all)` returns a buffer (T + 1, B,
    H, D) for each state in the order of time, the first state too; a state that is not kept, where
    only h is, may have any shorter one, used in turn. `backward(ctx, given, idle, history,
    cotangents)` returns the gradients to wx, r, b, the states and the peephole.
    """

    forward: Callable[..., list[Tensor]]
    backward: Callable[..., list[Tensor | None]]


def run_passes(
    passes: Passes,
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
    given = (wx, r, b, states, peephole)
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given):
        *sequences, last = _Recurrence.apply(  # type: ignore[no-untyped-call]
            *given, idle, cell, reverse, all_states, passes
        )
        return sequences, last
    history = passes.forward(cell, *given, idle, reverse, all_states)
    return _results(history, wx.shape[1], reverse, all_states)


def _results(
    history: list[Tensor], n_steps: int, reverse: bool, all_states: bool
) -> tuple[list[Tensor], Tensor]:
    end = 0 if reverse else n_steps
    last = torch.stack([buffer[end % buffer.shape[0]] for buffer in history], dim=1)
    start = 0 if reverse else 1
    kept = history if all_states else history[:1]
    return [buffer[start : start + n_steps] for buffer in kept], last


class _Recurrence(torch.autograd.Function):
    """The loop with its backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        wx: Tensor,
        r: Tensor,
        b: Tensor,
        states: Tensor,
        peephole: Tensor | None,
        idle: Tensor | None,
        cell: Cell,
        reverse: bool,
        all_states: bool,
        passes: Passes,
    ) -> tuple[Tensor, ...]:
        history = passes.forward(cell, wx, r, b, states, peephole, idle, reverse, True)
        ctx.save_for_backward(wx, r, b, states, peephole, idle, *history)
        ctx.cell, ctx.reverse, ctx.all_states = cell, reverse, all_states
        ctx.passes = passes
        sequences, last = _results(history, wx.shape[1], reverse, all_states)
        return (*sequences, last)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *given, idle = ctx.saved_tensors[:6]
        with torch.autocast(grads[0].device.type, enabled=False):
            if torch.is_grad_enabled():

                def run(*views: Any) -> tuple[Tensor, ...]:
                    options = {"reverse": ctx.reverse, "all_states": ctx.all_states}
                    sequences, last = reference.run(*(ctx.cell, *views, idle), **options)
                    return (*sequences, last)

                found = differentiable(run, given, grads)
            else:
                found = ctx.passes.backward(ctx, given, idle, ctx.saved_tensors[6:], grads)
        return (*found, None, None, None, None, None)


class Gates:
    """The pre-activations of a step, or of many, in a buffer that may be filled again and again.

    Its views are made once: in each step of a loop they would take a sixth of the time.
    """

    def __init__(self, cell: Cell, r: Tensor, b: Tensor, pre: Tensor) -> None:
        """Fill `pre` (..., B, H, n_gates, D) from r (G, H, D, D) and b (n_gates, H, D)."""
        split = [cell.n_gates - cell.n_input, cell.n_input]
        self.pre = pre
        self._without_input, self._with_input = torch.split(pre, split, dim=-2)
        self._first_bias, self._bias = torch.split(b.transpose(0, 1).contiguous(), split, 1)
        self._recurrent = flat(pre[..., : cell.n_recurrent, :].flatten(-2))
        self._weight = r.permute(1, 3, 0, 2).flatten(2)  # (H, D, n_recurrent * D)

    def fill(self, wx: Tensor, h: Tensor) -> Tensor:
        """Return bias + input + R h, for wx (..., B, H, n_input, D) and h (H, ... * B, D)."""
        if self._without_input.shape[-2]:
            self._without_input.copy_(self._first_bias)
        torch.add(wx, self._bias, out=self._with_input)
        self._recurrent.baddbmm_(h, self._weight)
        return self.pre


def flat(x: Tensor) -> Tensor:
    """View x (..., B, H, C) as (H, ... * B, C), for one matrix product a head."""
    return x.flatten(0, -3).transpose(0, 1)


def before_and_after(history: Sequence[Tensor], reverse: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Return the states (T, B, H, D) before each step and after it, in the order of time."""
    earlier, later = [x[:-1] for x in history], [x[1:] for x in history]
    return (later, earlier) if reverse else (earlier, later)


def gradients(
    cell: Cell,
    given: Sequence[Tensor],
    grad_pre: Tensor,
    grads: Sequence[Tensor],
    before: Sequence[Tensor],
    after: Sequence[Tensor],
) -> list[Tensor | None]:
    """Return all gradients, from those to the gates (T, B, H, n_gates, D) and the first states."""
    wx, r, _, _, peephole = given
    recurrent = flat(grad_pre[..., : cell.n_recurrent, :].flatten(-2))  # (H, T * B, ...)
    grad_r = torch.bmm(recurrent.transpose(1, 2), flat(before[0]))
    return [
        grad_pre[..., cell.n_gates - cell.n_input :, :].permute(1, 0, 3, 2, 4).to(wx.dtype),
        grad_r.view(r.shape[1], r.shape[0], *r.shape[2:]).transpose(0, 1),
        grad_pre.sum(dim=(0, 1)).transpose(0, 1),
        torch.stack(list(grads), dim=1),
        None if peephole is None else peephole_gradient(grad_pre, before, after),
    ]
