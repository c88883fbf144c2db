"""The long short-term memory cell, with diagonal peepholes where they are given."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recurra.core.kernels.flashrnn.cell import Cell


class Lstm(Cell):
    """Gates i f z o (PyTorch's i f g o), states h c.

        c' = sigmoid(f) c + sigmoid(i) tanh(z)
        h' = sigmoid(o) tanh(c')

    With peepholes, i and f see p_i c and p_f c, and o sees p_o c'.

    Source: Gers, Schmidhuber and Cummins 2000, "Learning to forget"; peepholes: Gers and
    Schmidhuber 2000, "Recurrent nets that time and count".
    """

    states = ("h", "c")
    takes_peephole = True

    def step(
        self, pre: Tensor, before: Sequence[Tensor], peephole: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Return the next states (h, c)."""
        i, f, z, o = pre.unbind(-2)
        c = before[1]
        if peephole is not None:
            i = i + peephole[0] * c
            f = f + peephole[1] * c
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(z)
        if peephole is not None:
            o = o + peephole[2] * c
        return torch.sigmoid(o) * torch.tanh(c), c

    def step_in_place(
        self,
        pre: Tensor,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        peephole: Tensor | None,
    ) -> None:
        """Write the next states into `after` and the activated gates over `pre`."""
        i, f, z, o = pre.unbind(-2)
        c, (h_new, c_new) = before[1], after
        if peephole is not None:
            i.addcmul_(peephole[0], c)
            f.addcmul_(peephole[1], c)
        pre[..., :2, :].sigmoid_()
        torch.mul(f, c, out=c_new).addcmul_(i, z.tanh_())
        if peephole is not None:
            o.addcmul_(peephole[2], c_new)
        torch.tanh(c_new, out=h_new).mul_(o.sigmoid_())

    def slopes(
        self,
        gates: Tensor,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        peephole: Tensor | None,
        grad_pre: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return dc'/dc, and dc' for each dh'; i, f and z follow from dc', o from dh'."""
        i, f, z, o = gates.unbind(-2)
        d_i, d_f, d_z, d_o = grad_pre.unbind(-2)
        tanh_c = torch.tanh(after[1])
        torch.addcmul(i, i, i, value=-1, out=d_i).mul_(z)
        torch.addcmul(f, f, f, value=-1, out=d_f).mul_(before[1])
        torch.addcmul(i, i, z.square(), value=-1, out=d_z)
        torch.addcmul(o, o, o, value=-1, out=d_o).mul_(tanh_c)
        from_h = torch.addcmul(o, o, tanh_c.square_(), value=-1)
        if peephole is None:
            return f, from_h
        keep = f + d_i * peephole[0] + d_f * peephole[1]
        return keep, from_h.addcmul_(d_o, peephole[2])

    def step_back(
        self, grad_pre: Tensor, slopes: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> None:
        """Step back: (dh', dc') becomes (0, dc)."""
        (keep, from_h), (dh, dc) = slopes, grads
        dc.addcmul_(dh, from_h)
        grad_pre[..., :3, :].mul_(dc.unsqueeze(-2))
        grad_pre[..., 3, :].mul_(dh)
        dc.mul_(keep)
        dh.zero_()


def peephole_gradient(
    grad_pre: Tensor, before: Sequence[Tensor], after: Sequence[Tensor]
) -> Tensor:
    """Return the gradient to the peepholes (3, H, D) from that to all pre-activations."""
    d_i, d_f, _, d_o = grad_pre.unbind(-2)  # each (T, B, H, D)
    seen = ((d_i, before[1]), (d_f, before[1]), (d_o, after[1]))
    return torch.stack([torch.einsum("tbhd,tbhd->hd", d, c) for d, c in seen])
