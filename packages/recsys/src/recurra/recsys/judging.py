"""A model's worth on held-out events: means, intervals, bands of users and items, a row a user."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from recurra.core.bootstrap import MeanInterval, bootstrap_mean
from recurra.recsys.data import Holdout, Split
from recurra.recsys.metrics import METRICS, Rank, rank_of
from recurra.recsys.ranking import Scorer, scores_of, top_k

HISTORY_EDGES = (5, 10, 20, 50)  # longest histories of the bands but the last
POPULARITY_BANDS = ("head", "middle", "tail", "new")


@dataclass(frozen=True)
class Judgement:
    """What a scorer is worth.

    Attributes:
        name: of the scorer.
        k: places that count.
        users: a row each: "user", "item" that was right, "history", the events before it,
            "popularity", its band (see `popularity_bands`), "above" and "tied" (see `Rank`), and
            "ndcg", "hit_rate" and "mrr" at k.
        coverage: share of the catalogue that is in the list of any user.
        novelty: mean over the items of a list, then over lists, of -log2 of an item's share of the
            training events, in bits (after Zhou et al. 2010, PNAS 107(10)); an item without any
            counts as one that has one.
    """

    name: str
    k: int
    users: pl.DataFrame
    coverage: float
    novelty: float

    def means(self) -> dict[str, float]:
        """The metrics' means over users, then coverage and novelty, each with its "@k"."""
        names = [f"{name}@{self.k}" for name in METRICS]
        return {
            **{name: float(self.users[name].to_numpy().mean()) for name in names},
            f"coverage@{self.k}": self.coverage,
            f"novelty@{self.k}": self.novelty,
        }

    def interval(self) -> MeanInterval:
        """NDCG's mean with its 95 % interval over users."""
        return bootstrap_mean(self.users[f"ndcg@{self.k}"].to_numpy())

    def better_than(self, other: "Judgement") -> MeanInterval:
        """The mean difference of NDCG to another one, paired by user, with its 95 % interval."""
        name = f"ndcg@{self.k}"
        return bootstrap_mean((self.users[name] - other.users[name]).to_numpy())

    def bands(self) -> dict[str, list[dict[str, object]]]:
        """Users and means by the right item's popularity and by the history's length."""
        names = [f"{name}@{self.k}" for name in METRICS]
        edges = [f"up to {edge}" for edge in HISTORY_EDGES] + [f"over {HISTORY_EDGES[-1]}"]
        frame = self.users.with_columns(
            length=pl.col("history").cut(list(HISTORY_EDGES), labels=edges).cast(pl.String)
        )
        found = {}
        for column, order in (("popularity", POPULARITY_BANDS), ("length", edges)):
            groups = {
                str(band): group for (band,), group in frame.group_by(column, maintain_order=True)
            }
            found[column] = [
                {
                    "band": band,
                    "users": len(groups[band]),
                    **{name: float(groups[band][name].to_numpy().mean()) for name in names},
                }
                for band in order
                if band in groups
            ]
        return found


def judge(scorer: Scorer, split: Split, *, k: int = 10) -> Judgement:
    """Rank all items for each user of the test.

    Args:
        scorer: what is judged.
        split: its test is what counts; novelty and bands are by the events of its training.
        k: places that count.
    """
    holdout = split.test
    counts = np.bincount(split.train.sequence, minlength=split.train.n_items + 1)
    information = -np.log2(np.maximum(counts, 1) / max(counts.sum(), 1))
    ranks, shown, novelty = [], np.zeros(len(counts), bool), 0.0
    for users, scores in scores_of(scorer, holdout):
        ranks.append(rank_of(scores, holdout.targets[users]))
        for items, _ in top_k(scores, k):
            shown[items] = True
            novelty += float(information[items].mean()) if len(items) else 0.0
    rank = Rank(
        np.concatenate([rank.above for rank in ranks]),
        np.concatenate([rank.tied for rank in ranks]),
    )
    return Judgement(
        name=scorer.name,
        k=k,
        users=_rows(holdout, rank, popularity_bands(counts), k),
        coverage=float(shown[1:].mean()),
        novelty=novelty / len(holdout.targets),
    )


def popularity_bands(counts: np.ndarray) -> np.ndarray:
    """The band of each item: int (V + 1,), places in `POPULARITY_BANDS`.

    The most frequent items that make up a third of the events are the head; the next, up to two
    thirds, the middle; the rest the tail. An item without any event is new.

    Args:
        counts: (V + 1,) events of each item in training.
    """
    order = np.argsort(-counts, kind="stable")
    earlier = np.cumsum(counts[order]) - counts[order]  # events of more frequent items
    bands = np.empty(len(counts), np.int64)
    bands[order] = 3 * earlier // max(int(counts.sum()), 1)
    return np.where(counts == 0, 3, bands)


def _rows(holdout: Holdout, rank: Rank, bands: np.ndarray, k: int) -> pl.DataFrame:
    log = holdout.histories
    names = np.array(POPULARITY_BANDS)
    return pl.DataFrame(
        {
            "user": log.users,
            "item": log.items.gather(holdout.targets.astype(np.int64) - 1),
            "history": log.lengths,
            "popularity": names[bands[holdout.targets]],
            "above": rank.above,
            "tied": rank.tied,
            **{f"{name}@{k}": metric(rank, k) for name, metric in METRICS.items()},
        }
    )
