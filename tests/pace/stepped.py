"""A clock for one thread: it moves when somebody waits, and not otherwise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 23, 12, tzinfo=UTC)


class SteppedClock:
    def __init__(self) -> None:
        self.at_s = 1005.0  # not within a common rest
        self.interrupted = False
        self.waits: list[float] = []
        #: Called once at each wait, if there is something left.
        self.meanwhile: list[Callable[[], object]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.at_s)

    def monotonic(self) -> float:
        return self.at_s

    def pass_(self, seconds: float) -> None:
        self.at_s += seconds

    def wait(self, seconds: float) -> bool:
        return self.wait_for(lambda: False, seconds)

    def wait_for(self, ready: Callable[[], bool], seconds: float) -> bool:
        if self.interrupted or ready():
            return self.interrupted
        self.waits.append(seconds)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        self.at_s += seconds
        return self.interrupted

    def wake(self) -> None: ...

    def interrupt(self) -> None:
        self.interrupted = True
