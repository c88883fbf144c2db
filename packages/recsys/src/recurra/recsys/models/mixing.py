"""What lets the steps of a history see each other: attention, or a causal layer of the core.

Each maps x (B, T, C) to y of the same shape, or (B, Q, C) where Q steps are wanted, and from the
state before the first event to that behind the last: see "Streaming" in docs/conventions.md. Here
None is no state, which spares the count of steps, and an empty one the beginning of a stream.
Attention streams nothing, and its state is empty.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.layers import NGramHead, RotaryEmbedding
from recurra.recsys.models.dropout import Dropout

State = dict[str, Tensor]


@dataclass(frozen=True)
class Rows:
    """Histories as a layer meets them.

    Attributes:
        items: (B, T) int64, filled up by zeros.
        inside: (B, T) bool, the steps that are items; None where all are.
        at: (B, Q) int64, the only steps of each row that are wanted; None wants all.
    """

    items: Tensor
    inside: Tensor | None
    at: Tensor | None = None

    def wanted(self, x: Tensor) -> Tensor:
        """The steps of x (B, T, C) that are wanted: x itself, or (B, Q, C)."""
        if self.at is None:
            return x
        return x.gather(1, self.at[..., None].expand(-1, -1, x.shape[2]))

    def lengths(self, state: State | None) -> Tensor | None:
        """How many steps of each row count (B,), where a state goes on; else None.

        No step sees what fills up the end of a row, but a state would.
        """
        if state is None or self.inside is None:
            return None
        return self.inside.sum(dim=1)


class Attention(nn.Module):
    """Softmax attention of H heads; time is quadratic in T.

    Source: Vaswani et al. 2017 (arXiv 1706.03762, section 3.2). With `rotary`, queries and keys are
    turned by their places (Su et al. 2021, arXiv 2104.09864), so that the distance of two steps
    counts and not where they stand.

    Args:
        d_model: C.
        n_heads: H, which divides C.
        dropout: of the weights.
        causal: whether a step sees those up to itself alone.
        rotary: whether places turn queries and keys; the width of a head is even then.
    """

    def __init__(
        self, d_model: int, n_heads: int, *, dropout: float, causal: bool, rotary: bool
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model {d_model} does not divide into {n_heads} heads")
        self.n_heads = n_heads
        self.dropout = Dropout(dropout)
        self.causal = causal
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)
        self.turn = RotaryEmbedding(d_model // n_heads) if rotary else None

    def forward(self, x: Tensor, rows: Rows, state: State | None = None) -> tuple[Tensor, State]:
        """Attend within x (B, T, C); there is no state."""
        at = rows.at
        q, k, v = self._project(x, rows)  # (B, T or Q, H, D), (B, T, H, D) twice
        # Rows are filled up at their ends, which no step that counts sees if it looks back only.
        mask = None if rows.inside is None else rows.inside[:, None]  # (B, 1 or Q, T)
        if self.causal:
            steps = torch.arange(x.shape[1], device=x.device)
            mask = None if at is None else steps <= at[..., None]
        attended = self._attend(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            None if mask is None else mask[:, None],
            is_causal=self.causal and at is None,
        )
        return self.output(attended.transpose(1, 2).flatten(2)), {}

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, is_causal: bool
    ) -> Tensor:
        """What queries (B, H, Q, D) find: torch's fused attention, but on a CPU that drops weights.

        Torch's own would draw a random number for each of them there, see `Dropout`.
        """
        dropped = self.dropout.p if self.training else 0.0
        if dropped == 0 or q.device.type != "cpu":
            return functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=is_causal, dropout_p=dropped
            )
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if is_causal:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return self.dropout(scores.softmax(dim=-1)) @ v

    def _project(self, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the wanted steps, keys and values of all, turned by their places if asked."""
        if rows.at is None:
            every = self._heads(self.query_key_value(x))  # (B, T, 3, H, D)
            q, k = self._turned(every[:, :, :2]).unbind(2)
            return q, k, every[:, :, 2]
        width = x.shape[2]
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        q = self._heads(functional.linear(rows.wanted(x), weight[:width], bias[:width]))
        k, v = self._heads(functional.linear(x, weight[width:], bias[width:])).unbind(2)
        # Each wanted step is turned as a row of its own, which begins at its place.
        alone = self._turned(q.flatten(0, 1)[:, None], rows.at.flatten())
        return alone.view_as(q).squeeze(2), self._turned(k), v

    def _turned(self, x: Tensor, position: Tensor | None = None) -> Tensor:
        """Turn x (B, T, ...), whose first steps are at `position` (B,), or all at 0."""
        if self.turn is None:
            return x
        if position is None:
            position = torch.zeros(1, dtype=torch.int64, device=x.device)
        return self.turn.rotate(x, position)

    def _heads(self, x: Tensor) -> Tensor:
        """Split (B, T, n * C) into (B, T, n, H, D)."""
        return x.unflatten(2, (-1, self.n_heads, self.output.in_features // self.n_heads))


class Recurrence(nn.Module):
    """A causal layer of the core in attention's place: linear in T, and constant memory a stream.

    Args:
        layer: one that follows the streaming contract, such as `PrefixAttention` or `Mamba2`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, rows: Rows, state: State | None = None) -> tuple[Tensor, State]:
        """Run over x (B, T, C)."""
        y, after = self.layer(x, state or None, rows.lengths(state))
        return rows.wanted(y), after


class BesideNGrams(nn.Module):
    """Causal mixing, and beside it what followed the last items where they stood before.

    Source: Akyurek et al. 2024 (arXiv 2401.12973, section 6). It speaks in logs whose users come
    back to items; in a history without repeats it adds a matrix of the step's own item only.

    Args:
        mixing: what else looks at the history.
        d_model: C.
        orders: for each head, how many last items have to match.
        max_len: of a history.
    """

    def __init__(
        self, mixing: nn.Module, d_model: int, orders: tuple[int, ...], max_len: int
    ) -> None:
        super().__init__()
        self.mixing = mixing
        self.heads = nn.ModuleList(NGramHead(d_model, n, slots=max_len) for n in orders)

    def forward(self, x: Tensor, rows: Rows, state: State | None = None) -> tuple[Tensor, State]:
        """Run over x (B, T, C)."""
        y, after = self.mixing(x, rows, state if state is None else part(state, "mixing"))
        after = named(after, "mixing")
        for place, head in enumerate(self.heads):
            own = state if state is None else part(state, f"heads.{place}")
            followed, own = head(x, rows.items, own, rows.lengths(state))
            y = y + rows.wanted(followed)
            after |= named(own, f"heads.{place}")
        return y, after


def named(state: State, name: str) -> State:
    """The state of a part, as it is kept in that of the whole."""
    return {f"{name}.{key}": value for key, value in state.items()}


def part(state: State, name: str) -> State:
    """The state of a part of that name in that of the whole."""
    start = f"{name}."
    return {key[len(start) :]: value for key, value in state.items() if key.startswith(start)}
