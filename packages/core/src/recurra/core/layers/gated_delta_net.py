"""Gated DeltaNet: a memory that is corrected at each key, and fades."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.kernels import delta_rule
from recurra.core.kernels.lengths import steps_inside
from recurra.core.layers.mamba2 import initial_dt_bias
from recurra.core.layers.short_conv import ShortConv

State = dict[str, Tensor]


class GatedDeltaNet(nn.Module):
    """A sequence layer whose state is a map from keys to values, rewritten where it errs.

    From each x come queries, keys of length one, values (all through a causal filter over a few
    steps and silu), a rate beta from 0 to 1 and a decay a = exp(-exp(A_log) softplus(. + dt_bias))
    for each head; `delta_rule` then erases what the state holds at the key and writes the value.
    The output is a projection of the RMS norm of each head times silu of a gate. It costs O(T); a
    stream keeps `state_size()` numbers a row, however long it is.

    Source: Yang et al. 2024, "Gated Delta Networks" (arXiv 2412.06464, section 3.4 and figure 1).
    Parameters have the names and shapes of `GatedDeltaNet` in flash-linear-attention (with
    `use_gate` and as many heads of values as of keys), and begin as there.

    Args:
        d_model: channels of x and y.
        heads: H.
        head_width: the width of a head's keys and queries.
        value_width: the width of a head's values; None is twice `head_width`.
        d_conv: steps that the filters see.
    """

    causal = True
    streams = True
    is_linear = False
    look_ahead = 0

    def __init__(
        self,
        d_model: int,
        heads: int,
        head_width: int,
        value_width: int | None = None,
        *,
        d_conv: int = 4,
    ) -> None:
        super().__init__()
        value_width = value_width or 2 * head_width
        keys, values = heads * head_width, heads * value_width
        self.heads, self.head_width, self.value_width = heads, head_width, value_width
        self.q_proj = nn.Linear(d_model, keys, bias=False)
        self.k_proj = nn.Linear(d_model, keys, bias=False)
        self.v_proj = nn.Linear(d_model, values, bias=False)
        self.a_proj = nn.Linear(d_model, heads, bias=False)
        self.b_proj = nn.Linear(d_model, heads, bias=False)
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(0, 16).log())
        self.dt_bias = nn.Parameter(initial_dt_bias(heads))
        self.q_conv1d = ShortConv(keys, d_conv, bias=False)
        self.k_conv1d = ShortConv(keys, d_conv, bias=False)
        self.v_conv1d = ShortConv(values, d_conv, bias=False)
        self.g_proj = nn.Linear(d_model, values, bias=False)
        self.o_norm = nn.RMSNorm(value_width, eps=1e-5)
        self.o_proj = nn.Linear(values, d_model, bias=False)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run over the steps of x.

        Args:
            x: (B, T, C).
            state: what `forward` or `initial_state` returned before; None is the beginning.
            lengths: (B,) integers from 0 to T: how many steps of each row count. The rest of the
                row changes nothing, whatever stands there, and its y is zero.

        Returns:
            y (B, T, C), and the state after each row's last counted step: "q", "k", "v"
            (B, d_conv - 1, .), inputs of the filters, and "memory" (B, H, value_width, head_width)
            in float32 or better.
        """
        before = state or self.initial_state(x)
        if lengths is not None:
            inside = steps_inside(lengths, x)
            x = torch.where(inside, x, 0)
        q, after_q = self.q_conv1d(self.q_proj(x), before["q"], lengths)
        k, after_k = self.k_conv1d(self.k_proj(x), before["k"], lengths)
        v, after_v = self.v_conv1d(self.v_proj(x), before["v"], lengths)
        q, k, v = (
            torch.unflatten(functional.silu(filtered), -1, (self.heads, width))
            for filtered, width in (
                (q, self.head_width),
                (k, self.head_width),
                (v, self.value_width),
            )
        )
        y, memory = delta_rule(
            _unit(q) * self.head_width**-0.5,
            _unit(k),
            v,
            self.b_proj(x).sigmoid(),
            log_a=-self.A_log.exp() * functional.softplus(self.a_proj(x) + self.dt_bias),
            state=before["memory"],
            lengths=lengths,
        )
        y = self.o_norm(y.to(self.o_norm.weight.dtype))  # lower under autocast
        y = self.o_proj(y.flatten(2) * functional.silu(self.g_proj(x)))
        y = y if lengths is None else torch.where(inside, y, 0)
        return y, {"q": after_q, "k": after_k, "v": after_v, "memory": memory}

    def initial_state(self, x: Tensor) -> State:
        """Return the state before the first step, for rows typed as x (B, T, C)."""
        shape = x.shape[0], self.heads, self.value_width, self.head_width
        return {
            "q": self.q_conv1d.initial_state(x),
            "k": self.k_conv1d.initial_state(x),
            "v": self.v_conv1d.initial_state(x),
            "memory": x.new_zeros(shape, dtype=torch.promote_types(x.dtype, torch.float32)),
        }

    def state_size(self) -> int:
        """Return how many numbers a row keeps, however many steps came before."""
        taps = self.q_conv1d.weight.shape[2]
        filtered = self.heads * (2 * self.head_width + self.value_width)
        return (taps - 1) * filtered + self.heads * self.head_width * self.value_width


def _unit(x: Tensor) -> Tensor:
    # The small number is the official code's; it keeps the gradient of a key of zeros finite.
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
