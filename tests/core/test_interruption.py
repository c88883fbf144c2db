"""Signals as a wish to stop."""

import os
import signal
import threading
import time

import pytest

from recurra.core.interruption import SIGNALS, Interrupted, Interruption, interrupt_thread


@pytest.fixture(autouse=True)
def heard():
    """Have SIGHUP arrive, also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def send(number: signal.Signals) -> None:
    """A signal to this process."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_only_noted(number):
    with Interruption() as interruption:
        assert not interruption.wanted
        send(number)
        assert interruption.wanted
        assert interruption.signal == number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_wish_of_a_machine_changes_nothing(number):
    with Interruption() as interruption:
        with pytest.raises(Interrupted), interruption.at_once():
            send(number)
        send(number)
        send(signal.SIGTERM)
        assert interruption.signal == number


def test_a_second_ctrl_c_interrupts():
    with Interruption():
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_work_that_can_be_given_up_is_given_up_at_once():
    reached = []

    def work(interruption):
        with interruption.at_once():
            send(signal.SIGTERM)
            reached.append("after the signal")

    with Interruption() as interruption, pytest.raises(Interrupted):
        work(interruption)
    assert reached == []


def test_such_work_does_not_begin_when_a_stop_is_wanted_already():
    reached = []
    with Interruption() as interruption:
        send(signal.SIGTERM)
        with pytest.raises(Interrupted), interruption.at_once():
            reached.append("begun")
    assert reached == []


def test_another_thread_can_train_too():
    entered = []

    def work():
        with Interruption() as interruption:
            entered.append(interruption.wanted)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert entered == [False]


def test_the_innermost_decides_and_those_around_it_know():
    reached = []
    with Interruption() as outer, outer.at_once():
        with Interruption() as inner:
            send(signal.SIGTERM)
            reached.append("after the signal")
        assert (inner.signal, outer.signal) == (signal.SIGTERM, signal.SIGTERM)
    assert reached == ["after the signal"]


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            send(signal.SIGHUP)
            assert not interruption.wanted
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_have_their_old_meaning_afterwards():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption(), Interruption():
        pass
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_thread_can_be_interrupted_in_the_middle_of_its_work():
    ended = []

    def work():
        try:
            while True:
                time.sleep(0.001)
        except Interrupted:
            ended.append("cleaned up")

    thread = threading.Thread(target=work)
    thread.start()
    interrupt_thread(thread)
    thread.join(timeout=20)
    assert ended == ["cleaned up"]
