"""BERT4Rec: a transformer that fills in masked items of a history; the next item is the last mask.

Source: Sun et al. 2019, "BERT4Rec: Sequential Recommendation with Bidirectional Encoder
Representations from Transformer" (arXiv 1904.06690), as released in FeiSun/BERT4Rec: layers that
normalise after adding, learned positions counted from a history's first event, and scores by the
table of item embeddings with a bias an item. The constant token-type embedding of the release is
left out: the positions hold it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.core.pretrained import Pretrained
from recurra.recsys.models.transformer import TransformerLayer

PAD = 0  # no item: fills the end of a row


@dataclass(frozen=True)
class Bert4RecConfig:
    """The sizes of a BERT4Rec.

    Attributes:
        n_items: V; items are 1 to V, 0 pads a row and V + 1 is the mask.
        max_len: steps that the network sees, the mask included.
        d_model: width.
        n_heads: heads of attention.
        n_layers: transformer layers.
        d_hidden: inner width of a layer; None is four times d_model.
        dropout: of embeddings and of what each half of a layer adds.
        attention_dropout: of the weights of attention.
        norm_eps: of the layer norms.
        initial_deviation: of the first weights; 0.02 as in the release. None draws matrices with
            the deviation fan-in ** -0.5 and embeddings with d_model ** -0.5, which learns sooner:
            scores begin at the scale that softmax needs.
    """

    n_items: int
    max_len: int = 100
    d_model: int = 64
    n_heads: int = 2
    n_layers: int = 2
    d_hidden: int | None = None
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12
    initial_deviation: float | None = None


class Bert4Rec(Pretrained):
    """Score every item at the masked steps of a history."""

    config_class = Bert4RecConfig
    kind = "bert4rec"
    config: Bert4RecConfig

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.item_embedding = nn.Embedding(config.n_items + 2, width, padding_idx=PAD)
        self.position_embedding = nn.Embedding(config.max_len, width)
        self.norm = nn.LayerNorm(width, config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(
            TransformerLayer(
                width,
                config.n_heads,
                config.d_hidden or 4 * width,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                norm_eps=config.norm_eps,
            )
            for _ in range(config.n_layers)
        )
        self.head = nn.Linear(width, width)
        self.head_norm = nn.LayerNorm(width, config.norm_eps)
        self.output_bias = nn.Parameter(torch.zeros(config.n_items + 1))
        self.apply(self._initialise)

    @property
    def mask_id(self) -> int:
        """The number that stands for a hidden item."""
        return self.config.n_items + 1

    def forward(self, items: Tensor, masked: Tensor) -> Tensor:
        """Read histories with masked steps.

        Args:
            items: (B, T) int64, T at most max_len; rows end in zeros where they are shorter.
            masked: (M,) int64 places in the flattened items, row after row.

        Returns:
            (M, C), whose products with the first V + 1 rows of the item table, and the output
            bias, are the scores.
        """
        x = self.encode(items)
        return self.head_norm(functional.gelu(self.head(x.flatten(0, 1)[masked])))

    def encode(self, items: Tensor, at: Tensor | None = None) -> Tensor:
        """Return the last layer's output, (B, T, C), or (B, 1, C) at one step of each row (B,)."""
        inside = items != PAD
        x = self.item_embedding(items) + self.position_embedding.weight[: items.shape[1]]
        x = self.dropout(self.norm(x))
        mask = None if bool(inside.all()) else inside
        for layer in self.layers[:-1]:
            x = layer(x, mask)
        return self.layers[-1](x, mask, at)

    def score(self, items: Tensor, at: Tensor) -> Tensor:
        """Score every item at one step of each row.

        Args:
            items: (B, T) int64, as for `forward`.
            at: (B,) int64, the masked step of each row.

        Returns:
            (B, V + 1) logits; column 0 is no item.
        """
        x = self.encode(items, at).squeeze(1)
        hidden = self.head_norm(functional.gelu(self.head(x)))
        return functional.linear(hidden, self.output_table, self.output_bias)

    @property
    def output_table(self) -> Tensor:
        """(V + 1, C), the item embeddings without the mask's."""
        return self.item_embedding.weight[: self.config.n_items + 1]

    def _initialise(self, module: nn.Module) -> None:
        """Draw weights from a normal distribution cut off at two deviations; biases are zero."""
        if isinstance(module, nn.Linear | nn.Embedding):
            deviation = self.config.initial_deviation or module.weight.shape[1] ** -0.5
            bound = 2 * deviation
            nn.init.trunc_normal_(module.weight, std=deviation, a=-bound, b=bound)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            nn.init.zeros_(module.weight[module.padding_idx])
