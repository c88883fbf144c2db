"""The gated recurrent unit, in the form whose reset gate acts on the recurrent product."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recurra.core.kernels.flashrnn.cell import Cell


class Gru(Cell):
    """Gates g r z n, state h: the recurrent product feeds g r z, the input r z n.

        n' = tanh(n + sigmoid(r) g)
        h' = sigmoid(z) h + (1 - sigmoid(z)) n'

    Source: Cho et al. 2014 (arXiv 1406.1078), in cuDNN's and PyTorch's form, where the candidate's
    recurrent part g has a bias of its own.
    """

    states = ("h",)
    n_input = 3
    n_recurrent = 3

    def step(
        self, pre: Tensor, before: Sequence[Tensor], peephole: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Return the next state (h,)."""
        g, r, z, n = pre.unbind(-2)
        candidate = torch.tanh(n + torch.sigmoid(r) * g)
        return (candidate + torch.sigmoid(z) * (before[0] - candidate),)

    def step_in_place(
        self,
        pre: Tensor,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        peephole: Tensor | None,
    ) -> None:
        """Write the next state into `after`, and g and the activated gates over `pre`."""
        g, r, z, n = pre.unbind(-2)
        pre[..., 1:3, :].sigmoid_()
        n.addcmul_(r, g).tanh_()
        torch.sub(before[0], n, out=after[0]).mul_(z).add_(n)

    def slopes(
        self,
        gates: Tensor,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        peephole: Tensor | None,
        grad_pre: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return z: every gate's gradient is dh' times its factor."""
        g, r, z, n = gates.unbind(-2)
        d_g, d_r, d_z, d_n = grad_pre.unbind(-2)
        not_z, not_r = 1 - z, 1 - r
        torch.addcmul(not_z, not_z, n.square(), value=-1, out=d_n)
        torch.mul(d_n, r, out=d_g)
        torch.mul(d_g, g, out=d_r).mul_(not_r)
        torch.sub(before[0], n, out=d_z).mul_(z).mul_(not_z)
        return (z,)

    def step_back(
        self, grad_pre: Tensor, slopes: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> None:
        """Step back: (dh',) becomes (z dh',)."""
        grad_pre.mul_(grads[0].unsqueeze(-2))
        grads[0].mul_(slopes[0])
