"""The model that answers now, and the one that takes its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from recurra.core.errors import RecurraError
from recurra.recsys.recommender import Recommender
from recurra.recsys.serving.limits import RequestError
from recurra.recsys.serving.metrics import ServiceMetrics
from recurra.recsys.similar import SimilarItems


@dataclass(frozen=True)
class Query:
    """What is asked for: `history`, items of anyone, oldest first, or else `user`, of the log."""

    history: Sequence[object] | None
    user: object
    k: int
    filter_seen: bool


@dataclass(frozen=True)
class Loaded:
    """A model with all that is made of it when it is loaded."""

    recommender: Recommender
    similar: SimilarItems
    ids: list[object]  # of item n at n - 1, as JSON has it
    since: datetime


class Service:
    """Answers for a model; `reload` puts another one in its place between two batches."""

    def __init__(self, name_or_path: str, metrics: ServiceMetrics) -> None:
        """Load a model.

        Raises:
            RecurraError: it cannot be loaded.
        """
        self.name = name_or_path
        self._metrics = metrics
        self._loaded = self._load()

    def reload(self) -> None:
        """Load the model anew from where it was; whoever asks meanwhile has the old one.

        Raises:
            RecurraError: it cannot be loaded; the old one stays.
        """
        self._loaded = self._load()

    def _load(self) -> Loaded:
        recommender = Recommender.from_pretrained(self.name)
        recommender.lists([np.ones(1, np.int32)], 1)  # the first call costs torch its set-up
        recommender.log.number([""])  # and so does the first look for an id
        ids = [plain_id(item) for item in recommender.log.items]
        return Loaded(recommender, SimilarItems(recommender), ids, datetime.now(UTC))

    def recommend(self, queries: Sequence[Query]) -> list[dict[str, object] | RequestError]:
        """Answer queries together, each with what it would get alone, or with what is wrong."""
        loaded = self._loaded
        recommender = loaded.recommender
        self._metrics.observe_batch(len(queries))
        histories: list[np.ndarray | RequestError] = []
        for query in queries:
            try:
                histories.append(_history(recommender, query))
            except RecurraError as error:
                histories.append(RequestError(404, str(error)))
        answers: list[dict[str, object] | RequestError] = [
            history if isinstance(history, RequestError) else {} for history in histories
        ]
        for filter_seen in (True, False):
            asked = [
                (place, query, history)
                for place, (query, history) in enumerate(zip(queries, histories, strict=True))
                if query.filter_seen == filter_seen and not isinstance(history, RequestError)
            ]
            if not asked:
                continue
            k = max(query.k for _, query, _ in asked)  # a shorter list is the start of a longer one
            lists = recommender.lists([h for _, _, h in asked], k, filter_seen)
            for (place, query, history), (items, scores) in zip(asked, lists, strict=True):
                answers[place] = _answer(loaded.ids, query, history, items, scores)
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
        log = self._loaded.recommender.log
        return {
            "status": "ok",
            "model": self.name,
            "items": log.n_items,
            "users": log.n_users,
            "loaded": self._loaded.since.isoformat(timespec="milliseconds"),
        }


def plain_id(value: object) -> object:
    """An id as JSON has it: numbers and text as they are, all else as text."""
    return value if isinstance(value, int | float | str) else str(value)


def _history(recommender: Recommender, query: Query) -> np.ndarray:
    if query.history is not None:
        return recommender.log.number(query.history)
    return recommender.log.history(recommender.find_user(query.user))


def _answer(
    ids: Sequence[object],
    query: Query,
    history: np.ndarray,
    items: np.ndarray,
    scores: np.ndarray,
) -> dict[str, object]:
    numbers = items[: query.k].tolist()
    cold = not len(history)
    given = len(history) if query.history is None else len(query.history)
    return {
        "items": [
            {"rank": rank, "item": ids[number - 1], "score": None if cold else score}
            for rank, (number, score) in enumerate(zip(numbers, scores.tolist(), strict=False), 1)
        ],
        "unknown_items": given - len(history),
        "cold_start": cold,
    }
