"""Attention that runs as a recurrence: Aaren, with a learned query in the place of each step's."""

import torch
from torch import Tensor, nn

from recurra.core.kernels import prefix_attention
from recurra.core.kernels.lengths import zero_beyond

State = dict[str, Tensor]


class PrefixAttention(nn.Module):
    """y_t = out(the softmax average of value(x_i) over i <= t, scored by query . key(x_i)).

    Each head has one learned query, so a step costs the same however long the stream has run. A
    sequence costs O(T).

    Source: Feng et al. 2024, "Attention as an RNN" (arXiv 2405.13956, section 3.3). There the query
    is a learned token that a matrix projects; here it is learned as projected.
    """

    causal = True
    streams = True
    is_linear = False
    look_ahead = 0

    def __init__(self, d_model: int, n_heads: int = 1) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} must be a multiple of n_heads {n_heads}")
        self.n_heads = n_heads
        # Not small: queries near zero begin as plain averages of the prefix, all heads alike.
        self.query = nn.Parameter(torch.randn(n_heads, d_model // n_heads))
        self.key = nn.Linear(d_model, d_model, bias=False)  # a bias would shift all scores alike
        self.value = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Attend to the steps up to each step.

        Args:
            x: (B, T, C).
            state: what `forward` or `initial_state` returned before.
            lengths: (B,) integers from 0 to T: how many steps of each row count. The rest of the
                row changes nothing, whatever stands there, and its y is zero.

        Returns:
            y (B, T, C), and the state after each row's last step: "prefix" (B, H, C / H + 2).
        """
        (x,) = zero_beyond(lengths, x)
        k, v = (self._heads(matrix(x)) for matrix in (self.key, self.value))
        before = None if state is None else state["prefix"]
        averages, prefix = prefix_attention(self.query, k, v, before, lengths=lengths)
        return zero_beyond(lengths, self.out(averages.flatten(2)))[0], {"prefix": prefix}

    def initial_state(self, x: Tensor) -> State:
        """Return the state before the first step, for rows typed as x (B, T, C)."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        width = self.query.shape[1] + 2
        return {"prefix": x.new_zeros(x.shape[0], self.n_heads, width, dtype=dtype)}

    def state_size(self) -> int:
        """Return how many numbers a row keeps: two a head more than C, however many steps came."""
        return int(self.query.numel()) + 2 * self.n_heads

    def _heads(self, x: Tensor) -> Tensor:  # (B, T, C) -> (B, T, H, D)
        return x.reshape(*x.shape[:2], self.n_heads, self.query.shape[1])
