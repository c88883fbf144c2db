"""MossFormer's convolution module: a projection whose steps each see their neighbours."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.kernels import fir
from recurra.core.layers.short_conv import ShortConv

Norm = Literal["scale", "layer"]


class ConvModule(nn.Module):
    """h = silu(linear(norm(x))), y = dropout(h + (taps * h along time)), a channel at a time.

    The taps lie around each step; with `causal`, behind it.

    Source: Zhao & Ma 2023, "MossFormer" (arXiv 2302.11824, section 2.2); `FFConvM` of
    ClearerVoice-Studio, whose 17 taps have no bias.
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        *,
        norm: Norm,
        taps: int = 17,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if taps % 2 == 0 and not causal:
            raise ValueError(f"taps around a step must be odd in number, not {taps}")
        self.norm = ScaleNorm() if norm == "scale" else nn.LayerNorm(d_in)
        self.linear = nn.Linear(d_in, d_out)
        self.conv = ShortConv(d_out, taps, bias=False)
        self.causal = causal
        self.dropout = dropout

    def forward(
        self, x: Tensor, state: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Project x (B, T, d_in) to y (B, T, d_out).

        Returns:
            y, which is anything beyond a row's length, and the state after each row's last step
            (B, taps - 1, d_out); where the taps are around each step, an empty one.
        """
        h = functional.silu(self.linear(self.norm(x)))
        if self.causal:
            before = self.conv.initial_state(h) if state is None else state
            memory, last = self.conv(h, before, lengths)
        else:
            taps = self.conv.weight.permute(2, 0, 1).to(h.dtype)
            reach = taps.shape[0] // 2
            memory, _ = fir(h, taps, left=reach, right=reach, lengths=lengths)
            last = h[:, :0]
        return functional.dropout(h + memory, self.dropout, self.training), last


class ScaleNorm(nn.Module):
    """Divide each step by its root mean square, and multiply all by one learned number.

    Source: Nguyen & Salazar 2019, "Transformers without Tears" (arXiv 1910.05895, section 3.2);
    as in FLASH's code, the length counts in units of sqrt(C), and is at least 1e-5.
    """

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of x."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        # Clamped before the root, whose gradient at zero has none.
        rms = wide.square().mean(-1, keepdim=True).clamp(min=1e-10).sqrt()
        return (wide / rms).to(x.dtype) * self.g.to(x.dtype)
