"""Ctrl-C, SIGTERM and SIGHUP as a wish to stop: at once, or at the next good moment."""

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, ClassVar, Self

# A terminal that closes sends SIGHUP; Windows has none.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupted(KeyboardInterrupt):
    """Raised by a signal inside `Interruption.at_once`, and in threads that are told to stop."""


class Interruption:
    """A context where a signal only sets `wanted`, unless work in it can be given up `at_once`.

    A second Ctrl-C is from a person who will not wait, and raises KeyboardInterrupt; SIGTERM and
    SIGHUP often come twice, and change nothing then. Contexts nest: the innermost decides what a
    signal does, and those around it note it too. Under `nohup` SIGHUP stays ignored. Outside the
    main thread, where Python allows no handlers, signals keep their usual meaning.

    Attributes:
        wanted: a signal has come.
        signal: the first that came; None before.
    """

    _innermost: ClassVar["Interruption | None"] = None

    def __init__(self) -> None:
        self.wanted = False
        self.signal: int | None = None
        self._at_once = False
        self._around: Interruption | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._around, Interruption._innermost = Interruption._innermost, self
        for number in SIGNALS:
            if number != signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            Interruption._innermost = self._around

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again = self.wanted
        self._note(number)
        if self._at_once and not again:
            raise Interrupted
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt

    def _note(self, number: int) -> None:
        if not self.wanted:
            self.wanted, self.signal = True, number
        if self._around is not None:
            self._around._note(number)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Work that can be given up at any point: the first signal in it raises `Interrupted`."""
        self._at_once = True
        try:
            if self.wanted:
                raise Interrupted
            yield
        finally:
            self._at_once = False


def interrupt_thread(thread: threading.Thread) -> None:
    """Raise `Interrupted` in another thread as soon as it runs Python, as Ctrl-C does in the main.

    What waits in a call without a limit, such as for a lock, is not woken.
    """
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(Interrupted)
        )
