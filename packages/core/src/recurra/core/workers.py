"""Threads whose work is given up when the block that they serve is."""

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, TypeVar

from recurra.core.interruption import Interrupted, interrupt_thread

_MOMENT = 0.1  # seconds; no exception reaches a thread while it waits

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Workers(ThreadPoolExecutor):
    """A pool of threads, as a context: one that an exception leaves does not wait for the rest.

    What has not begun then never does, and what is in work gets `Interrupted`, so that it cleans up
    after itself within a moment. Work has the context variables of who submitted it.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self._guard = threading.Lock()
        self._working: set[threading.Thread] = set()
        self._given_up = False

    def submit(
        self,
        fn: Callable[Arguments, Result],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Future[Result]:
        """Have `fn` called in one of the threads, as soon as one is free."""
        context = contextvars.copy_context()

        def work() -> Result:
            thread = threading.current_thread()
            try:
                with self._guard:
                    if self._given_up:  # this was taken from the queue just before
                        raise Interrupted
                    self._working.add(thread)
                return context.run(fn, *args, **kwargs)
            finally:
                # Whoever is interrupted is inside this function, never in the pool's own loop.
                with self._guard:
                    self._working.discard(thread)

        return super().submit(work)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        given_up: list[threading.Thread] = []
        if kind is not None:
            self.shutdown(wait=False, cancel_futures=True)
            with self._guard:
                self._given_up = True
                given_up = list(self._working)
                for thread in given_up:
                    interrupt_thread(thread)
        super().__exit__(kind, error, trace)
        # The pool does not know of a thread that was starting when an interruption came: it notes
        # one after its start.
        for thread in given_up:
            thread.join()


def result_of(future: Future[Result]) -> Result:
    """Wait for a future; unlike its own `result`, this can be interrupted in any thread.

    The wait is for a lock of its own. `concurrent.futures.wait` takes the future's condition again
    and again, in Python, and an interruption that arrives just there leaves it taken: the thread
    that has the result then waits for it for ever. So it can now only when the wait begins.
    """
    done = threading.Lock()
    done.acquire()
    future.add_done_callback(lambda _: done.release())
    while not done.acquire(timeout=_MOMENT):
        pass
    return future.result()
