"""SwiGLU: the feedforward part of a transformer, with a gate."""

from torch import Tensor, nn
from torch.nn import functional

from recurra.core.kernels.lengths import zero_beyond

State = dict[str, Tensor]


class SwiGLU(nn.Module):
    """y = out(dropout(silu(gate(x)) * up(x))), dropout again: each step by itself.

    It costs O(T C d_hidden) and has no state, so it may stand in any stream.

    Source: Shazeer 2020, "GLU Variants Improve Transformer" (arXiv 2002.05202, section 2, eq. 6),
    where the matrices have no bias and d_hidden is 2/3 of what a plain feedforward part has, 8/3 C;
    PredFormer's have biases and d_hidden a multiple of C.

    Args:
        d_model: C, the channels of x and y.
        d_hidden: the channels inside.
        bias: whether the three matrices have biases.
        dropout: of the hidden channels and of y.
    """

    causal = True
    streams = True
    is_linear = False
    look_ahead = 0

    def __init__(
        self, d_model: int, d_hidden: int, *, bias: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_hidden, bias=bias)
        self.up = nn.Linear(d_model, d_hidden, bias=bias)
        self.out = nn.Linear(d_hidden, d_model, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Work on each step by itself.

        Args:
            x: (B, T, C), or (B, T, ..., C).
            state: nothing: it needs none.
            lengths: (B,) integers from 0 to T: how many steps of each row count. The y of the rest
                is zero, whatever stands there.

        Returns:
            y in the shape of x, and an empty state.
        """
        (x,) = zero_beyond(lengths, x)
        hidden = self.dropout(functional.silu(self.gate(x)) * self.up(x))
        y = self.dropout(self.out(hidden))
        return zero_beyond(lengths, y)[0], {}

    def initial_state(self, x: Tensor) -> State:
        """Return the empty state."""
        return {}

    def state_size(self) -> int:
        """Return 0: it keeps nothing."""
        return 0
