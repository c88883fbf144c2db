"""Recommend what users of the same items took, whatever the order."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse

from recurra.recsys.baselines.bag import bag_of_items
from recurra.recsys.data.interactions import Interactions

NEIGHBOURS = 100  # of an item that speak for it
BLOCK = 512  # items whose similarities to all others are in memory at once


class ItemKnn:
    """Sums of the similarities of items to those of a history.

    Two items are as alike as the cosine of their users: users of both, over the root of the product
    of users of each. An item counts as alike to another one only if it is among the other's 100
    most similar items; of equally similar ones, the more frequent.

    Source: Deshpande and Karypis 2004, "Item-based top-N recommendation algorithms" (ACM TOIS
    22(1), section 4), without the normalisation of the similarities of an item.
    """

    name = "item-knn"

    def __init__(self, log: Interactions) -> None:
        users = bag_of_items(log)  # (U, V + 1)
        length = np.sqrt(np.maximum(users.sum(axis=0), 1.0))
        unit = (users @ scipy.sparse.diags_array(1 / length)).tocsc()
        size = unit.shape[1]
        blocks = []
        for start in range(0, size, BLOCK):
            alike = (unit[:, start : start + BLOCK].T @ unit).toarray()
            own = np.arange(len(alike))
            alike[own, start + own] = 0.0
            kept = np.argsort(-alike, axis=1, kind="stable")[:, :NEIGHBOURS]
            values = np.take_along_axis(alike, kept, axis=1)
            pointers = np.arange(0, kept.size + 1, kept.shape[1])
            block = scipy.sparse.csr_array(
                (values.ravel(), kept.ravel(), pointers), shape=(len(alike), size)
            )
            block.eliminate_zeros()
            blocks.append(block)
        self.alike = scipy.sparse.vstack(blocks, format="csr")

    def score(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items for each of B histories: float32 (B, V + 1), column 0 is no item."""
        bags = bag_of_items(histories, self.alike.shape[0])
        return (bags @ self.alike).toarray().astype(np.float32)
