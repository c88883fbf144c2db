"""The model that answers now, and the one that takes its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from recurra.core.errors import RecurraError
from recurra.recsys.catalogue import Catalogue, allowed_items
from recurra.recsys.recommender import EVERYTHING, Recommender
from recurra.recsys.selection import Selection
from recurra.recsys.serving.limits import RequestError
from recurra.recsys.serving.metrics import ServiceMetrics
from recurra.recsys.similar import SimilarItems


@dataclass(frozen=True)
class Query:
    """What is asked for.

    Attributes:
        history: items of anyone, oldest first; None where a user is named.
        user: of the log.
        k: items of the list.
        filter_seen: leave out what the history holds.
        only: ids of the items that alone may be in the list; None: all.
        exclude: ids of items that may not; None: none.
        per_category: how many items of one category it holds at most; None: any number.
    """

    history: Sequence[object] | None
    user: object
    k: int
    filter_seen: bool
    only: Sequence[object] | None = None
    exclude: Sequence[object] | None = None
    per_category: int | None = None

    @property
    def has_ids(self) -> bool:
        """Whether items are named that the list is limited to or kept from."""
        return self.only is not None or self.exclude is not None


@dataclass(frozen=True)
class Loaded:
    """A model with all that is made of it when it is loaded."""

    recommender: Recommender
    similar: SimilarItems
    ids: list[object]  # of item n at n - 1, as JSON has it
    categories: np.ndarray | None  # see `Selection`
    since: datetime


class Service:
    """Answers for a model; `reload` puts another one in its place between two batches."""

    def __init__(
        self,
        name_or_path: str,
        metrics: ServiceMetrics,
        items: Path | None = None,
        category: str = "category",
        *,
        use_index: bool = True,
    ) -> None:
        """Load a model.

        Args:
            name_or_path: a model folder, or an id of the Hugging Face Hub.
            metrics: what is counted.
            items: a table of items with their categories, see `Catalogue`; read again by `reload`.
            category: its column.
            use_index: see `Recommender.from_pretrained`.

        Raises:
            RecurraError: the model or the table cannot be loaded.
        """
        self.name = name_or_path
        self._items, self._category, self._use_index = items, category, use_index
        self._metrics = metrics
        self._loaded = self._load()

    def reload(self) -> None:
        """Load the model anew from where it was; whoever asks meanwhile has the old one.

        Raises:
            RecurraError: it cannot be loaded; the old one stays.
        """
        self._loaded = self._load()

    def _load(self) -> Loaded:
        recommender = Recommender.from_pretrained(self.name, use_index=self._use_index)
        recommender.lists([np.ones(1, np.int32)], 1)  # the first call costs torch its set-up
        recommender.log.number([""])  # and so does the first look for an id
        ids = [plain_id(item) for item in recommender.log.items]
        categories = None
        if self._items is not None:
            categories = Catalogue(self._items).categories(recommender.log, self._category)
        return Loaded(recommender, SimilarItems(recommender), ids, categories, datetime.now(UTC))

    def recommend(self, queries: Sequence[Query]) -> list[dict[str, object] | RequestError]:
        """Answer queries together, each with what it would get alone, or with what is wrong."""
        loaded = self._loaded
        recommender = loaded.recommender
        self._metrics.observe_batch(len(queries))
        read = [_read(loaded, query) for query in queries]
        answers: list[dict[str, object] | RequestError] = [
            found if isinstance(found, RequestError) else {} for found in read
        ]
        for filter_seen in (True, False):
            asked = [
                (place, query, found)
                for place, (query, found) in enumerate(zip(queries, read, strict=True))
                if query.filter_seen == filter_seen and not isinstance(found, RequestError)
            ]
            if not asked:
                continue
            rules = [found.selection for _, _, found in asked]
            limited = any(rule is not EVERYTHING for rule in rules)
            lists = recommender.lists(
                [found.history for _, _, found in asked],
                [query.k for _, query, _ in asked],
                filter_seen,
                rules if limited else EVERYTHING,
            )
            for (place, query, found), (items, scores) in zip(asked, lists, strict=True):
                answers[place] = _answer(loaded.ids, query, found, items, scores)
        return answers

    def similar(self, item: str, k: int) -> dict[str, object]:
        """Items like one.

        Raises:
            RequestError: the model does not know it.
        """
        try:
            table = self._loaded.similar.of(item, k)
        except RecurraError as error:
            raise RequestError(404, str(error)) from error
        rows = [row | {"item": plain_id(row["item"])} for row in table.to_dicts()]
        return {"items": rows}

    def health(self) -> dict[str, object]:
        """What is served."""
        recommender = self._loaded.recommender
        log = recommender.log
        return {
            "status": "ok",
            "model": self.name,
            "items": log.n_items,
            "users": log.n_users,
            "index": recommender.index is not None,
            "loaded": self._loaded.since.isoformat(timespec="milliseconds"),
        }


def plain_id(value: object) -> object:
    """An id as JSON has it: numbers and text as they are, all else as text."""
    return value if isinstance(value, int | float | str) else str(value)


@dataclass(frozen=True)
class Read:
    """A query in numbers of items; `unknown_ids` counts those of its filters that are unknown."""

    history: np.ndarray
    selection: Selection
    unknown_ids: int


def _read(loaded: Loaded, query: Query) -> Read | RequestError:
    log = loaded.recommender.log
    if query.per_category is not None and loaded.categories is None:
        return RequestError(400, "per_category needs a server that was started with --items FILE")
    try:
        history = (
            log.history(loaded.recommender.find_user(query.user))
            if query.history is None
            else log.number(query.history)
        )
    except RecurraError as error:
        return RequestError(404, str(error))
    if not query.has_ids and query.per_category is None:
        return Read(history, EVERYTHING, 0)
    allowed, unknown = allowed_items(log, query.only, query.exclude)
    if query.per_category is None:
        return Read(history, Selection(allowed), unknown)
    return Read(history, Selection(allowed, loaded.categories, query.per_category), unknown)


def _answer(
    ids: Sequence[object],
    query: Query,
    found: Read,
    items: np.ndarray,
    scores: np.ndarray,
) -> dict[str, object]:
    known = len(found.history)
    cold = not known
    listed = zip(items.tolist(), scores.tolist(), strict=True)
    given = known if query.history is None else len(query.history)
    return {
        "items": [
            {"rank": rank, "item": ids[number - 1], "score": None if cold else score}
            for rank, (number, score) in enumerate(listed, 1)
        ],
        "unknown_items": given - known,
        "cold_start": cold,
        **({"unknown_ids_of_filters": found.unknown_ids} if query.has_ids else {}),
    }
