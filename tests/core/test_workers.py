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
        try:
            begun.release()
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
        try:
            begun.set()
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


def test_waiting_for_a_result_takes_no_lock_that_an_interruption_could_leave_taken(monkeypatch):
    end, waiting, taken = threading.Event(), threading.Event(), []
    enter = threading.Condition.__enter__

    def watched(condition):
        if waiting.is_set() and threading.current_thread().name == "waits":
            taken.append(condition)
        return enter(condition)

    with Workers(1) as workers:
        future = workers.submit(end.wait)
        thread = threading.Thread(target=result_of, args=(future,), name="waits")
        thread.start()
        time.sleep(0.1)
        monkeypatch.setattr(threading.Condition, "__enter__", watched)
        waiting.set()
        time.sleep(0.35)  # at least three of its moments
        waiting.clear()
        end.set()
        thread.join()
    assert taken == []


def test_work_in_a_thread_that_was_still_being_started_is_waited_for(monkeypatch):
    begun, ended = threading.Event(), []
    start = threading.Thread.start

    def work():
        try:
            begun.set()
            while True:
                time.sleep(0.001)
        except Interrupted:
            time.sleep(0.05)  # what it cleans up takes a moment
            ended.append("work")
            raise

    def start_and_be_interrupted(thread):
        start(thread)
        begun.wait()
        raise Interrupted

    monkeypatch.setattr(threading.Thread, "start", start_and_be_interrupted)
    with pytest.raises(Interrupted), Workers(1) as workers:
        workers.submit(work)
    assert ended == ["work"]


def test_work_that_was_taken_but_had_not_begun_never_does(monkeypatch):
    taken, left, begun = threading.Event(), threading.Event(), []
    current = threading.current_thread

    class Pool(Workers):
        def shutdown(self, wait=True, **options):
            if wait:  # all threads at work were interrupted before
                left.set()
            super().shutdown(wait, **options)

    def known_late():
        thread = current()
        if thread is not threading.main_thread():
            taken.set()
            left.wait()
        return thread

    def leave(workers):
        workers.submit(begun.append, "work")
        taken.wait()
        raise RuntimeError

    monkeypatch.setattr(threading, "current_thread", known_late)
    with pytest.raises(RuntimeError), Pool(1) as workers:
        leave(workers)
    assert begun == []


def test_work_has_the_context_of_who_submitted_it():
    name = ContextVar("name", default="none")
    with Workers(1) as workers:
        name.set("mine")
        assert workers.submit(name.get).result() == "mine"
