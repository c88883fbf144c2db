"""Which items are alike, by the direction of their embeddings."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from recurra.core.errors import RecurraError
from recurra.recsys.ranking import top_k
from recurra.recsys.recommender import Recommender


class SimilarItems:
    """Find the items whose embeddings, of which a model's scores are products, point the same way.

    Two items are alike that the model recommends after the same histories, which is not to say
    that one follows the other.
    """

    def __init__(self, recommender: Recommender) -> None:
        table = recommender.model.output_table.detach().numpy()
        lengths = np.linalg.norm(table, axis=1, keepdims=True)
        self._log = recommender.log
        self._directions = table / np.maximum(lengths, np.finfo(np.float32).tiny)  # (V + 1, C)

    def of_each(self, items: Sequence[object], k: int = 10) -> tuple[pl.DataFrame, int]:
        """The k items most like each of some.

        Returns:
            A table as of `of`, with a first column "of" that names the item, and how many of the
            items are unknown, and were skipped.

        Raises:
            RecurraError: the model knows none of the items.
        """
        known = [item for item in items if len(self._log.number([item]))]
        unknown = len(items) - len(known)
        if not known:
            others = f", nor any of {unknown - 1} others" if unknown > 1 else ""
            raise RecurraError(
                f"the model does not know the item {items[0]}{others}: ids are those of the log,"
                f" such as {self._log.items[0]}"
            )
        tables = [
            self.of(item, k).select(pl.lit(str(item)).alias("of"), pl.all()) for item in known
        ]
        return pl.concat(tables), unknown

    def of(self, item: object, k: int = 10) -> pl.DataFrame:
        """The k items that are most like one.

        Args:
            item: its own id, compared as text.
            k: how many; fewer where there are not as many.

        Returns:
            Columns "rank" from 1, "item" (the log's own id) and "cosine", 1 for the same direction.

        Raises:
            RecurraError: the model does not know the item.
        """
        if k < 1:
            raise RecurraError(f"k is {k}; it must be at least 1")
        found = self._log.number([item])
        if not len(found):
            raise RecurraError(f"the model does not know the item {item}")
        cosines = self._directions @ self._directions[found[0]]
        cosines[[0, found[0]]] = -np.inf
        ((items, values),) = top_k(cosines[None], k)
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(items) + 1),
                "item": self._log.items.gather(items - 1),
                "cosine": values,
            }
        )
