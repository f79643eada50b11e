"""The only place where the engine reads a clock or waits; tests bring their own."""

from __future__ import annotations

import threading
import time
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

    def interrupt(self) -> None:
        """End this wait and all later ones."""


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        self._interrupted = threading.Event()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        return self._interrupted.wait(max(seconds, 0.0))

    def interrupt(self) -> None:
        self._interrupted.set()
