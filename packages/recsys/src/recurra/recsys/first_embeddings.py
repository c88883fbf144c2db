"""Item embeddings to begin a training with: items that stand near each other in histories."""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from recurra.recsys.baselines.markov import windowed_followers
from recurra.recsys.data.interactions import Interactions

DENSE = 1_000  # items up to which all eigenvectors are computed


def cooccurrence_embeddings(log: Interactions, width: int, seed: int = 0) -> np.ndarray:
    """Factorise how much likelier than by chance items stand within 5 events of each other.

    E holds the eigenvectors of the positive pointwise mutual information with the largest
    eigenvalues, times their roots, turned by a random rotation so that no channel is worth more
    than another, and scaled to a deviation of width ** -0.5. Products of its rows tell neighbours
    before the first update.

    Source: Levy and Goldberg 2014, "Neural Word Embedding as Implicit Matrix Factorization" (NIPS,
    section 5), with the window of the Markov rule.

    Args:
        log: the training events.
        width: C.
        seed: of the rotation.

    Returns:
        float32 (V + 1, C); row 0, no item, is zero.
    """
    near = windowed_followers(log)
    near = scipy.sparse.coo_array(near + near.T)
    totals = np.asarray(near.sum(axis=0))
    chance = totals[near.row] * totals[near.col] / max(totals.sum(), 1.0)
    information = np.log(near.data / chance)
    positive = information > 0
    places = near.row[positive], near.col[positive]
    matrix = scipy.sparse.csr_array((information[positive], places), shape=near.shape)
    rng = np.random.default_rng(seed)
    found = np.zeros((near.shape[0], width))
    values, vectors = _largest(matrix, min(width, near.shape[0]), rng)
    found[:, : len(values)] = vectors * np.sqrt(np.maximum(values, 0.0))
    turned = found @ np.linalg.qr(rng.normal(size=(width, width)))[0]
    deviation = turned[1:].std()
    return (turned * (width**-0.5 / deviation if deviation else 0.0)).astype(np.float32)


def _largest(
    matrix: scipy.sparse.csr_array, k: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest eigenvalues and their eigenvectors (V + 1, k) of a symmetric matrix."""
    size = matrix.shape[0]
    if size <= max(DENSE, 2 * k):
        values, vectors = np.linalg.eigh(matrix.toarray())
        return values[-k:], vectors[:, -k:]
    return scipy.sparse.linalg.eigsh(matrix, k=k, which="LA", v0=rng.normal(size=size))
