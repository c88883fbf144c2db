"""Mamba-2: a selective state space with one decay a head, between a gate and a short filter."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.kernels import ssd
from recurra.core.kernels.lengths import steps_inside
from recurra.core.layers.short_conv import ShortConv

State = dict[str, Tensor]


class Mamba2(nn.Module):
    """A sequence layer that chooses, step by step, what its state takes in and what it forgets.

    From each x come a gate z, values v, keys B, queries C (all but z through a causal filter over a
    few steps and silu) and a step size dt for each head:

        S_t = exp(-dt_t exp(A_log)) S_{t-1} + dt_t v_t B_t^T,  y_t = S_t C_t + D v_t,

    and the output is a projection of the RMS norm of y * silu(z). It costs O(T); a stream keeps
    `state_size()` numbers a row, however long it is.

    Source: Dao & Gu 2024, "Transformers are SSMs" (arXiv 2405.21060, section 7 and figure 6).
    Parameters have the names and shapes of `Mamba2` in state-spaces/mamba (its defaults, where
    `D_has_hdim` is off and the gate comes before the norm), and begin as there.

    Args:
        d_model: channels of x and y.
        d_state: N, the width of keys and queries.
        d_conv: steps that the filter sees.
        expand: the width inside is expand * d_model.
        head_width: P, the channels of a head; it divides the width inside.
        groups: how many B and C there are; equally many heads share each. The norm is over the
            channels of a group.
    """

    causal = True
    streams = True
    is_linear = False
    look_ahead = 0

    def __init__(
        self,
        d_model: int,
        d_state: int = 128,
        *,
        d_conv: int = 4,
        expand: int = 2,
        head_width: int = 64,
        groups: int = 1,
    ) -> None:
        super().__init__()
        d_inner = expand * d_model
        if d_inner % head_width or (d_inner // head_width) % groups:
            raise ValueError(
                f"head_width {head_width} must divide expand * d_model = {d_inner}, "
                f"and groups {groups} the number of heads that this gives"
            )
        self.d_inner, self.d_state = d_inner, d_state
        self.heads, self.head_width, self.groups = d_inner // head_width, head_width, groups
        self.d_filtered = d_inner + 2 * groups * d_state
        self.in_proj = nn.Linear(d_model, d_inner + self.d_filtered + self.heads, bias=False)
        self.conv1d = ShortConv(self.d_filtered, d_conv)
        self.dt_bias = nn.Parameter(initial_dt_bias(self.heads))
        self.A_log = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = _GroupedRMSNorm(d_inner, groups)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

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
            y (B, T, C), and the state after each row's last counted step: "conv"
            (B, d_conv - 1, channels of the filter), inputs of the filter, and "ssm" (B, H, P, N) in
            float32 or better.
        """
        before = state or self.initial_state(x)
        if lengths is not None:
            inside = steps_inside(lengths, x)
            x = torch.where(inside, x, 0)
        z, filtered, dt = self.in_proj(x).split([self.d_inner, self.d_filtered, self.heads], dim=-1)
        filtered, conv = self.conv1d(filtered, before["conv"], lengths)
        v, b, c = self._heads(functional.silu(filtered))
        dt = functional.softplus(dt + self.dt_bias)  # (B, T, H)
        y, ssm = ssd(
            v * dt[..., None], -dt * self.A_log.exp(), b, c, state=before["ssm"], lengths=lengths
        )
        y = y + self.D[:, None] * v  # (B, T, H, P)
        y = self.out_proj(self.norm(y.flatten(2) * functional.silu(z)))
        return (y if lengths is None else torch.where(inside, y, 0)), {"conv": conv, "ssm": ssm}

    def initial_state(self, x: Tensor) -> State:
        """Return the state before the first step, for rows typed as x (B, T, C)."""
        shape = x.shape[0], self.heads, self.head_width, self.d_state
        ssm = x.new_zeros(shape, dtype=torch.promote_types(x.dtype, torch.float32))
        return {"conv": self.conv1d.initial_state(x), "ssm": ssm}

    def state_size(self) -> int:
        """Return how many numbers a row keeps, however many steps came before."""
        taps = self.conv1d.weight.shape[2]
        return (taps - 1) * self.d_filtered + self.d_inner * self.d_state

    def _heads(self, filtered: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cut the filtered channels into v (B, T, H, P), B and C (B, T, G, N)."""
        keys = self.groups * self.d_state
        v, b, c = torch.split(filtered, [self.d_inner, keys, keys], dim=-1)
        group = (self.groups, self.d_state)
        v = torch.unflatten(v, -1, (self.heads, self.head_width))
        return v, torch.unflatten(b, -1, group), torch.unflatten(c, -1, group)


class _GroupedRMSNorm(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[-1] // self.groups
        grouped = torch.unflatten(x, -1, (self.groups, width))
        return functional.rms_norm(grouped, (width,), eps=1e-5).flatten(-2) * self.weight


def initial_dt_bias(heads: int) -> Tensor:
    """Draw step sizes log-uniformly from .001 to .1 and return their inverse softplus, (H,).

    Source: `dt_min`, `dt_max` of `Mamba2` in state-spaces/mamba; Gated DeltaNet begins alike.
    """
    dt = torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
    return dt + torch.log(-torch.expm1(-dt))
