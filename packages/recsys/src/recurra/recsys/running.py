"""Users whose histories grow while they are served: each new event costs the same."""

from collections.abc import Iterable

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recurra.core.errors import RecurraError
from recurra.recsys.ranking import top_k
from recurra.recsys.recommender import Recommender


class RunningUsers:
    """Keep a state for each user, which a new event updates without its history being read again.

    Users of the model's log begin with the history that they have there; others with nothing.

    >>> users = RunningUsers(Recommender.from_pretrained("model"))
    >>> users.take("ann", ["tea-1", "knots-1"])
    >>> users.recommend("ann", k=3)
    """

    def __init__(self, recommender: Recommender) -> None:
        """Take a recommender whose network streams.

        Raises:
            RecurraError: it does not.
        """
        if not recommender.model.streams:
            raise RecurraError(
                f"a {recommender.model.kind} of these settings reads whole histories; train with "
                "--model sasrec network.encoder=mamba2 network.positions=none"
            )
        self._recommender = recommender
        self._states: dict[str, dict[str, Tensor]] = {}
        self._seen: dict[str, np.ndarray] = {}

    def take(self, user: object, items: Iterable[object]) -> int:
        """Note new events of a user, by the log's own ids, compared as text.

        Returns:
            how many of the items are unknown, and were skipped.
        """
        given = list(items)
        known = self._recommender.log.number(given)
        self._read(self._begun(user), known)
        return len(given) - len(known)

    def recommend(self, user: object, k: int = 10, *, filter_seen: bool = True) -> pl.DataFrame:
        """List what may come next for a user.

        Returns:
            columns "rank", "item" and "score", as `Recommender` has them: a user without any known
            event gets the most popular items, without scores.
        """
        name = self._begun(user)
        seen = self._seen[name]
        if not len(seen):
            return self._recommender.for_histories([[]], k).table.drop("history")
        if k < 1:
            raise RecurraError(f"k is {k}; it must be at least 1")
        with torch.inference_mode():
            scores = self._recommender.model.score_next(self._states[name]).cpu().numpy()
        scores[:, 0] = -np.inf
        if filter_seen:
            scores[0, seen] = -np.inf
        ((best, values),) = top_k(scores, k)
        columns = {"rank": np.arange(1, len(best) + 1), "score": values}
        items = self._recommender.log.items.gather(best - 1).alias("item")
        return pl.DataFrame(columns).with_columns(items).select("rank", "item", "score")

    def _begun(self, user: object) -> str:
        """The user's name, whose state is there from here on."""
        name = str(user)
        if name not in self._seen:
            self._seen[name] = np.empty(0, np.int32)
            try:
                place = self._recommender.find_user(name)
            except RecurraError:  # somebody new
                return name
            self._read(name, self._recommender.log.history(place))
        return name

    def _read(self, name: str, items: np.ndarray) -> None:
        if not len(items):
            return
        model = self._recommender.model
        device = model.item_embedding.weight.device
        with torch.inference_mode():
            events = torch.from_numpy(items.astype(np.int64))[None].to(device)
            self._states[name] = model.read(events, self._states.get(name))[1]
        self._seen[name] = np.union1d(self._seen[name], items)
