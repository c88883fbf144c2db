"""The feedforward sequential memory network layer: a linear memory of the last steps."""

import torch
from torch import Tensor, nn

from recurra.core.kernels import fir
from recurra.core.kernels.lengths import last_steps, zero_beyond

State = dict[str, Tensor]


class Fsmn(nn.Module):
    """y = x + p + (taps * p along time), where p = project(relu(linear(x))).

    `order` taps reach order - 1 steps back; with `look_ahead` L, another L taps reach ahead, and a
    streamed output comes L steps late (use `flush` at the end). It costs O(T * order * C).

    Source: `UniDeepFsmn` of ClearerVoice-Studio (FRCRN: order 20, causal; MossFormer2: order 20
    with look-ahead 19), after Zhang et al. 2018, "Deep-FSMN" (arXiv 1803.05030, eq. 4).
    """

    streams = True
    is_linear = False

    def __init__(
        self, d_model: int, d_hidden: int | None = None, *, order: int = 20, look_ahead: int = 0
    ) -> None:
        super().__init__()
        d_hidden = d_hidden or d_model
        self.order = order
        self.look_ahead = look_ahead
        self.causal = look_ahead == 0
        self.linear = nn.Linear(d_model, d_hidden)
        self.project = nn.Linear(d_hidden, d_model, bias=False)
        self.taps = nn.Parameter(torch.empty(order + look_ahead, d_model, 1))
        nn.init.uniform_(self.taps, -((order + look_ahead) ** -0.5), (order + look_ahead) ** -0.5)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Add the memory of the steps around each step.

        Without a state the sequence is whole: y is aligned with x. With a state (or
        `initial_state`), y comes `look_ahead` steps late.

        Args:
            x: (B, T, C), or (B, T, ..., C), where the axes between share the layer's weights.
            state: what `forward` or `initial_state` returned before.
            lengths: (B,) integers from 0 to T: how many steps of each row count. The rest of the
                row changes nothing, whatever stands there, and its y is zero.

        Returns:
            y in the shape of x, and the state after each row's last step: "memory"
            (B, order - 1 + look_ahead, ..., C) and, with look-ahead, "skipped"
            (B, look_ahead, ..., C).
        """
        before = state or self.initial_state(x)
        (x,) = zero_beyond(lengths, x)
        p = self.project(torch.relu(self.linear(x)))
        ahead = self.look_ahead if state is None else 0
        remembered, memory = self._remember(p, before["memory"], ahead, lengths)
        late = x
        next_state = {"memory": memory}
        if self.look_ahead:
            delayed = torch.cat([before["skipped"], x], dim=1)
            late = x if state is None else delayed[:, : x.shape[1]]
            next_state["skipped"] = last_steps(delayed, self.look_ahead, x.shape[1], lengths)
        return zero_beyond(lengths, late + remembered)[0], next_state

    def initial_state(self, x: Tensor) -> State:
        """Return the state before the first step, for rows shaped and typed as x (B, T, ..., C)."""
        rest = x.shape[2:]
        state = {"memory": x.new_zeros(x.shape[0], self._span, *rest)}
        if self.look_ahead:
            state["skipped"] = x.new_zeros(x.shape[0], self.look_ahead, *rest)
        return state

    def state_size(self) -> int:
        """Return how many numbers a row keeps: its last steps, however many came before.

        With axes between T and C, that many for each place on them.
        """
        return int((self._span + self.look_ahead) * self.taps.shape[1])

    def flush(self, state: State) -> Tensor:
        """Return the last `look_ahead` steps of a stream, (B, look_ahead, ..., C)."""
        zeros = torch.zeros_like(state["memory"][:, : self.look_ahead])
        remembered, _ = self._remember(zeros, state["memory"], 0, None)
        return state["skipped"] + remembered if self.look_ahead else remembered

    @property
    def _span(self) -> int:
        return self.order - 1 + self.look_ahead

    def _remember(
        self, p: Tensor, memory: Tensor, ahead: int, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Filter p after the `_span` steps in `memory`; y is `look_ahead - ahead` steps late.

        Returns y and the next memory.
        """
        # The term `+ p` is one more weight on the tap that meets the current step.
        current = torch.zeros_like(self.taps)
        current[self.order - 1] = 1
        n_shared = p.shape[2:-1].numel()
        taps = (self.taps + current).repeat(1, n_shared, 1)
        # Under autocast p is in a lower precision than the parameters, and may be than the memory.
        dtype = torch.promote_types(p.dtype, memory.dtype)
        y, last = fir(
            p.flatten(2).to(dtype),
            taps.to(dtype),
            left=self._span - ahead,
            right=ahead,
            state=memory[:, ahead:].flatten(2).to(dtype),
            lengths=lengths,
        )
        return torch.unflatten(y, 2, p.shape[2:]), torch.unflatten(last, 2, p.shape[2:])
