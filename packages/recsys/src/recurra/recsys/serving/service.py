"""The model that answers now, and the one that takes its place."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from recurra.core.errors import RecurraError
from recurra.recsys.catalogue import Catalogue, allowed_items
from recurra.recsys.ranking import ItemLists
from recurra.recsys.recommender import EVERYTHING, Recommender
from recurra.recsys.running import STREAMING, NewEvents, RunningUsers
from recurra.recsys.selection import Selection
from recurra.recsys.serving.limits import RequestError
from recurra.recsys.serving.metrics import ServiceMetrics
from recurra.recsys.similar import SimilarItems


@dataclass(frozen=True)
class Query:
    """What is asked for.

    Attributes:
        history: items of anyone, oldest first; None where a user is named.
        user: of the log, or one whose events came.
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
    running: RunningUsers | None  # where its network streams
    since: datetime


class Service:
    """Answers for a model; `reload` puts another one in its place between two batches.

    What changes the states of users is done in `answer`, which one thread alone may call.
    """

    def __init__(
        self,
        name_or_path: str,
        metrics: ServiceMetrics,
        items: Path | None = None,
        category: str = "category",
        *,
        use_index: bool = True,
        max_users: int = 10_000,
    ) -> None:
        """Load a model.

        Args:
            name_or_path: a model folder, or an id of the Hugging Face Hub.
            metrics: what is counted.
            items: a table of items with their categories, see `Catalogue`; read again by `reload`.
            category: its column.
            use_index: see `Recommender.from_pretrained`.
            max_users: whose states are kept, where the model streams, see `RunningUsers`.

        Raises:
            RecurraError: the model or the table cannot be loaded.
        """
        self.name = name_or_path
        self._items, self._category, self._use_index = items, category, use_index
        self._metrics, self._max_users = metrics, max_users
        self._dropped: Counter[str] = Counter()
        self._loaded = self._load()

    def reload(self) -> int:
        """Load the model anew from where it was; whoever asks meanwhile has the old one.

        States are of the old network, and are dropped; a user begins anew with the history of the
        new model's log, which may have their events by now: read again they would count twice.

        Returns:
            how many users had a state.

        Raises:
            RecurraError: it cannot be loaded; the old one stays.
        """
        before, self._loaded = self._loaded, self._load()
        dropped = 0 if before.running is None else len(before.running)
        self._dropped["reload"] += dropped
        return dropped

    def _load(self) -> Loaded:
        recommender = Recommender.from_pretrained(self.name, use_index=self._use_index)
        recommender.lists([np.ones(1, np.int32)], 1)  # the first call costs torch its set-up
        recommender.log.number([""])  # and so does the first look for an id
        ids = [plain_id(item) for item in recommender.log.items]
        categories = None
        if self._items is not None:
            categories = Catalogue(self._items).categories(recommender.log, self._category)
        streams = recommender.model.streams
        running = RunningUsers(recommender, self._max_users) if streams else None
        similar = SimilarItems(recommender)
        return Loaded(recommender, similar, ids, categories, running, datetime.now(UTC))

    def answer(self, asked: Sequence[Query | NewEvents]) -> list[dict[str, object] | RequestError]:
        """Answer what came, in that order: a list of a user knows the events that came before."""
        answers: list[dict[str, object] | RequestError] = []
        for _, group in itertools.groupby(asked, type):
            same = list(group)
            events = [one for one in same if isinstance(one, NewEvents)]
            queries = [one for one in same if isinstance(one, Query)]
            answers += self.take(events) if events else self.recommend(queries)
        return answers

    def take(self, events: Sequence[NewEvents]) -> list[dict[str, object] | RequestError]:
        """Note new events of users, each with what became of them, or with what is wrong."""
        running, model = self._loaded.running, self._loaded.recommender.model
        self._metrics.observe_batch(len(events))
        if running is None:
            why = (
                f"a {model.kind} of these settings keeps no state of users: send the history to"
                f" /recommend, or serve a model that was trained with {STREAMING}"
            )
            return [RequestError(409, why) for _ in events]
        before = running.dropped
        taken = running.take_each(events)
        self._dropped["least_recently_used"] += running.dropped - before
        return [asdict(found) for found in taken]

    def recommend(self, queries: Sequence[Query]) -> list[dict[str, object] | RequestError]:
        """Answer queries together, each with what it would get alone, or with what is wrong."""
        loaded = self._loaded
        self._metrics.observe_batch(len(queries))
        read = [_read(loaded, query) for query in queries]
        answers: list[dict[str, object] | RequestError] = [
            found if isinstance(found, RequestError) else {} for found in read
        ]
        for filter_seen, from_state in itertools.product((True, False), repeat=2):
            asked = {
                place: (query, found)
                for place, (query, found) in enumerate(zip(queries, read, strict=True))
                if query.filter_seen == filter_seen
                and not isinstance(found, RequestError)
                and found.from_state == from_state
            }
            if asked:
                lists = _lists(loaded, list(asked.values()), filter_seen, from_state)
                for (place, (query, found)), listed in zip(asked.items(), lists, strict=True):
                    answers[place] = _answer(loaded, query, found, *listed)
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
        recommender, running = self._loaded.recommender, self._loaded.running
        log = recommender.log
        return {
            "status": "ok",
            "model": self.name,
            "items": log.n_items,
            "users": log.n_users,
            "index": recommender.index is not None,
            "running_users": None if running is None else len(running),
            "loaded": self._loaded.since.isoformat(timespec="milliseconds"),
        }

    def running_users(self) -> dict[str, object] | None:
        """How many users have a state, their memory, and who was dropped; None: none can have."""
        running = self._loaded.running
        if running is None:
            return None
        return {
            "kept": len(running),
            "limit": running.limit,
            "state_bytes": running.state_bytes,
            "dropped": {why: self._dropped[why] for why in ("least_recently_used", "reload")},
        }


def plain_id(value: object) -> object:
    """An id as JSON has it: numbers and text as they are, all else as text."""
    return value if isinstance(value, int | float | str) else str(value)


@dataclass(frozen=True)
class Read:
    """A query in numbers of items.

    Attributes:
        history: of whoever it is; from a state, its items in any order.
        selection: of its filters.
        unknown_ids: how many ids of its filters are unknown.
        from_state: whether the list is made from the state of a running user.
    """

    history: np.ndarray
    selection: Selection
    unknown_ids: int
    from_state: bool


def _read(loaded: Loaded, query: Query) -> Read | RequestError:
    log = loaded.recommender.log
    if query.per_category is not None and loaded.categories is None:
        return RequestError(400, "per_category needs a server that was started with --items FILE")
    running = loaded.running if query.history is None else None
    from_state = running is not None and query.user in running
    try:
        if query.history is not None:
            history = log.number(query.history)
        elif running is not None and from_state:
            history = running.seen(query.user)
        else:
            history = log.history(loaded.recommender.find_user(query.user))
    except RecurraError as error:
        return RequestError(404, str(error))
    if not query.has_ids and query.per_category is None:
        return Read(history, EVERYTHING, 0, from_state)
    allowed, unknown = allowed_items(log, query.only, query.exclude)
    rule = Selection(allowed)
    if query.per_category is not None:
        rule = Selection(allowed, loaded.categories, query.per_category)
    return Read(history, rule, unknown, from_state)


def _lists(
    loaded: Loaded, asked: Sequence[tuple[Query, Read]], filter_seen: bool, from_state: bool
) -> ItemLists:
    """Lists for queries that are alike in the last two: one that `from_state` is of `running`."""
    rules = [found.selection for _, found in asked]
    ks = [query.k for query, _ in asked]
    if from_state and loaded.running is not None:
        users = [query.user for query, _ in asked]
        return loaded.running.lists(users, ks, filter_seen, rules)
    limited = any(rule is not EVERYTHING for rule in rules)
    histories = [found.history for _, found in asked]
    one_or_each = rules if limited else EVERYTHING
    return loaded.recommender.lists(histories, ks, filter_seen, one_or_each)


def _answer(
    loaded: Loaded, query: Query, found: Read, items: np.ndarray, scores: np.ndarray
) -> dict[str, object]:
    known = len(found.history)
    cold = not known
    of_user = loaded.running is not None and query.history is None
    listed = zip(items.tolist(), scores.tolist(), strict=True)
    given = known if query.history is None else len(query.history)
    return {
        "items": [
            {"rank": rank, "item": loaded.ids[number - 1], "score": None if cold else score}
            for rank, (number, score) in enumerate(listed, 1)
        ],
        "unknown_items": given - known,
        "cold_start": cold,
        **({"running": found.from_state} if of_user else {}),
        **({"unknown_ids_of_filters": found.unknown_ids} if query.has_ids else {}),
    }
