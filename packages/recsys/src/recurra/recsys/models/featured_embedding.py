"""Item embeddings with those of what is known of the items, such as their genres, added."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class FeaturedEmbedding(nn.Embedding):
    """A table of which each row is an item's own vector plus one for each value that it has.

    Items that share a value share what is learnt of it, which helps those with few events. The
    vectors of values begin at zero: the first scores are those without them.

    Source: RecTools, `models/nn/item_net.py` (`CatFeaturesItemNet`, `SumOfEmbeddingsConstructor`),
    whose values begin with random vectors.

    Args:
        rows: of the table.
        d_model: C.
        n_values: F, the values of all features, which are numbered from 1 on.
        per_item: P, how many an item has at most.
        padding_idx: the row that stays zero, whose `values` are to be zeros.

    Attributes:
        values: (rows, P) int64, the numbers of each row's values; 0 is none.
        value_weight: (F + 1, C), their vectors.
    """

    values: Tensor

    def __init__(
        self, rows: int, d_model: int, n_values: int, per_item: int, *, padding_idx: int
    ) -> None:
        super().__init__(rows, d_model, padding_idx=padding_idx)
        self.value_weight = nn.Parameter(torch.zeros(n_values + 1, d_model))
        self.register_buffer("values", torch.zeros(rows, per_item, dtype=torch.int64))

    def table(self) -> Tensor:
        """The sums, (rows, C)."""
        return self.weight + self._of_values(self.values)

    def forward(self, items: Tensor) -> Tensor:
        """Rows of the table, for items of any shape, made of no other rows."""
        return super().forward(items) + self._of_values(self.values[items])

    def _of_values(self, values: Tensor) -> Tensor:
        """The sums (..., C) of the vectors of values (..., P)."""
        rows = values.flatten(0, -2)
        bags = functional.embedding_bag(rows, self.value_weight, mode="sum", padding_idx=0)
        return bags.view(*values.shape[:-1], self.embedding_dim)
