"""Recommend by a linear model of every item on all others, solved in one go."""

from collections.abc import Sequence

import numpy as np
import scipy.linalg.lapack

from recurra.core.errors import RecurraError
from recurra.recsys.baselines.bag import bag_of_items
from recurra.recsys.data.interactions import Interactions

REGULARISATION = 250.0
MOST_ITEMS = 20_000  # 3.2 GB, and a time that grows with the third power


class Ease:
    """Sums of the weights of a history's items, whose order does not count.

    The weights B minimise |X - X B|^2 + 250 |B|^2 over matrices with a zero diagonal, where X has a
    row of 0 and 1 for each user: B = I - P / diag(P), P = (X' X + 250 I)^-1.

    Source: Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data" (arXiv 1905.03375,
    equation 8).

    Raises:
        RecurraError: there are more than 20,000 items.
    """

    name = "ease"

    def __init__(self, log: Interactions) -> None:
        if log.n_items > MOST_ITEMS:
            raise RecurraError(
                f"{self.name} takes up to {MOST_ITEMS} items; the log has {log.n_items}"
            )
        users = bag_of_items(log)
        gram = np.asfortranarray((users.T @ users).toarray())
        gram[np.diag_indices_from(gram)] += REGULARISATION
        # In place: Cholesky's factor, then the upper half of the inverse.
        factor, _ = scipy.linalg.lapack.dpotrf(gram, overwrite_a=True, clean=False)
        inverse, _ = scipy.linalg.lapack.dpotri(factor, overwrite_c=True)
        diagonal = inverse.diagonal().copy()
        weights = np.triu(inverse, 1).astype(np.float32)
        weights += weights.T
        weights /= -diagonal.astype(np.float32)
        self.weights = weights

    def score(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items for each of B histories: float32 (B, V + 1), column 0 is no item."""
        bags = bag_of_items(histories, len(self.weights)).astype(np.float32)
        return np.asarray(bags @ self.weights)
