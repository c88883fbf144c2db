"""A causal filter over the last few steps, a channel at a time: the local part of Mamba and kin."""

import torch
from torch import Tensor, nn

from recurra.core.kernels import fir


class ShortConv(nn.Module):
    """Filter each channel causally with its own taps, and hand the last steps on as a state.

    Parameters are those of a depthwise `nn.Conv1d`, `weight` (C, 1, taps) and `bias` (C,), so that
    official checkpoints load.
    """

    def __init__(self, channels: int, taps: int = 4, *, bias: bool = True) -> None:
        super().__init__()
        bound = taps**-0.5  # as nn.Conv1d begins
        self.weight = nn.Parameter(torch.empty(channels, 1, taps).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound)) if bias else None

    def forward(
        self, x: Tensor, state: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Filter x (B, T, C) after the steps in `state` (B, taps - 1, C).

        Returns:
            y (B, T, C), and the inputs before and at each row's last counted step.
        """
        # Under autocast x is in a lower precision than the parameters.
        taps = self.weight.permute(2, 0, 1).to(x.dtype)
        y, last = fir(x, taps, state=state.to(x.dtype), lengths=lengths)
        return (y if self.bias is None else y + self.bias.to(x.dtype)), last

    def initial_state(self, x: Tensor) -> Tensor:
        """Return the steps before the first, zeros for the rows of x."""
        channels, _, taps = self.weight.shape
        return x.new_zeros(x.shape[0], taps - 1, channels)
