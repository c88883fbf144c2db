"""Recommend what came soon after the last items of a history, in the histories of others."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse

from recurra.recsys.data.interactions import Interactions

REACH = 5  # how many events later an item still counts as following another
RECENT = 10  # events of a history that speak
DECAY = 0.7  # what an event's word is worth, relative to that of the event after it
POPULAR = 0.3  # how much popular followers are held back


def windowed_followers(log: Interactions) -> scipy.sparse.csr_array:
    """How often items came after others: (V + 1, V + 1), d events later counts 1 / d, d up to 5."""
    rows, columns, weights = [], [], []
    owner = np.repeat(np.arange(log.n_users), log.lengths)
    for distance in range(1, REACH + 1):
        same = owner[distance:] == owner[:-distance]
        rows.append(log.sequence[:-distance][same])
        columns.append(log.sequence[distance:][same])
        weights.append(np.full(same.sum(), 1.0 / distance))
    size = log.n_items + 1
    return scipy.sparse.csr_array(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))),
        shape=(size, size),
    )


class Markov:
    """A windowed Markov rule: sums of what followed each of the last events.

    An item that came d events after another, d at most 5, counts 1 / d for it. Each item's
    followers are brought to a sum of 1 and divided by their own totals to the power 0.3. The last
    10 events of a history vote, each 0.7 times as much as the one after it. It fits in about a
    second and is as good as many published networks, which is why a report without it says little.
    """

    name = "markov"

    def __init__(self, log: Interactions) -> None:
        followers = windowed_followers(log)
        total = np.maximum(followers.sum(axis=1), 1.0)
        held_back = (followers.sum(axis=0) + 1.0) ** -POPULAR
        self.followers = (
            scipy.sparse.diags_array(1 / total) @ followers @ scipy.sparse.diags_array(held_back)
        ).tocsr()

    def score(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items for each of B histories: float32 (B, V + 1), column 0 is no item."""
        recent = [history[-RECENT:] for history in histories]
        counts = [len(history) for history in recent]
        votes = scipy.sparse.csr_array(
            (
                np.concatenate([DECAY ** np.arange(n - 1, -1, -1.0) for n in counts] or [[]]),
                np.concatenate([*recent, np.empty(0, np.int32)]),
                np.concatenate([[0], np.cumsum(counts)]),
            ),
            shape=(len(histories), self.followers.shape[0]),
        )
        return (votes @ self.followers).toarray().astype(np.float32)
