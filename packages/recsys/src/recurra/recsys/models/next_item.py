"""What the networks here share: items and places embedded, layers, scores by the item table."""

import copy
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.layers import Mamba2, NGramHead, PrefixAttention
from recurra.core.pretrained import Pretrained
from recurra.recsys.models.dropout import Dropout
from recurra.recsys.models.featured_embedding import FeaturedEmbedding
from recurra.recsys.models.mixing import (
    Attention,
    BesideNGrams,
    Recurrence,
    Rows,
    State,
    named,
    part,
)
from recurra.recsys.models.transformer import LigrLayer, TransformerLayer

PAD = 0  # no item: fills the end of a row


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and variants of a network, whatever the items.

    Attributes:
        max_len: steps that the network sees, a mask included.
        d_model: width.
        n_heads: heads of attention.
        n_layers: how many layers.
        d_hidden: inner width of a layer; None is four times d_model.
        dropout: of embeddings and of what each half of a layer adds.
        attention_dropout: of the weights of attention.
        norm_eps: of the layer norms.
        initial_deviation: of the first weights; 0.02 as BERT has it. None draws matrices with the
            deviation fan-in ** -0.5 and embeddings with d_model ** -0.5, which learns sooner:
            scores begin at the scale that softmax needs.
        layer: "post-norm" as in BERT, "pre-norm", or "ligr", see `TransformerLayer`, `LigrLayer`.
        positions: "learned" embeddings counted from the first event, "inverse" ones counted from
            the last (RecTools, and the original SASRec, whose rows are filled up in front),
            "rotary" attention, see `Attention`, or "none", which leaves the order to the encoder.
        encoder: what mixes the steps: "attention", or, in causal networks, the core's
            "prefix-attention" or "mamba2", which without positions take a new event in constant
            time, see `NextItemModel.read`.
        ngrams: n-gram heads beside it, in causal networks: for each, how many last items have to
            match, such as (1, 2). See `BesideNGrams`.
    """

    max_len: int = 100
    d_model: int = 64
    n_heads: int = 2
    n_layers: int = 2
    d_hidden: int | None = None
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12
    initial_deviation: float | None = None
    layer: Literal["post-norm", "pre-norm", "ligr"] = "post-norm"
    positions: Literal["learned", "inverse", "rotary", "none"] = "learned"
    encoder: Literal["attention", "prefix-attention", "mamba2"] = "attention"
    ngrams: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.positions == "rotary" and self.encoder != "attention":
            raise ValueError(f"rotary positions are of attention, not of {self.encoder}")


@dataclass(frozen=True, kw_only=True)
class NextItemConfig(NetworkConfig):
    """A network for a catalogue.

    Attributes:
        n_items: V; items are 1 to V, and 0 pads a row.
        n_feature_values: of all features of the items, see `FeaturedEmbedding`; 0 is without.
        features_per_item: values that an item has at most.
    """

    n_items: int
    n_feature_values: int = 0
    features_per_item: int = 0


class NextItemModel(Pretrained):
    """Read histories and score every item at steps of them.

    Attributes:
        causal: whether a step sees those up to itself alone.
        suffix: what stands behind a history to ask for the next item: the mask, or nothing.
        n_special: rows of the item table behind the items.
        item_scale: what item embeddings are multiplied by where they enter.
    """

    config: NextItemConfig
    causal: ClassVar[bool]
    suffix: tuple[int, ...] = ()
    n_special: ClassVar[int] = 0
    item_scale: float = 1.0
    output_bias: nn.Parameter | None

    def __init__(self, config: NextItemConfig) -> None:
        super().__init__()
        if not self.causal and (config.encoder != "attention" or config.ngrams):
            raise ValueError(
                f"{self.kind} looks both ways: encoder and ngrams are of causal networks"
            )
        self.config = config
        self.register_parameter("output_bias", None)
        rows = config.n_items + 1 + self.n_special
        self.item_embedding = _item_embedding(config, rows)
        if config.positions in ("learned", "inverse"):
            self.position_embedding = nn.Embedding(config.max_len, config.d_model)
        self.dropout = Dropout(config.dropout)
        self.layers = nn.ModuleList(_layer(config, self.causal) for _ in range(config.n_layers))
        after = config.layer == "post-norm"
        self.last_norm = nn.Identity() if after else nn.LayerNorm(config.d_model, config.norm_eps)

    def forward(self, items: Tensor, places: Tensor) -> Tensor:
        """Read histories.

        Args:
            items: (B, T) int64, T at most max_len; rows end in zeros where they are shorter.
            places: (M,) int64, steps of the flattened items, row after row.

        Returns:
            (M, C), whose products with `output_table`, and `output_bias` if there is one, are the
            scores.
        """
        if 2 * len(places) > items.numel():
            return self.project(self.encode(items).flatten(0, 1)[places])
        at, found = _by_rows(places, items)
        return self.project(self.encode(items, at).flatten(0, 1)[found])

    def encode(self, items: Tensor, at: Tensor | None = None) -> Tensor:
        """Return the last layer's output, (B, T, C), or (B, Q, C) at steps of each row (B, Q)."""
        inside = items != PAD
        # What is exported has to hold for rows that are filled up, too.
        full = not torch.compiler.is_exporting() and bool(inside.all())
        rows = Rows(items, None if full else inside)
        x = self.dropout(self.embed(items, inside))
        for layer in self.layers[:-1]:
            x, _ = layer(x, rows)
        x, _ = self.layers[-1](x, Rows(items, rows.inside, at))
        return self.last_norm(x)

    def query(self, items: Tensor, at: Tensor) -> Tensor:
        """Read histories to where one step of each meets the item table.

        Args:
            items: (B, T) int64, as for `forward`.
            at: (B,) int64, the step of each row: that of `suffix`, or the last event.

        Returns:
            (B, C), see `forward`.
        """
        return self.project(self.encode(items, at[:, None]).squeeze(1))

    def score(self, items: Tensor, at: Tensor) -> Tensor:
        """Score every item at one step of each row: the scores of `query`.

        Returns:
            (B, V + 1) logits; column 0 is no item.
        """
        return functional.linear(self.query(items, at), self.output_table, self.output_bias)

    @property
    def streams(self) -> bool:
        """Whether the network can read a history as it grows: its encoder and places allow it."""
        return self.config.encoder != "attention" and self.config.positions == "none"

    def read(self, items: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read events behind those that a state has seen, at a cost that does not depend on them.

        The outputs are those of the whole history in one call, of any length; what was learnt of
        windows of max_len is not tried beyond that.

        Args:
            items: (B, T) int64, new events; rows end in zeros where there are fewer, or none.
            state: what an earlier call returned, or zeros in its place; None is the beginning.

        Returns:
            y (B, T, C), the last layer's output, which counts where there are events, and the state
            behind them, of which "last" (B, C) is y at each row's last event, see `score_next`.

        Raises:
            ValueError: the network does not stream.
        """
        if not self.streams:
            raise ValueError(
                "only networks with encoder prefix-attention or mamba2 and positions none stream"
            )
        before = state or {}
        rows = Rows(items, items != PAD)
        x, after = self.dropout(self.embed(items, items != PAD)), {}
        for place, layer in enumerate(self.layers):
            x, own = layer(x, rows, part(before, f"layers.{place}"))
            after |= named(own, f"layers.{place}")
        y = self.last_norm(x)
        counts = (items != PAD).sum(dim=1, keepdim=True)
        at = (counts - 1).clamp(min=0)[:, :, None].expand(-1, -1, y.shape[2])
        last = y.gather(1, at).squeeze(1)
        after["last"] = torch.where(counts > 0, last, before.get("last", torch.zeros_like(last)))
        return y, after

    def score_next(self, state: State) -> Tensor:
        """Score every item as what comes behind the events of a state of `read`: (B, V + 1)."""
        x = self.project(state["last"])
        return functional.linear(x, self.output_table, self.output_bias)

    def embed(self, items: Tensor, inside: Tensor) -> Tensor:
        """Items and their places as (B, T, C)."""
        x = self.item_scale * self.item_embedding(items)
        if self.config.positions in ("rotary", "none"):
            return x
        if self.config.positions == "learned":
            return x + self.position_embedding.weight[: items.shape[1]]
        steps = torch.arange(items.shape[1], device=items.device)
        from_end = inside.sum(dim=1, keepdim=True) - 1 - steps
        return x + self.position_embedding(from_end.clamp(min=0))

    def project(self, x: Tensor) -> Tensor:
        """From the last layer's output (..., C) to what meets the item table."""
        return x

    @property
    def output_table(self) -> Tensor:
        """(V + 1, C), the item embeddings."""
        return self.item_table[: self.config.n_items + 1]

    @property
    def item_table(self) -> Tensor:
        """(V + 1 + n_special, C), all rows."""
        embedding = self.item_embedding
        return embedding.table() if isinstance(embedding, FeaturedEmbedding) else embedding.weight

    def folded(self) -> Self:
        """The same network without features: the item table has what was learnt of them added.

        Features are of the training alone: lists, indexes, exports and servers take the table.
        """
        if not self.config.n_feature_values:
            return self
        found = copy.deepcopy(self)
        table = self.item_table.detach().clone()
        found.item_embedding = nn.Embedding.from_pretrained(table, freeze=False, padding_idx=PAD)
        found.config = replace(self.config, n_feature_values=0, features_per_item=0)
        return found

    def initialise(self) -> None:
        """Draw weights from a normal distribution cut off at two deviations; biases are zero.

        Layers of the core keep the weights that they begin with.
        """
        core = [m for m in self.modules() if isinstance(m, Recurrence | NGramHead)]
        theirs = {module for layer in core for module in layer.modules()}
        for module in self.modules():
            if module in theirs or not isinstance(module, nn.Linear | nn.Embedding):
                continue
            deviation = self.config.initial_deviation or module.weight.shape[1] ** -0.5
            bound = 2 * deviation
            nn.init.trunc_normal_(module.weight, std=deviation, a=-bound, b=bound)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                nn.init.zeros_(module.weight[module.padding_idx])


def _by_rows(places: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Places (M,) in the flattened items (B, T) as steps of each row.

    Returns:
        (B, Q) int64 steps, Q the most that a row has, step 0 where it has fewer; and (M,) int64,
        where each place stands in those, flattened.
    """
    n_rows, length = items.shape
    rows = places // length
    counts = torch.bincount(rows, minlength=n_rows)
    most = int(counts.max())
    before = (counts.cumsum(0) - counts)[rows]  # how many places the rows above have
    found = rows * most + torch.arange(len(places), device=places.device) - before
    at = places.new_zeros(n_rows * most)
    at[found] = places % length
    return at.view(n_rows, most), found


def _item_embedding(config: NextItemConfig, rows: int) -> nn.Embedding:
    if not config.n_feature_values:
        return nn.Embedding(rows, config.d_model, padding_idx=PAD)
    features = config.n_feature_values, config.features_per_item
    return FeaturedEmbedding(rows, config.d_model, *features, padding_idx=PAD)


def _layer(config: NetworkConfig, causal: bool) -> nn.Module:
    width = config.d_model
    mixing: nn.Module
    match config.encoder:
        case "attention":
            mixing = Attention(
                width,
                config.n_heads,
                dropout=config.attention_dropout,
                causal=causal,
                rotary=config.positions == "rotary",
            )
        case "prefix-attention":
            mixing = Recurrence(PrefixAttention(width, config.n_heads))
        case "mamba2":
            head_width = 2 * width // config.n_heads
            mixing = Recurrence(Mamba2(width, d_state=width, head_width=head_width))
    if config.ngrams:
        mixing = BesideNGrams(mixing, width, config.ngrams, config.max_len)
    sizes = {"dropout": config.dropout, "norm_eps": config.norm_eps}
    d_hidden = config.d_hidden or 4 * width
    if config.layer == "ligr":
        return LigrLayer(mixing, width, d_hidden, **sizes)
    before = config.layer == "pre-norm"
    return TransformerLayer(mixing, width, d_hidden, norm_first=before, **sizes)
