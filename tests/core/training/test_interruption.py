"""Signals as a wish to stop."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from recurra.core.training.interruption import Interrupted, Interruption


def send(number: signal.Signals) -> None:
    """A signal to this process."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_only_noted(number):
    with Interruption() as interruption:
        assert not interruption.wanted
        send(number)
        assert interruption.wanted


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


def test_a_data_worker_ends_when_its_training_process_is_gone():
    # A worker whose parent died before it started has another parent than it was told.
    code = (
        "import os, time; from recurra.core.training.interruption import start_worker;"
        "start_worker(0, parent=os.getppid() + 1); time.sleep(60)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=50).returncode == 1
