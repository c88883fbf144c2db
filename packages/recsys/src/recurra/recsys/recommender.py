"""A trained model with the ids of its items and the histories of its users: what people ask."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from recurra.core.errors import CheckpointError, RecurraError
from recurra.core.pretrained import resolve
from recurra.recsys.data.interactions import Interactions
from recurra.recsys.item_index import INDEX, ItemIndex
from recurra.recsys.models import NextItemModel, load_model
from recurra.recsys.neural import NetworkScorer
from recurra.recsys.ranking import ItemList, ItemLists, recommend_items
from recurra.recsys.selection import Selection

ITEMS, HISTORIES = "items.parquet", "histories.parquet"
METRICS = "metrics.json"  # what it was worth when it was made
EVERYTHING = Selection()


@dataclass(frozen=True)
class Recommendations:
    """Lists of items and what could not be used.

    Attributes:
        table: columns "user" (or "history", its place), "rank" from 1, "item" (the log's own id)
            and "score" (a logit: higher is likelier; null for a cold start).
        unknown_items: items of given histories that the model does not know, which were skipped.
        cold_starts: histories without a known item; they get the most popular items.
        unknown_users: users that were asked for and that the log does not have, who were skipped.
        empty_lists: histories that got no item, because a selection leaves none that is not seen.
    """

    table: pl.DataFrame
    unknown_items: int = 0
    cold_starts: int = 0
    unknown_users: int = 0
    empty_lists: int = 0


class Recommender:
    """Recommend next items, in the log's own ids.

    >>> recommender = Recommender.from_pretrained("model")
    >>> recommender.for_histories([["tea", "cups"]], k=3).table
    """

    def __init__(
        self, model: NextItemModel, log: Interactions, index: ItemIndex | None = None
    ) -> None:
        """Take a model, the log whose ids and histories it answers for, and an index or none."""
        if model.config.n_items != log.n_items:
            raise ValueError(f"the model has {model.config.n_items} items, the log {log.n_items}")
        self.model = model
        self.log = log
        self.index = index
        self._scorer = NetworkScorer(model)
        self._place = {str(user): place for place, user in enumerate(log.users)}

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, *, use_index: bool = False) -> Self:
        """Load a model folder, or one of the Hugging Face Hub, that `recurra-recsys train` made.

        Args:
            name_or_path: of the model.
            use_index: look for lists in the index that the folder holds, if it holds one; else all
                items are scored.

        Raises:
            RecurraError: there is no such model.
            CheckpointError: files are missing or do not fit.
            MissingExtraError: there is an index to be used, and faiss is not installed.
        """
        folder = resolve(name_or_path, shipped_in=None)
        model = load_model(folder)
        for name in (ITEMS, HISTORIES):
            if not (folder / name).is_file():
                raise CheckpointError(f"{folder} holds no {name}; `recurra-recsys train` writes it")
        try:
            items = pl.read_parquet(folder / ITEMS)["item"]
            histories = pl.read_parquet(folder / HISTORIES).select(
                "user", pl.col("items").cast(pl.List(pl.Int32))
            )
        except pl.exceptions.PolarsError as error:
            first = str(error).splitlines()[0]
            raise CheckpointError(f"{folder}: a table is damaged: {first}") from error
        lengths = histories["items"].list.len().to_numpy()
        sequence = histories["items"].explode(empty_as_null=False)
        known = sequence.is_between(1, len(items)).fill_null(False)
        if len(items) != model.config.n_items or not known.all():
            raise CheckpointError(f"{folder}: the tables do not fit the model's items")
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        log = Interactions(histories["user"], items, offsets, sequence.to_numpy())
        indexed = use_index and (folder / INDEX).is_file()
        return cls(model, log, ItemIndex.load(folder / INDEX, model) if indexed else None)

    def save(
        self,
        folder: str | Path,
        *,
        card: str | None = None,
        files: Mapping[str, Callable[[Path], object]] | None = None,
    ) -> None:
        """Write a model folder: weights, config, `items.parquet` and `histories.parquet`.

        Args:
            folder: new, empty or an earlier model folder, which is replaced.
            card: text of README.md.
            files: see `Pretrained.save_pretrained`.

        Raises:
            RecurraError: `folder` holds something else.
        """
        log = self.log
        rows = np.repeat(np.arange(log.n_users), log.lengths)
        events = pl.DataFrame({"row": rows, "items": log.sequence})
        lists = events.group_by("row", maintain_order=True).agg("items")
        every = pl.DataFrame({"row": np.arange(log.n_users), "user": log.users})
        histories = every.join(lists, on="row", how="left", maintain_order="left").select(
            "user", pl.col("items").fill_null([])
        )
        self.model.save_pretrained(
            folder,
            card=card,
            files={
                ITEMS: pl.DataFrame({"item": log.items}).write_parquet,
                HISTORIES: histories.write_parquet,
                **(files or {}),
            },
        )

    def for_users(
        self,
        users: Iterable[object] | None = None,
        k: int = 10,
        *,
        filter_seen: bool = True,
        selection: Selection = EVERYTHING,
    ) -> Recommendations:
        """Recommend for users of the log.

        Args:
            users: their own ids, compared as text; None: all. Those that the log does not have are
                skipped and counted.
            k: items for each; fewer where there are not as many.
            filter_seen: leave out what a user already has.
            selection: which items a list may hold.

        Raises:
            RecurraError: the log has none of the users.
        """
        places, unknown = list(range(self.log.n_users)), 0
        if users is not None:
            given = [str(user) for user in users]
            places = [self._place[user] for user in given if user in self._place]
            unknown = len(given) - len(places)
            if given and not places:
                others = f", nor any of {unknown - 1} others" if unknown > 1 else ""
                raise RecurraError(
                    f"the model has no user {given[0]}{others}: ids are those of the log; give"
                    " --history for a new one"
                )
        histories = [self.log.history(place) for place in places]
        names = self.log.users.gather(places)
        found = self._table(names, histories, self.lists(histories, k, filter_seen, selection))
        return replace(found, unknown_users=unknown)

    def for_histories(
        self,
        histories: Sequence[Sequence[object]],
        k: int = 10,
        *,
        filter_seen: bool = True,
        selection: Selection = EVERYTHING,
    ) -> Recommendations:
        """Recommend after histories of anyone, oldest item first, without training anew.

        Args:
            histories: items by the log's own ids, compared as text; unknown ones are skipped.
            k: items for each; fewer where there are not as many.
            filter_seen: leave out the items of the history.
            selection: which items a list may hold.
        """
        known = [self.log.number(history) for history in histories]
        unknown = sum(map(len, histories)) - sum(map(len, known))
        names = pl.Series("history", np.arange(1, len(histories) + 1))
        return self._table(names, known, self.lists(known, k, filter_seen, selection), unknown)

    def find_user(self, user: object) -> int:
        """The place in the log of a user, whose id is compared as text.

        Raises:
            RecurraError: the log has no such user.
        """
        place = self._place.get(str(user))
        if place is None:
            raise RecurraError(f"the model has no user {user!s}; give the history of a new one")
        return place

    def lists(
        self,
        histories: Sequence[np.ndarray],
        k: int | Sequence[int],
        filter_seen: bool = True,
        selection: Selection | Sequence[Selection] = EVERYTHING,
    ) -> ItemLists:
        """The lists themselves, in numbers of items: what all other ways to ask go through.

        A list does not depend on what else is asked for.

        Args:
            histories: int32 (n,) numbers of items each, oldest first; an empty one is a cold start.
            k: items for each, or one number for each; fewer where there are not as many.
            filter_seen: leave out the items of the history.
            selection: which items a list may hold; one for all, or one for each history.

        Returns:
            for each history int64 (n,) items, best first, and float32 (n,) scores, NaN for a cold
            start, which gets the most popular items.
        """
        ks = [k] * len(histories) if isinstance(k, int) else list(k)
        if min(ks, default=1) < 1:
            raise RecurraError(f"k is {min(ks)}; it must be at least 1")
        one = isinstance(selection, Selection)
        rules = [selection] * len(histories) if one else list(selection)
        known = [row for row, history in enumerate(histories) if len(history)]
        found: dict[int, ItemList] = {}
        if self.index is not None:
            queries = self._scorer.queries([histories[row] for row in known])
            for row, query in zip(known, queries, strict=True):
                seen = histories[row] if filter_seen else histories[row][:0]
                listed = self.index.find(query, ks[row], seen, rules[row])
                if listed is not None:
                    found[row] = listed
        left = [row for row in known if row not in found]
        lists = recommend_items(
            self._scorer,
            [histories[row] for row in left],
            max((ks[row] for row in left), default=1),
            filter_seen=filter_seen,
            choose=selection.top_k if one else [rules[row].top_k for row in left],
        )
        for row, (items, scores) in zip(left, lists, strict=True):
            found[row] = items[: ks[row]], scores[: ks[row]]
        return [
            found[row] if row in found else self._most_popular(ks[row], rules[row])
            for row in range(len(histories))
        ]

    def _most_popular(self, k: int, rule: Selection) -> ItemList:
        """What a cold start gets."""
        ((popular, _),) = rule.top_k(self._popularity[None], k)
        return popular, np.full(len(popular), np.nan, np.float32)

    @cached_property
    def _popularity(self) -> np.ndarray:
        """How often each item stands in the histories, no item at -inf: float64 (V + 1,)."""
        counts = np.bincount(self.log.sequence, minlength=self.log.n_items + 1).astype(np.float64)
        counts[0] = -np.inf
        return counts

    def _table(
        self,
        names: pl.Series,
        histories: Sequence[np.ndarray],
        lists: ItemLists,
        unknown: int = 0,
    ) -> Recommendations:
        counts = [len(items) for items, _ in lists]
        items = np.concatenate([*(items for items, _ in lists), np.empty(0, np.int64)])
        scores = np.concatenate([*(scores for _, scores in lists), np.empty(0, np.float32)])
        table = pl.DataFrame(
            {
                names.name or "user": names.gather(np.repeat(np.arange(len(lists)), counts)),
                "rank": np.concatenate([*(np.arange(1, n + 1) for n in counts), np.empty(0, int)]),
                "item": self.log.items.gather(items - 1),
                "score": pl.Series(scores, nan_to_null=True),
            }
        )
        cold_starts = sum(not len(history) for history in histories)
        return Recommendations(table, unknown, cold_starts, empty_lists=counts.count(0))
