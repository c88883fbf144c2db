"""The portable fast form of `linear_cross_entropy`: blocks of positions, each in one pass.

Scores, their softmax and all three gradients are formed once, block by block, in the forward pass:
nothing is made anew backward, and memory is BLOCK * V numbers and not M * V. To be differentiated
twice, the reference is differentiated instead, with all its scores.
"""

from typing import Any

import torch
from torch import Tensor

from recurra.core.kernels.linear_cross_entropy import reference
from recurra.core.kernels.second_derivatives import differentiable

BLOCK = 256  # positions whose scores are in memory at once


def linear_cross_entropy(hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of hidden (M, C), table (V, C), bias (V,) and targets (M,)."""
    given = (hidden, table, bias)
    needed = torch.is_grad_enabled() and any(z.requires_grad for z in given)
    loss: Tensor = _Blockwise.apply(*given, targets, needed)  # type: ignore[no-untyped-call]
    return loss


class _Blockwise(torch.autograd.Function):
    """The loss, whose gradients are there before they are asked for."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor, needed: bool
    ) -> Tensor:
        total = hidden.new_zeros(())
        grads = [torch.zeros_like(x) for x in (hidden, table, bias)] if needed else []
        share = 1 / max(len(hidden), 1)
        memory = hidden.new_empty(min(BLOCK, len(hidden)), len(table))  # of one block, used again
        for start in range(0, len(hidden), BLOCK):
            block, goal = hidden[start : start + BLOCK], targets[start : start + BLOCK, None]
            scores = torch.addmm(bias, block, table.t(), out=memory[: len(block)])
            largest = scores.amax(dim=1, keepdim=True)
            at_goal = scores.gather(1, goal) - largest
            weights = scores.sub_(largest).exp_()  # the scores' memory from here on
            sums = weights.sum(dim=1, keepdim=True)
            total += (sums.log() - at_goal).sum()
            if needed:
                weights.mul_(share / sums)
                weights.scatter_add_(1, goal, torch.full_like(at_goal, -share))
                torch.mm(weights, table, out=grads[0][start : start + BLOCK])
                grads[1].addmm_(weights.t(), block)
                grads[2] += weights.sum(dim=0)
        ctx.save_for_backward(hidden, table, bias, targets, *grads)
        return total * share

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, table, bias, targets, *grads = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*differentiable_gradients(hidden, table, bias, targets, grad), None, None)
        return (*(grad * found for found in grads), None, None)


def differentiable_gradients(
    hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor, grad: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients to hidden, table and bias as functions of them, by the reference."""

    def run(*views: Tensor) -> tuple[Tensor]:
        x, rows, offsets = (z.to(grad.dtype) for z in views)
        return (reference.linear_cross_entropy(x, rows, offsets, targets),)

    return differentiable(run, (hidden, table, bias), (grad,))
