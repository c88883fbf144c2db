"""Users whose histories grow while they are served: each new event costs the same."""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recurra.core.errors import RecurraError
from recurra.recsys.neural import ROWS
from recurra.recsys.ranking import ItemList, ItemLists
from recurra.recsys.recommender import EVERYTHING, Recommender
from recurra.recsys.selection import Selection

STREAMING = "--model sasrec network.encoder=mamba2 network.positions=none"  # such as `train` takes


@dataclass(frozen=True)
class NewEvents:
    """What a user took, by the log's own ids, oldest first.

    Attributes:
        user: whose they are; compared as text.
        items: the new events.
        history: all events before them, from which the user's state begins anew; None goes on with
            the state that is there.
    """

    user: object
    items: Sequence[object]
    history: Sequence[object] | None = None


@dataclass(frozen=True)
class Taken:
    """What became of new events.

    Attributes:
        events: that the user's state has read, with what it began with.
        unknown_items: of the new events and the history given; they were skipped.
        begun: whether the state began here: with the history given, with that of the model's log,
            or, for users that it does not have, with nothing.
    """

    events: int
    unknown_items: int
    begun: bool


@dataclass(frozen=True)
class UserState:
    """A user.

    Attributes:
        network: the state of `NextItemModel.read`, of one row.
        seen: int32 (n,), the items of all events, rising.
        events: how many there were.
    """

    network: dict[str, Tensor]
    seen: np.ndarray
    events: int


class RunningUsers:
    """Keep a state for each user, which a new event updates without its history being read again.

    Users of the model's log begin with the history that they have there; others with nothing.
    Lists and states are the same to the bit alone and with those of others. Not for several
    threads at once.

    >>> users = RunningUsers(Recommender.from_pretrained("model"))
    >>> users.take("ann", ["tea-1", "knots-1"])
    >>> users.recommend("ann", k=3)

    Attributes:
        dropped: how many users were given up for others, see `limit`.
    """

    def __init__(self, recommender: Recommender, limit: int | None = None) -> None:
        """Take a recommender whose network streams.

        Args:
            recommender: of the model.
            limit: users that are kept; of more, those who were longest ago taken from or asked for
                are forgotten, and begin anew. None: no limit.

        Raises:
            RecurraError: it does not stream.
        """
        if not recommender.model.streams:
            raise RecurraError(
                f"a {recommender.model.kind} of these settings reads whole histories; train with"
                f" {STREAMING}"
            )
        if limit is not None and limit < 1:
            raise RecurraError(f"the limit is {limit} users; it must be at least 1")
        self.dropped = 0
        self.limit = limit
        self._recommender = recommender
        self._users: OrderedDict[str, UserState] = OrderedDict()  # the latest last
        nothing = np.empty(0, np.int32)
        self._nobody = UserState(self._read(np.zeros(1, np.int32), None), nothing, 0)

    def __len__(self) -> int:
        return len(self._users)

    def __contains__(self, user: object) -> bool:
        return str(user) in self._users

    @property
    def state_bytes(self) -> int:
        """Memory of the states of all users, but for the items that they have seen."""
        return len(self) * sum(value.nbytes for value in self._nobody.network.values())

    def seen(self, user: object) -> np.ndarray:
        """The items of a user's events: int32 (n,), rising."""
        return self._begun(str(user)).seen

    def take(self, user: object, items: Iterable[object]) -> int:
        """Note new events of a user, by the log's own ids, compared as text.

        Returns:
            how many of the items are unknown, and were skipped.
        """
        ((taken),) = self.take_each([NewEvents(user, list(items))])
        return taken.unknown_items

    def take_each(self, events: Sequence[NewEvents]) -> list[Taken]:
        """Note new events of some users, those of one user in the order that they have here.

        Single events of several users are read together, which costs little more than one.
        """
        taken: dict[int, Taken] = {}
        for places in _turns([str(new.user) for new in events]):
            single: list[tuple[str, np.ndarray]] = []
            for place in places:
                taken[place], known = self._begin(events[place])
                if len(known) == 1:
                    single.append((str(events[place].user), known))
                elif len(known):
                    self._keep(str(events[place].user), known, None)
            for start in range(0, len(single), ROWS):
                self._step(single[start : start + ROWS])
        self._drop()
        return [taken[place] for place in range(len(events))]

    def recommend(self, user: object, k: int = 10, *, filter_seen: bool = True) -> pl.DataFrame:
        """List what may come next for a user.

        Returns:
            columns "rank", "item" and "score", as `Recommender` has them: a user without any known
            event gets the most popular items, without scores.
        """
        ((items, scores),) = self.lists([user], [k], filter_seen)
        return pl.DataFrame(
            {
                "rank": np.arange(1, len(items) + 1),
                "item": self._recommender.log.items.gather(items - 1),
                "score": pl.Series(scores, nan_to_null=True),
            }
        )

    def lists(
        self,
        users: Sequence[object],
        ks: Sequence[int],
        filter_seen: bool = True,
        selections: Sequence[Selection] | None = None,
    ) -> ItemLists:
        """List what may come next for users, in numbers of items: see `Recommender.lists`.

        Args:
            users: whose lists they are.
            ks: items for each.
            filter_seen: leave out the items of their events.
            selections: which items the list of each may hold; None: all.
        """
        if min(ks, default=1) < 1:
            raise RecurraError(f"k is {min(ks)}; it must be at least 1")
        found: ItemLists = []
        for start in range(0, len(users), ROWS):
            states = [self._begun(str(user)) for user in users[start : start + ROWS]]
            rules = (selections or [EVERYTHING] * len(users))[start : start + ROWS]
            found += self._lists_of(states, ks[start : start + ROWS], filter_seen, rules)
        self._drop()
        return found

    def _lists_of(
        self,
        states: Sequence[UserState],
        ks: Sequence[int],
        filter_seen: bool,
        rules: Sequence[Selection],
    ) -> ItemLists:
        """The lists of up to `ROWS` users, by the index if the recommender has one."""
        model, index = self._recommender.model, self._recommender.index
        last = self._stacked([{"last": state.network["last"]} for state in states])
        seen = [state.seen if filter_seen else state.seen[:0] for state in states]
        listed: list[ItemList | None] = [None] * len(states)
        with torch.inference_mode():
            if index is not None:
                queries = model.project(last["last"]).cpu().numpy()[: len(states)]
                asked = zip(queries, ks, seen, rules, strict=True)
                listed = [index.find(query, k, own, rule) for query, k, own, rule in asked]
            # An index spares the product with the table, but for lists that it cannot give.
            needed = any(best is None for best in listed)
            scores = model.score_next(last).cpu().numpy() if needed else None
        found: ItemLists = []
        for row, (state, k, rule) in enumerate(zip(states, ks, rules, strict=True)):
            best = listed[row]
            if not state.events:
                (best,) = self._recommender.lists([state.seen], k, filter_seen, rule)
            elif best is None:
                values = scores[row]
                values[0] = values[seen[row]] = -np.inf
                (best,) = rule.top_k(values[None], k)
            found.append(best)
        return found

    def _begin(self, new: NewEvents) -> tuple[Taken, np.ndarray]:
        """See that a user has a state; what will have become of the events, and their numbers."""
        name, number = str(new.user), self._recommender.log.number
        begun = new.history is not None or name not in self._users
        given = len(new.items)
        if new.history is None:
            state = self._begun(name)
        else:
            given += len(new.history)
            before = number(new.history)
            self._users.pop(name, None)
            state = self._keep(name, before, self._nobody)
            given -= len(before)
        known = number(new.items)
        return Taken(state.events + len(known), given - len(known), begun), known

    def _begun(self, name: str) -> UserState:
        """The state of a user, which is there from here on, and is the latest that was used."""
        if name not in self._users:
            try:
                place = self._recommender.find_user(name)
            except RecurraError:  # somebody new
                return self._keep(name, self._nobody.seen, self._nobody)
            return self._keep(name, self._recommender.log.history(place), self._nobody)
        self._users.move_to_end(name)
        return self._users[name]

    def _keep(self, name: str, items: np.ndarray, before: UserState | None) -> UserState:
        """Read items (n,) of a user behind a state, or behind that which is kept, and keep it."""
        state = before or self._users[name]
        network = self._read(items, state.network) if len(items) else state.network
        self._users[name] = _behind(state, network, items)
        return self._users[name]

    def _step(self, single: Sequence[tuple[str, np.ndarray]]) -> None:
        """Read one item (1,) each of up to `ROWS` users, in a batch of that many rows always.

        So a state does not depend on who else has an event: matrix products round by shape.
        """
        states = [self._users[name] for name, _ in single]
        items = np.zeros((ROWS, 1), np.int64)
        items[: len(single), 0] = [known[0] for _, known in single]
        network = self._stacked([state.network for state in states])
        with torch.inference_mode():
            after = self._recommender.model.read(self._on_device(items), network)[1]
            for row, ((name, known), state) in enumerate(zip(single, states, strict=True)):
                # Copies: a view of a row would keep the memory of all of them.
                own = {key: value[row : row + 1].clone() for key, value in after.items()}
                self._users[name] = _behind(state, own, known)

    def _stacked(self, networks: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """States of users in the rows of one, filled up to `ROWS` by that before any event."""
        rows = [*networks, *[self._nobody.network] * (ROWS - len(networks))]
        return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}

    def _read(self, items: np.ndarray, network: dict[str, Tensor] | None) -> dict[str, Tensor]:
        with torch.inference_mode():
            return self._recommender.model.read(self._on_device(items[None]), network)[1]

    def _on_device(self, items: np.ndarray) -> Tensor:
        device = self._recommender.model.item_embedding.weight.device
        return torch.from_numpy(items.astype(np.int64)).to(device)

    def _drop(self) -> None:
        while self.limit is not None and len(self._users) > self.limit:
            self._users.popitem(last=False)
            self.dropped += 1


def _behind(state: UserState, network: dict[str, Tensor], items: np.ndarray) -> UserState:
    """The state behind items (n,) that the network has read."""
    seen = state.seen
    if len(items) == 1:
        # One item more is put in its place: after 10,000 items that copies 40 kB, in microseconds.
        at = int(np.searchsorted(seen, items[0]))
        if at == len(seen) or seen[at] != items[0]:
            seen = np.concatenate([seen[:at], items, seen[at:]])
    elif len(items):
        seen = np.union1d(seen, items)
    return UserState(network, seen, state.events + len(items))


def _turns(names: Sequence[str]) -> list[list[int]]:
    """Places of names in rounds, so that each name comes once in a round, in its own order."""
    turns: list[list[int]] = []
    came: Counter[str] = Counter()
    for place, name in enumerate(names):
        if came[name] == len(turns):
            turns.append([])
        turns[came[name]].append(place)
        came[name] += 1
    return turns
