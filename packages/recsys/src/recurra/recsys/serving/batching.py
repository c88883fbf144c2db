"""Many askers, one worker: what waits is answered together."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from recurra.recsys.serving.limits import RequestError, ServeLimits

Query = TypeVar("Query")
Answer = TypeVar("Answer")


class Batcher(Generic[Query, Answer]):
    """Answer queries in batches, one batch at a time, in a thread of its own.

    Nobody waits for a batch to fill: the worker takes whatever has come while it was busy, so that
    a lone query is answered at once, and the batches grow with the load.
    """

    def __init__(
        self, answer: Callable[[Sequence[Query]], Sequence[Answer]], limits: ServeLimits
    ) -> None:
        """Take a function that gives one answer for each query; it is called in one thread."""
        self._answer = answer
        self._limits = limits
        self._waiting: deque[tuple[Query, asyncio.Future[Answer]]] = deque()
        self._came = asyncio.Event()

    async def ask(self, query: Query) -> Answer:
        """Wait for the answer to a query.

        Raises:
            RequestError: too many wait already, or there was no answer in time.
        """
        if len(self._waiting) >= self._limits.waiting:
            raise RequestError(503, f"{self._limits.waiting} requests wait already; try again")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((query, future))
        self._came.set()
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await future
        except TimeoutError:
            seconds = self._limits.seconds
            raise RequestError(503, f"no answer within {seconds:g} s; try again") from None

    async def run(self) -> None:
        """Answer until cancelled."""
        with ThreadPoolExecutor(1, "recommend") as worker:
            while True:
                await self._came.wait()
                self._came.clear()
                while batch := self._next_batch():
                    await self._answer_batch(worker, batch)

    def _next_batch(self) -> list[tuple[Query, "asyncio.Future[Answer]"]]:
        """The first that wait, but for those who gave up."""
        batch = []
        while self._waiting and len(batch) < self._limits.batch:
            query, future = self._waiting.popleft()
            if not future.done():
                batch.append((query, future))
        return batch

    async def _answer_batch(
        self,
        worker: ThreadPoolExecutor,
        batch: list[tuple[Query, "asyncio.Future[Answer]"]],
    ) -> None:
        queries = [query for query, _ in batch]
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(worker, self._answer, queries)
        except Exception as error:
            # A bug: those who asked get it, and the next batch is tried all the same.
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
