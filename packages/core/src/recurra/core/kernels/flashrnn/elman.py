"""The simple recurrent network."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recurra.core.kernels.flashrnn.cell import Cell


class Elman(Cell):
    """One gate, state h: h' = tanh(pre).

    Source: Elman 1990, "Finding structure in time".
    """

    states = ("h",)
    n_gates = n_input = n_recurrent = 1

    def step(
        self, pre: Tensor, before: Sequence[Tensor], peephole: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Return the next state (h,)."""
        return (torch.tanh(pre.squeeze(-2)),)

    def step_in_place(
        self,
        pre: Tensor,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        peephole: Tensor | None,
    ) -> None:
        """Write the next state into `after`."""
        torch.tanh(pre.squeeze(-2), out=after[0])

    def slopes(
        self,
        gates: Tensor,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        peephole: Tensor | None,
        grad_pre: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return nothing: the derivative of tanh goes into `grad_pre`."""
        torch.square(after[0], out=grad_pre.squeeze(-2)).neg_().add_(1)
        return ()

    def step_back(
        self, grad_pre: Tensor, slopes: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> None:
        """Step back: (dh',) becomes (0,)."""
        grad_pre.squeeze(-2).mul_(grads[0])
        grads[0].zero_()
