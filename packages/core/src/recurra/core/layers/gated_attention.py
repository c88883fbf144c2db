"""Gated attention with one head: quadratic within groups of steps, linear across them."""

import torch
from torch import Tensor, nn

from recurra.core.kernels import mixed_chunk_attention
from recurra.core.kernels.lengths import last_steps, zero_beyond
from recurra.core.kernels.mixed_chunk_attention import initial_state
from recurra.core.layers.conv_module import ConvModule
from recurra.core.layers.rotary_embedding import RotaryEmbedding

State = dict[str, Tensor]


class GatedAttention(nn.Module):
    """y = x + out((A u * v) * sigmoid(A v * u)), where A is `mixed_chunk_attention`.

    u, v and one narrow projection come from convolution modules over x, half of whose channels are
    one step late. Queries and keys of both parts of A are that projection under four scales and
    offsets, with rotary positions. It costs O(T (G + N) (N + P)), for groups of G steps, keys of
    width N and values of width P.

    A causal one streams; its state does not grow. Then the taps of the convolution modules lie
    behind each step, while the official code shifts the attention only, and looks ahead.

    Source: Hua et al. 2022, "Transformer Quality in Linear Time" (arXiv 2202.10447, section 3), in
    the form of Zhao & Ma 2023, "MossFormer" (arXiv 2302.11824, section 2.2): gates on both sides,
    convolutions. It is `FLASH_ShareA_FFConvM` of ClearerVoice-Studio, where MossFormer2 has
    d_model 512, the defaults here, and dropout 0.1.

    Args:
        d_model: C, the channels of x and y.
        expansion: u and v have expansion * d_model / 2 channels each.
        d_key: N, the width of queries and keys.
        group: G, how many steps attend to each other by squared ReLU.
        rotary_dim: how many of the channels of queries and keys are turned by their place.
        taps: of the convolution modules.
        causal: whether a step sees itself and those before it only.
        dropout: of the weights of attention and of the convolution modules.
    """

    is_linear = False
    look_ahead = 0

    def __init__(
        self,
        d_model: int,
        *,
        expansion: int = 4,
        d_key: int = 128,
        group: int = 256,
        rotary_dim: int = 32,
        taps: int = 17,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if expansion * d_model % 2:
            raise ValueError(f"expansion * d_model must be even, not {expansion * d_model}")
        d_value = expansion * d_model // 2
        self.d_model, self.group, self.dropout = d_model, group, dropout
        self.causal = self.streams = causal

        def module(d_in: int, d_out: int) -> ConvModule:
            return ConvModule(d_in, d_out, norm="scale", taps=taps, causal=causal, dropout=dropout)

        self.to_hidden = module(d_model, 2 * d_value)
        self.to_qk = module(d_model, d_key)
        # One row each for the quadratic and the linear queries, then for the keys, as official
        # weights have them, and drawn as there.
        self.gamma = nn.Parameter(torch.randn(4, d_key) * 0.02)
        self.beta = nn.Parameter(torch.zeros(4, d_key))
        self.rotary = RotaryEmbedding(min(rotary_dim, d_key))
        self.to_out = module(d_value, d_model)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Attend over the steps of x.

        Args:
            x: (B, T, C).
            state: what a causal `forward` or `initial_state` returned before; None is the
                beginning.
            lengths: (B,) integers from 0 to T: how many steps of each row count. The rest of the
                row changes nothing, whatever stands there, and its y is zero.

        Returns:
            y (B, T, C), and the state after each row's last counted step, empty if not causal:
            "shifted" (B, 1, C / 2), "hidden", "qk" and "out" (B, taps - 1, .), the last steps
            inside the convolution modules, and the state of `mixed_chunk_attention`.

        Raises:
            ValueError: a state for a layer that is not causal.
        """
        if state and not self.causal:
            raise ValueError("only a causal GatedAttention goes on from a state")
        (x,) = zero_beyond(lengths, x)
        before = (state or self.initial_state(x)) if self.causal else {}
        shifted, after_shift = self._shift(x, before.get("shifted"), lengths)
        hidden, after_hidden = self.to_hidden(shifted, before.get("hidden"), lengths)
        qk, after_qk = self.to_qk(shifted, before.get("qk"), lengths)
        attended, attention = self._attend(qk, hidden, state, lengths)
        v, u = hidden.chunk(2, dim=-1)
        v_attended, u_attended = attended.chunk(2, dim=-1)
        gated = (u_attended * v) * torch.sigmoid(v_attended * u)
        out, after_out = self.to_out(gated, before.get("out"), lengths)
        (y,) = zero_beyond(lengths, x + out)
        if not self.causal:
            return y, {}
        last = {"shifted": after_shift, "hidden": after_hidden, "qk": after_qk, "out": after_out}
        return y, last | attention

    def initial_state(self, x: Tensor) -> State:
        """Return the state before the first step, for rows typed as x (B, T, C)."""
        if not self.causal:
            return {}
        widths = (self.gamma.shape[1], self.gamma.shape[1], self.to_hidden.linear.out_features)
        k, k_linear, v = (x.new_zeros(x.shape[0], 0, width) for width in widths)
        return {
            "shifted": x.new_zeros(x.shape[0], 1, -(-self.d_model // 2)),
            "hidden": self.to_hidden.conv.initial_state(x),
            "qk": self.to_qk.conv.initial_state(x),
            "out": self.to_out.conv.initial_state(x),
            **initial_state(k, k_linear, v, self.group),
        }

    def state_size(self) -> int:
        """Return how many numbers a row keeps, however many steps came before; 0 if not causal."""
        if not self.causal:
            return 0
        d_key, d_hidden = self.gamma.shape[1], self.to_hidden.linear.out_features
        taps = self.to_out.conv.weight.shape[2]
        filters = (taps - 1) * (d_hidden + d_key + self.d_model) - (-self.d_model // 2)
        return filters + (self.group - 1) * (2 * d_key + d_hidden) + d_key * d_hidden + 1

    def _shift(
        self, x: Tensor, before: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Delay the first half of the channels by a step; return the step to come too."""
        late, kept = torch.split(x, [-(-self.d_model // 2), self.d_model // 2], dim=-1)
        before = late.new_zeros(late.shape[0], 1, late.shape[2]) if before is None else before
        line = torch.cat([before.to(x.dtype), late], dim=1)
        last = last_steps(line, 1, x.shape[1], lengths)
        return torch.cat([line[:, : x.shape[1]], kept], dim=-1), last

    def _attend(
        self, qk: Tensor, values: Tensor, state: State | None, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """Attend with both values at once: they share the weights."""
        heads = qk[:, :, None] * self.gamma + self.beta  # (B, T, 4, N)
        position = state["position"] if state else heads.new_zeros(1, dtype=torch.int64)
        q, q_linear, k, k_linear = self.rotary.rotate(heads, position).unbind(2)
        return mixed_chunk_attention(
            q,
            k,
            q_linear,
            k_linear,
            values,
            group=self.group,
            causal=self.causal,
            dropout=self.dropout if self.training else 0.0,
            state=state,
            lengths=lengths,
        )
