"""The scalar LSTM of xLSTM: exponential gates, a normaliser and a stabiliser."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from recurra.core.kernels.flashrnn.cell import Cell


class Slstm(Cell):
    """Gates i f z o, states h c n m.

        m' = max(i, log sigmoid(f) + m)
        add = exp(i - m'),  keep = exp(log sigmoid(f) + m - m')
        c' = keep c + add tanh(z)
        n' = max(keep n + add, 1)
        h' = sigmoid(o) c' / n'

    Where n = 0 the cell is fresh: it has no past to keep, so keep = 0 and m' = i. Each element
    decides that for itself. FlashRNN 1.0.8 asks whether a whole batch is fresh, so that a row's
    numbers depend on its neighbours, and takes keep from m = 0, which overflows to NaN for an input
    gate below -88 in float32 and lets a gradient through to the c of a fresh cell.

    Source: Beck et al. 2024, "xLSTM" (arXiv 2405.04517, section 2.2), with FlashRNN's bound n' >= 1
    (arXiv 2412.07752).
    """

    states = ("h", "c", "n", "m")

    def step(
        self, pre: Tensor, before: Sequence[Tensor], peephole: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Return the next states (h, c, n, m)."""
        i, f, z, o = pre.unbind(-2)
        _, c, n, m = before
        past = _past(f, n, m)
        m = torch.maximum(i, past)
        add, keep = torch.exp(i - m), torch.exp(past - m)
        c = keep * c + add * torch.tanh(z)
        n = torch.clamp(keep * n + add, min=1)
        return torch.sigmoid(o) * c / n, c, n, m

    def step_in_place(
        self,
        pre: Tensor,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        peephole: Tensor | None,
    ) -> None:
        """Write the next states into `after`; i and f stay in `pre`, z and o are activated."""
        i, f, z, o = pre.unbind(-2)
        (_, c, n, m), (h_new, c_new, n_new, m_new) = before, after
        past = _past(f, n, m)
        torch.maximum(i, past, out=m_new)
        add, keep = (i - m_new).exp_(), past.sub_(m_new).exp_()
        torch.mul(keep, c, out=c_new).addcmul_(add, z.tanh_())
        torch.mul(keep, n, out=n_new).add_(add).clamp_(min=1)
        torch.div(c_new, n_new, out=h_new).mul_(o.sigmoid_())

    def slopes(
        self,
        gates: Tensor,
        before: Sequence[Tensor],
        after: Sequence[Tensor],
        peephole: Tensor | None,
        grad_pre: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return what `step_back` names; z and o follow from dc' and dh'."""
        i, f, z, o = gates.unbind(-2)
        (_, c, n, m), (h_new, _, n_new, m_new) = before, after
        _, _, d_z, d_o = grad_pre.unbind(-2)
        past = _past(f, n, m)
        # Where both are the maximum, each gets half, as torch.maximum has it.
        from_i = (i > past).to(i.dtype).add_(i == past, alpha=0.5)
        add, keep = (i - m_new).exp_(), past.sub_(m_new).exp_()
        inside = keep * n + add >= 1  # where n' is not held at its bound
        torch.addcmul(add, add, z.square(), value=-1, out=d_z)
        torch.addcmul(h_new, h_new, o, value=-1, out=d_o)
        keep_n, add_n = keep * inside, add * inside
        return (
            o / n_new,
            h_new / n_new,
            add * z,
            add_n,
            keep * c,
            keep_n * n,
            keep,
            keep_n,
            from_i,
            torch.sigmoid(-f),
        )

    def step_back(
        self, grad_pre: Tensor, slopes: Sequence[Tensor], grads: Sequence[Tensor]
    ) -> None:
        """Step back: (dh', dc', dn', dm') becomes (0, dc, dn, dm)."""
        c_to_h, n_to_h, c_by_add, n_by_add, c_by_keep, n_by_keep, keep, keep_n, from_i, not_f = (
            slopes
        )
        d_i, d_f, d_z, d_o = grad_pre.unbind(-2)
        dh, dc, dn, dm = grads
        dc.addcmul_(dh, c_to_h)
        dn.addcmul_(dh, n_to_h, value=-1)
        torch.mul(dc, c_by_add, out=d_i).addcmul_(dn, n_by_add)
        d_past = (dc * c_by_keep).addcmul_(dn, n_by_keep)
        dm.sub_(d_i).sub_(d_past)  # all of the gradient to m' is known here
        by_i = from_i * dm
        d_i.add_(by_i)
        torch.add(d_past, dm.sub_(by_i), out=dm)
        torch.mul(dm, not_f, out=d_f)
        d_z.mul_(dc)
        d_o.mul_(dh)
        dc.mul_(keep)
        dn.mul_(keep_n)
        dh.zero_()


def _past(f: Tensor, n: Tensor, m: Tensor) -> Tensor:
    """Return the exponent of what is kept, in absolute terms: minus infinity in a fresh cell."""
    return (functional.logsigmoid(f) + m).masked_fill(n == 0, -torch.inf)
