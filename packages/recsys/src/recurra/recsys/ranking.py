"""From scores to lists: the one path that evaluation, `recommend` and a server take."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from recurra.recsys.data.split import Holdout
from recurra.recsys.metrics import METRICS, Rank, rank_of

# Items, int64 (n,), best first, and their scores, float32 (n,); one for each history.
ItemList: TypeAlias = tuple[np.ndarray, np.ndarray]
ItemLists: TypeAlias = list[ItemList]

# From scores (B, V + 1) and k to lists: `top_k`, or one that leaves items out.
Chooser: TypeAlias = Callable[[np.ndarray, int], ItemLists]

BLOCK = 64  # histories that are scored at once; the last block may be smaller


class Scorer(Protocol):
    """Anything that scores all items for histories: a network or a rule."""

    @property
    def name(self) -> str:
        """What a table calls it."""
        ...

    def score(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Score all items for each of B histories: float32 (B, V + 1), column 0 is no item.

        The scores of a history do not depend on what else is in the batch.
        """
        ...


def candidate_scores(
    scorer: Scorer, histories: Sequence[np.ndarray], *, filter_seen: bool
) -> np.ndarray:
    """Scores of what may be recommended: no item and, if asked, what was seen are at -inf."""
    scores = scorer.score(histories)
    scores[:, 0] = -np.inf
    if filter_seen:
        rows = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
        scores[rows, np.concatenate([*histories, np.empty(0, np.int32)])] = -np.inf
    return scores


def top_k(scores: np.ndarray, k: int) -> ItemLists:
    """The k best items of each row and their scores; tied items in the order of their numbers.

    Args:
        scores: (B, V + 1), from `candidate_scores`.
        k: how many; a row with fewer candidates gives all of them.

    Returns:
        for each row int64 (n,) items, best first, and float32 (n,) scores; n is at most k.
    """
    k = min(k, scores.shape[1])
    # A partition finds the k-th score; all that reach it are sorted, so that ties have an order.
    border = np.partition(scores, -k, axis=1)[:, -k]
    lists = []
    for row, least in zip(scores, border, strict=True):
        items = np.flatnonzero((row >= least) & (row > -np.inf))
        best = items[np.argsort(-row[items], kind="stable")][:k]
        lists.append((best, row[best]))
    return lists


def recommend_items(
    scorer: Scorer,
    histories: Sequence[np.ndarray],
    k: int,
    *,
    filter_seen: bool = True,
    choose: Chooser | Sequence[Chooser] = top_k,
) -> ItemLists:
    """The k best next items of each history.

    Args:
        scorer, histories, filter_seen: see `candidate_scores`.
        k: how many.
        choose: `top_k`, or a rule of the same form, or one for each history.
    """
    # Histories of like lengths together, so that a network fills few of them up.
    order = np.argsort([len(history) for history in histories], kind="stable")
    lists: ItemLists = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(histories)
    for start in range(0, len(order), BLOCK):
        places = order[start : start + BLOCK].tolist()
        block = [histories[place] for place in places]
        scores = candidate_scores(scorer, block, filter_seen=filter_seen)
        if isinstance(choose, Sequence):
            rules = [choose[place] for place in places]
            found = [rule(row[None], k)[0] for row, rule in zip(scores, rules, strict=True)]
        else:
            found = choose(scores, k)
        for place, best in zip(places, found, strict=True):
            lists[place] = best
    return lists


def scores_of(scorer: Scorer, holdout: Holdout) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scores as targets are ranked by, in blocks of users: (b,) places in `targets`, (b, V + 1).

    What is out of the ranking, see `Holdout.filter_seen`, is at -inf.
    """
    for start in range(0, len(holdout.targets), BLOCK):
        users = np.arange(start, min(start + BLOCK, len(holdout.targets)))
        histories = [holdout.histories.history(user) for user in users]
        scores = candidate_scores(scorer, histories, filter_seen=False)
        rows = np.arange(len(users))
        own = scores[rows, holdout.targets[users]]
        if holdout.filter_seen:
            seen = np.repeat(rows, [len(history) for history in histories])
            scores[seen, np.concatenate(histories)] = -np.inf
            scores[rows, holdout.targets[users]] = own
        yield users, scores


def evaluate(scorer: Scorer, holdout: Holdout, *, k: int = 10) -> dict[str, float]:
    """Rank the whole catalogue for each user and judge where the right item stands.

    Args:
        scorer: what is judged.
        holdout: histories and what came next.
        k: places that count.

    Returns:
        "ndcg", "hit_rate" and "mrr" at k, means over users; see `recurra.recsys.metrics`.
    """
    ranks = [
        rank_of(scores, holdout.targets[users]) for users, scores in scores_of(scorer, holdout)
    ]
    rank = Rank(
        np.concatenate([rank.above for rank in ranks]),
        np.concatenate([rank.tied for rank in ranks]),
    )
    return {f"{name}@{k}": float(metric(rank, k).mean()) for name, metric in METRICS.items()}
