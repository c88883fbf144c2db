"""Many askers, one network: what waits is answered together."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from recurra.recsys.serving.limits import RequestError, ServeLimits

Query = TypeVar("Query")
Answer = TypeVar("Answer")

LEAST = 8  # queries that cost the network about as much as one, see `recurra.recsys.neural.ROWS`
PAUSE = 0.1  # seconds that a batch may keep the server from reading, refusing and writing


class Waiting(NamedTuple, Generic[Query, Answer]):
    """A query, where its answer goes, and until when that is waited for."""

    query: Query
    future: "asyncio.Future[Answer]"
    until: float


class Batcher(Generic[Query, Answer]):
    """Answer queries in batches, one batch at a time.

    Nobody waits for a batch to fill: whatever has come is answered, so that a lone query is
    answered at once, and the batches grow with the load.

    The batches are worked on where the requests are read, and not in a thread: with one core a
    thread gives nothing to overlap, and the network, which takes Python's lock again after each of
    its hundreds of operations, waits milliseconds for it each time that requests come meanwhile.
    """

    def __init__(
        self, answer: Callable[[Sequence[Query]], Sequence[Answer]], limits: ServeLimits
    ) -> None:
        """Take a function that gives one answer for each query."""
        self._answer = answer
        self._limits = limits
        self._waiting: deque[Waiting[Query, Answer]] = deque()
        self._came = asyncio.Event()
        self._largest = limits.batch

    async def ask(self, query: Query) -> Answer:
        """Wait for the answer to a query.

        Raises:
            RequestError: too many wait already, or the query was not begun with in time.
        """
        if len(self._waiting) >= self._limits.waiting:
            raise RequestError(503, f"{self._limits.waiting} requests wait already; try again")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        until = time.monotonic() + self._limits.seconds
        self._waiting.append(Waiting(query, future, until))
        self._came.set()
        return await future

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._came.wait()
            self._came.clear()
            while batch := self._next_batch():
                self._answer_batch(batch)
                await asyncio.sleep(0)  # answers go out, and what has come meanwhile comes in

    def _next_batch(self) -> list[Waiting[Query, Answer]]:
        """The first that wait, but for those who gave up or have waited for too long."""
        batch, now = [], time.monotonic()
        while self._waiting and len(batch) < self._largest:
            first = self._waiting.popleft()
            if first.future.done():
                continue
            if now > first.until:
                seconds = self._limits.seconds
                late = RequestError(503, f"no answer within {seconds:g} s; try again")
                first.future.set_exception(late)
                continue
            batch.append(first)
        return batch

    def _answer_batch(self, batch: Sequence[Waiting[Query, Answer]]) -> None:
        start = time.monotonic()
        try:
            answers = self._answer([waiting.query for waiting in batch])
        except Exception as error:
            # A bug: those who asked get it, and the next batch is tried all the same.
            for waiting in batch:
                waiting.future.set_exception(error)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.future.set_result(answer)
        pace = (time.monotonic() - start) / len(batch)
        self._largest = min(self._limits.batch, max(LEAST, int(PAUSE / max(pace, 1e-6))))
