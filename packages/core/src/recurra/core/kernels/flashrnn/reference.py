"""The definition of `flashrnn`: a plain loop over time, differentiated by autograd."""

import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.kernels.flashrnn.cell import Cell


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
    """Run one cell over time.

    Args:
        cell: the cell, which names its gates.
        wx: (B, T, n_input, H, D).
        r: (n_recurrent, H, D, D).
        b: (n_gates, H, D).
        states: (B, S, H, D).
        peephole: (3, H, D) or None.
        idle: (T, B, 1, 1), true where a row's state stands still.
        reverse: run from the last step to the first.
        all_states: return every state of every step.

    Returns:
        h of each step (T, B, H, D), or a tensor for each state; and the last states (B, S, H, D).
    """
    steps = wx.transpose(2, 3).unbind(1)  # each (B, H, n_input, D)
    bias = b.transpose(0, 1)  # (H, n_gates, D)
    before_input = (0, 0, cell.n_gates - cell.n_input, 0)
    after_recurrent = (0, 0, 0, cell.n_gates - cell.n_recurrent)
    current = states.unbind(1)
    history = []
    order = range(len(steps))
    for t in reversed(order) if reverse else order:
        product = torch.einsum("ghde,bhe->bhgd", r, current[0])
        pre = bias + functional.pad(steps[t], before_input)
        pre = pre + functional.pad(product, after_recurrent)
        after = cell.step(pre, current, peephole)
        if idle is not None:
            after = tuple(torch.where(idle[t], a, b) for a, b in zip(current, after, strict=True))
        current = after
        history.append(current)
    last = torch.stack(current, dim=1)
    if reverse:
        history.reverse()
    if not history:
        empty = wx[:, :, 0].transpose(0, 1).to(last.dtype)  # (0, B, H, D)
        return [empty] * (len(current) if all_states else 1), last
    sequences = [torch.stack(sequence) for sequence in zip(*history, strict=True)]
    return sequences if all_states else sequences[:1], last
