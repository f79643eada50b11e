"""The only place where the engine reads a clock or waits; tests bring their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
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


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        # Its lock can be taken again by who holds it: a signal's handler interrupts in the middle of anything.
        self._changed = threading.Condition()
        self._interrupted = False

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        return self.wait_for(lambda: False, seconds)

    def wait_for(self, ready: Callable[[], bool], seconds: float) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._interrupted or ready(), max(seconds, 0.0))
            return self._interrupted

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def interrupt(self) -> None:
        with self._changed:
            self._interrupted = True
            self._changed.notify_all()

    def go_on(self) -> None:
        with self._changed:
            self._interrupted = False
