"""Threads that stop when the block that they serve is left."""

import threading
import time
from contextvars import ContextVar

import pytest

from recurra.core.interruption import Interrupted
from recurra.core.workers import Workers, result_of


def test_work_is_done_in_threads_and_its_results_and_errors_come_back():
    with Workers(2) as workers:
        assert result_of(workers.submit(max, 1, 2)) == 2
        with pytest.raises(ZeroDivisionError):
            result_of(workers.submit(divmod, 1, 0))


def test_an_exception_gives_up_what_is_in_work_and_what_waits():
    begun, ended = threading.Semaphore(0), []

    def work(name):
        begun.release()
        try:
            while True:
                time.sleep(0.001)
        except Interrupted:
            ended.append(name)
            raise

    def leave(workers):
        for name in range(5):
            workers.submit(work, name)
        begun.acquire()
        begun.acquire()
        raise RuntimeError

    start = time.monotonic()
    with pytest.raises(RuntimeError), Workers(2) as workers:
        leave(workers)
    assert sorted(ended) == [0, 1]
    assert time.monotonic() - start < 20


def test_an_interruption_reaches_the_workers_of_a_worker():
    ended = []
    begun = threading.Event()

    def inner():
        begun.set()
        try:
            while True:
                time.sleep(0.001)
        except Interrupted:
            ended.append("inner")
            raise

    def outer():
        try:
            with Workers(1) as workers:
                result_of(workers.submit(inner))
        except Interrupted:
            ended.append("outer")
            raise

    def leave(workers):
        workers.submit(outer)
        begun.wait()
        raise RuntimeError

    with pytest.raises(RuntimeError), Workers(1) as workers:
        leave(workers)
    assert ended == ["inner", "outer"]


def test_work_has_the_context_of_who_submitted_it():
    name = ContextVar("name", default="none")
    with Workers(1) as workers:
        name.set("mine")
        assert workers.submit(name.get).result() == "mine"
