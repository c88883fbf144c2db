"""The gated FSMN block of MossFormer2: a memory without recurrence in the place of an RNN."""

from typing import Literal

import torch
from torch import Tensor, nn

from recurra.core.kernels.lengths import last_steps, zero_beyond
from recurra.core.layers.conv_module import ConvModule
from recurra.core.layers.dense_fsmn import DenseFsmn
from recurra.core.layers.fsmn import Fsmn

State = dict[str, Tensor]


class GatedFsmn(nn.Module):
    """y = x + expand(norm(h + v(h) * memory(u(h)))), where h = norm(prelu(reduce(x))).

    u and v are convolution modules, whose taps lie around each step. The memory is an `Fsmn` that
    reaches order - 1 steps back and as many ahead, or a `DenseFsmn`. It costs O(T C d_inner).

    With the plain memory it looks L = taps // 2 + order - 1 steps ahead and streams: the state is
    the last 2 L steps of x, and each call works through them again. So a call on n steps costs as
    much as one on 2 L + n: stream in chunks of about L or more. With the dense memory, which is
    normalised over whole rows, it does not stream.

    Source: Zhao et al. 2023, "MossFormer2" (arXiv 2312.11825, section 2.2); `Gated_FSMN_Block`
    (enhancement) and `Gated_FSMN_Block_Dilated` (separation) of ClearerVoice-Studio, where
    MossFormer2 has d_model 512, d_inner 256, the defaults here, and dropout 0.1.

    Args:
        d_model: C, the channels of x and y.
        d_inner: the channels inside.
        memory: "plain" or "dense".
        order: of the memory: how far it reaches, the step itself included.
        taps: of the convolution modules, an odd number.
        dropout: of the convolution modules.
    """

    causal = False
    is_linear = False

    def __init__(
        self,
        d_model: int,
        d_inner: int,
        *,
        memory: Literal["plain", "dense"] = "plain",
        order: int = 20,
        taps: int = 17,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if memory not in ("plain", "dense"):
            raise ValueError(f'memory must be "plain" or "dense", not "{memory}"')
        self.d_model = d_model
        self.streams = memory == "plain"
        self.look_ahead = taps // 2 + order - 1 if self.streams else 0
        self.reduce = nn.Linear(d_model, d_inner)
        self.prelu = nn.PReLU()
        self.norm_in = nn.LayerNorm(d_inner)
        self.to_u = ConvModule(d_inner, d_inner, norm="layer", taps=taps, dropout=dropout)
        self.to_v = ConvModule(d_inner, d_inner, norm="layer", taps=taps, dropout=dropout)
        self.memory: nn.Module = (
            Fsmn(d_inner, order=order, look_ahead=order - 1)
            if self.streams
            else DenseFsmn(d_inner, order=order)
        )
        self.norm_out = nn.LayerNorm(d_inner)
        self.expand = nn.Linear(d_inner, d_model)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Add the gated memory of the steps around each step.

        Without a state the sequence is whole: y is aligned with x. With a state (or
        `initial_state`), y comes `look_ahead` steps late.

        Args:
            x: (B, T, C).
            state: what `forward` or `initial_state` returned before.
            lengths: (B,) integers from 0 to T: how many steps of each row count. The rest of the
                row changes nothing, whatever stands there, and its y is zero.

        Returns:
            y (B, T, C), and the state after each row's last step: "window" (B, 2 L, C), its last
            steps, and "seen" (B,), how many of them there have been; empty if it does not stream.

        Raises:
            ValueError: a state for a layer that does not stream.
        """
        (x,) = zero_beyond(lengths, x)
        if not self.streams:
            if state:
                raise ValueError("with a dense memory GatedFsmn does not stream")
            return self._whole(x, lengths), {}
        before = state or self.initial_state(x)
        line = torch.cat([before["window"], x], dim=1)
        span = 2 * self.look_ahead
        steps = x.shape[1] if lengths is None else lengths.to(x.device)
        last = {
            "window": last_steps(line, span, x.shape[1], lengths),
            "seen": (before["seen"] + steps).clamp(max=span),
        }
        if state is None:
            return self._whole(x, lengths), last
        y = self._late(line, before["seen"], before["seen"] + steps, x.shape[1])
        return zero_beyond(lengths, y)[0], last

    def initial_state(self, x: Tensor) -> State:
        """Return the state before the first step, for rows typed as x (B, T, C)."""
        if not self.streams:
            return {}
        return {
            "window": x.new_zeros(x.shape[0], 2 * self.look_ahead, x.shape[2]),
            "seen": torch.zeros(x.shape[0], dtype=torch.int64, device=x.device),
        }

    def state_size(self) -> int:
        """Return how many numbers a row keeps, however many steps came before."""
        return 2 * self.look_ahead * self.d_model + 1 if self.streams else 0

    def flush(self, state: State) -> Tensor:
        """Return the last `look_ahead` steps of a stream, (B, look_ahead, C)."""
        return self._late(state["window"], state["seen"], state["seen"], self.look_ahead)

    def _whole(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        h = self.norm_in(self.prelu(self.reduce(x)))
        u, _ = self.to_u(h, lengths=lengths)
        v, _ = self.to_v(h, lengths=lengths)
        memory, _ = self.memory(u, lengths=lengths)
        y: Tensor = x + self.expand(self.norm_out(h + v * memory))
        return zero_beyond(lengths, y)[0]

    def _late(self, line: Tensor, seen: Tensor, counts: Tensor, n_steps: int) -> Tensor:
        """Return y for n_steps from L before the newest on; zeros for steps before the first.

        Of line (B, 2 L + T, C), `counts` steps are real, beginning `seen` before the last T.
        """
        rows = torch.arange(line.shape[0], device=line.device)[:, None]
        start = 2 * self.look_ahead - seen[:, None]  # of the first real step
        steps = start + torch.arange(line.shape[1], device=line.device)
        real = line[rows, steps.clamp(max=line.shape[1] - 1)]
        y = self._whole(zero_beyond(counts, real)[0], counts)
        # One more row of zeros, so that there is a step where there are none.
        y = torch.cat([y, y.new_zeros(y.shape[0], 1, y.shape[2])], dim=1)
        wanted = seen[:, None] - self.look_ahead + torch.arange(n_steps, device=line.device)
        return torch.where((wanted >= 0)[..., None], y[rows, wanted.clamp(min=0)], 0)
