"""The only place where the engine reads a clock or waits; tests bring their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Protocol


class Clock(Protocol):
    """Time, and waiting that can be interrupted."""

    def now(self) -> datetime:
        """This moment, in UTC."""

    def monotonic(self) -> float:
        """Seconds, never backwards; only differences mean anything."""

    def wait(self, seconds: float) -> bool:
        """Return False after `seconds`, or True at once when `interrupt` was called."""

    def wait_for(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait until `ready()`, which is asked at once and again at each `wake`, but no longer than `seconds`.

        Return True at once when `interrupt` was called.
        """

    def wake(self) -> None:
        """Let all who wait in `wait_for` ask again."""

    def interrupt(self) -> None:
        """End this wait and all later ones, until `go_on`."""

    def go_on(self) -> None:
        """Later waits last again."""


#: Seconds that a signal may go unanswered that comes just as a wait begins. Python answers one between two steps of
#: its own, and a wait is a step: one after its last look for signals, and before the wait proper, does not end that.
SIGNAL_S = 0.5


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        #: Who waits, each for something in a queue of its own. What is put there is found by who is only about to wait,
        #: too: a signal's handler, which ends a wait, runs in the middle of anything.
        self._waiting: set[SimpleQueue[None]] = set()
        self._interrupted = False

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        return self.wait_for(lambda: False, seconds)

    def wait_for(self, ready: Callable[[], bool], seconds: float) -> bool:
        woken: SimpleQueue[None] = SimpleQueue()
        self._waiting.add(woken)
        try:
            end = time.monotonic() + seconds
            while not self._interrupted and not ready() and time.monotonic() < end:
                self._rest(woken, end)
            return self._interrupted
        finally:
            self._waiting.discard(woken)

    def _rest(self, woken: SimpleQueue[None], end: float) -> None:
        """Until `wake` or that moment."""
        while not self._interrupted and (left := end - time.monotonic()) > 0:
            try:
                woken.get(timeout=min(left, SIGNAL_S))
            except Empty:
                continue
            return

    def wake(self) -> None:
        for woken in self._waiting.copy():
            woken.put(None)

    def interrupt(self) -> None:
        self._interrupted = True
        self.wake()

    def go_on(self) -> None:
        self._interrupted = False
