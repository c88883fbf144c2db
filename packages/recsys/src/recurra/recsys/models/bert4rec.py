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

from recurra.recsys.models.next_item import NextItemConfig, NextItemModel


@dataclass(frozen=True, kw_only=True)
class Bert4RecConfig(NextItemConfig):
    """A BERT4Rec; item V + 1 is the mask.

    The layers, places and norms of the defaults are the original's; see `NetworkConfig`.
    """


class Bert4Rec(NextItemModel):
    """Score every item at the masked steps of a history."""

    config_class = Bert4RecConfig
    kind = "bert4rec"
    config: Bert4RecConfig
    causal = False
    n_special = 1

    def __init__(self, config: Bert4RecConfig) -> None:
        super().__init__(config)
        width = config.d_model
        self.norm = nn.LayerNorm(width, config.norm_eps)
        self.head = nn.Linear(width, width)
        self.head_norm = nn.LayerNorm(width, config.norm_eps)
        self.output_bias = nn.Parameter(torch.zeros(config.n_items + 1))
        self.initialise()

    @property
    def mask_id(self) -> int:
        """The number that stands for a hidden item."""
        return self.config.n_items + 1

    @property
    def suffix(self) -> tuple[int, ...]:
        """The mask, which stands behind a history to ask for the next item."""
        return (self.mask_id,)

    def embed(self, items: Tensor, inside: Tensor) -> Tensor:
        """Items and their places as (B, T, C), normalised."""
        return self.norm(super().embed(items, inside))

    def project(self, x: Tensor) -> Tensor:
        """From the last layer's output (..., C) to what meets the item table."""
        return self.head_norm(functional.gelu(self.head(x)))
