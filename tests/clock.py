"""A clock that moves only when somebody sleeps on it.

What an application does while the engine waits is scheduled beforehand and happens at its time:

    clock = FakeClock()
    clock.after(0.5, lambda: app.commit(order))   # between the first and the second look
    reconcile(..., now=clock.now, sleep=clock.sleep)
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

#: 2026-01-01T00:00:00Z: a moment that is also valid as a time of day.
START_S = 1_767_225_600.0


class FakeClock:
    """Seconds, from `start_s`. May be shared between threads; one sleeper's time is everyone's time."""

    def __init__(self, start_s: float = START_S) -> None:
        self._now_s = start_s
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()  # two callbacks of one moment run in the order they were given
        self._lock = threading.Lock()
        #: every sleep that was asked for, in order
        self.sleeps: list[float] = []

    def now(self) -> float:
        with self._lock:
            return self._now_s

    def at(self, t: float, fn: Callable[[], object]) -> None:
        """Call `fn` when time reaches `t`; at `t` equal to now, when somebody next sleeps, be it for 0 s."""
        with self._lock:
            if t < self._now_s:
                raise ValueError(f"{t} is past: it is {self._now_s}")
            heapq.heappush(self._due, (t, next(self._order), fn))

    def after(self, seconds: float, fn: Callable[[], object]) -> None:
        self.at(self.now() + seconds, fn)

    def sleep(self, seconds: float) -> None:
        """Move time, calling on the way what is due, each with `now()` at its own moment.

        An exception of a callback comes out here, with time standing where it happened.
        """
        if not seconds >= 0:
            raise ValueError(f"cannot sleep {seconds} s")
        with self._lock:
            self.sleeps.append(seconds)
            until_s = self._now_s + seconds
        while fn := self._next_due(until_s):
            fn()  # outside the lock: it may ask the time, schedule more, or sleep itself
        with self._lock:
            self._now_s = max(self._now_s, until_s)

    @property
    def pending(self) -> int:
        """Callbacks whose time has not come; a test whose callback never ran proves nothing."""
        with self._lock:
            return len(self._due)

    def _next_due(self, until_s: float) -> Callable[[], object] | None:
        with self._lock:
            if not self._due or self._due[0][0] > until_s:
                return None
            t, _, fn = heapq.heappop(self._due)
            self._now_s = max(self._now_s, t)
            return fn
