"""Cross-entropy over a whole catalogue without its matrix of scores."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

BLOCK = 256  # positions whose scores are in memory at once


def blockwise_cross_entropy(hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of softmax(hidden @ table.T + bias), exact, in blocks of positions.

    Scores, their softmax and all three gradients are formed once, block by block, so that memory
    is BLOCK * V numbers and not M * V. The gradients are made in the forward pass; it cannot be
    differentiated twice.

    Args:
        hidden: (M, C).
        table: (V, C).
        bias: (V,).
        targets: (M,) int64, from 0 to V - 1.

    Returns:
        scalar; 0 where M is 0.
    """
    return _BlockwiseCrossEntropy.apply(hidden, table, bias, targets)


class _BlockwiseCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        total = hidden.new_zeros(())
        needed = any(ctx.needs_input_grad)
        grads = [torch.zeros_like(x) for x in (hidden, table, bias)] if needed else []
        share = 1 / max(len(hidden), 1)
        for start in range(0, len(hidden), BLOCK):
            block, goal = hidden[start : start + BLOCK], targets[start : start + BLOCK, None]
            scores = torch.addmm(bias, block, table.t())
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
        ctx.save_for_backward(*grads)
        return total * share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(grad * found for found in ctx.saved_tensors), None)
