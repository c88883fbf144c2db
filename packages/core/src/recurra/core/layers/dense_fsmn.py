"""The dilated dense memory of MossFormer2: filters on filters, each wider and on all before it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.kernels import fir
from recurra.core.kernels.lengths import zero_beyond

State = dict[str, Tensor]


class DenseFsmn(nn.Module):
    """y = x + the last of `depth` filters along time over p = project(relu(linear(x))).

    Filter d = 1, 2, ... has 2 order - 1 taps, 2 ** (d - 1) steps apart, around each step. It reads
    the outputs of all filters before it, the last one first, and p at the end: laid side by side,
    channel c of d * C takes part in output c // d, so that an output sees d neighbouring channels
    of that row. A norm over the steps of each row and channel and a PReLU follow. The norm needs
    the whole row, so it does not stream. It costs O(T * order * depth^2 * C).

    Source: `UniDeepFsmn_dilated` of ClearerVoice-Studio (MossFormer2_SS: order 20, depth 2), after
    Zhao et al. 2023, "MossFormer2" (arXiv 2312.11825, section 2.2). The paper pairs equal channels
    where the code takes neighbours; official weights call for the code's way.
    """

    causal = False
    streams = False
    is_linear = False
    look_ahead = 0

    def __init__(
        self, d_model: int, d_hidden: int | None = None, *, order: int = 20, depth: int = 2
    ) -> None:
        super().__init__()
        d_hidden = d_hidden or d_model
        self.linear = nn.Linear(d_model, d_hidden)
        self.project = nn.Linear(d_hidden, d_model, bias=False)
        self.filters = nn.ModuleList(
            _Filter(d_model, 2 * order - 1, n_inputs=d + 1, dilation=2**d) for d in range(depth)
        )

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Add the memory of the steps around each step.

        Args:
            x: (B, T, C), whole rows.
            state: nothing: an empty state or None.
            lengths: (B,) integers from 0 to T: how many steps of each row count. The rest of the
                row changes nothing, whatever stands there, and its y is zero.

        Returns:
            y (B, T, C), and an empty state.

        Raises:
            ValueError: a state that is not empty.
        """
        if state:
            raise ValueError("DenseFsmn does not stream: call it on whole rows")
        (x,) = zero_beyond(lengths, x)
        out = seen = self.project(torch.relu(self.linear(x)))
        for layer in self.filters:
            out = layer(seen, lengths)
            seen = torch.cat([out, seen], dim=-1)
        return zero_beyond(lengths, x + out)[0], {}

    def initial_state(self, x: Tensor) -> State:
        """Return the empty state."""
        return {}

    def state_size(self) -> int:
        """Return 0: it does not stream."""
        return 0


class _Filter(nn.Module):
    def __init__(self, channels: int, n_taps: int, *, n_inputs: int, dilation: int) -> None:
        super().__init__()
        bound = (n_taps * n_inputs) ** -0.5  # as nn.Conv2d begins
        self.taps = nn.Parameter(torch.empty(n_taps, channels, n_inputs).uniform_(-bound, bound))
        self.norm = _InstanceNorm(channels)
        self.prelu = nn.Parameter(torch.full((channels,), 0.25))
        self.dilation = dilation

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Filter x (B, T, m * C) around each step to (B, T, C)."""
        reach = (self.taps.shape[0] - 1) * self.dilation // 2
        # Under autocast x is in a lower precision than the parameters.
        taps = self.taps.to(x.dtype)
        y, _ = fir(x, taps, dilation=self.dilation, left=reach, right=reach, lengths=lengths)
        return self.normed(y, lengths)

    def normed(self, y: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Apply what follows the filter: norm and PReLU of y (B, T, C)."""
        y = self.norm(y, lengths).mT
        return functional.prelu(y, self.prelu.to(y.dtype)).mT


class _InstanceNorm(nn.Module):
    """Normalise each channel of each row over its counted steps; eps as in nn.InstanceNorm2d."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        counts: int | Tensor = x.shape[1]
        if lengths is not None:
            counts = lengths.to(wide).clamp(min=1)[:, None, None]
        centred = wide - wide.sum(1, keepdim=True) / counts  # the rest of x is zero
        variance = zero_beyond(lengths, centred)[0].square().sum(1, keepdim=True) / counts
        y = centred * torch.rsqrt(variance + 1e-5)
        return (y * self.weight + self.bias).to(x.dtype)
