"""Applications that keep a projection up to date in the ways that `writers` can declare, and what a judge sees of it.

Each is made once, opened in every process that uses it (a connection is not shared), and written so that drift can be
told from outside: an application that is at rest, or any of those that change both sides in one transaction, leaves the
drift of a row as it was. So a row whose drift is another one after a repair was put wrong by the repair.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from _databases import Session

#: Keys that are written, and how much hotter one is than the next: rank ** -STEEP.
KEYS = 200
STEEP = 1.5
#: Messages that are on their way in each process.
QUEUED_MAX = 8

#: Key -> what is off: a difference, or (what the source says, what the target says).
Drift = dict[int, Any]


class Application(ABC):
    """What is common to all."""

    #: One statement of one snapshot shows the drift; otherwise writers are stopped for it, with nothing on its way.
    one_snapshot = False
    #: A key is written by one process only, so that absolute values are delivered in order.
    owned = False
    #: `Projection` fields besides the sides.
    declared: Mapping[str, Any] = {}

    def __init__(self, urls: Sequence[str]) -> None:
        #: Where the source is, and where the target is: the same, for one database.
        self.urls = (urls[0], urls[-1])
        #: How late an increment of this process was at most, seconds; only of those that promise a bound.
        self.late_s = 0.0

    def open(self, number: int, writers: int, seed: int) -> None:
        """Connect; `number` of `writers`. Before anything else in each process."""
        self.chance = random.Random(f"{seed}/{number}")
        self.db = Session(self.urls[0])
        self.there = self._target()
        self.keys = [key for key in range(1, KEYS + 1) if not self.owned or key % writers == number % writers]
        self.heat = list(accumulate(key**-STEEP for key in self.keys))
        self.queue: list[Any] = []

    def _target(self) -> Session:
        return Session(self.urls[1]) if self.urls[0] != self.urls[1] else self.db

    def key(self) -> int:
        return self.chance.choices(self.keys, cum_weights=self.heat)[0]

    def databases(self) -> dict[str, str]:
        return {"app": self.urls[0]} | ({"copy": self.urls[1]} if self.urls[0] != self.urls[1] else {})

    @property
    def _copy(self) -> str:
        return "app" if self.urls[0] == self.urls[1] else "copy"

    @abstractmethod
    def make(self) -> None:
        """Tables, and something in them."""

    @abstractmethod
    def sides(self) -> dict[str, Any]:
        """`source`, `target` and `key` of the projection."""

    @abstractmethod
    def write(self) -> None:
        """One transaction of the source, and perhaps some deliveries."""

    def deliver(self, message: Any) -> None:
        """One of `queue` arrives."""
        raise NotImplementedError(f"{type(self).__name__} sends nothing")

    def deliver_some(self) -> None:
        """Some of what is on its way, in any order."""
        while len(self.queue) > self.chance.randrange(QUEUED_MAX):
            self.deliver(self.queue.pop(self.chance.randrange(len(self.queue))))

    def rest(self) -> None:
        """Deliver all that is on its way."""
        while self.queue:
            self.deliver(self.queue.pop(self.chance.randrange(len(self.queue))))

    @abstractmethod
    def plant(self) -> None:
        """Make hot and cold rows wrong: other values, a missing row, a row too many."""

    @abstractmethod
    def drift(self) -> Drift:
        """Every key that is off."""

    def _to_spoil(self) -> list[int]:
        cold = self.chance.choices(self.keys, k=3)
        return sorted({*(self.key() for _ in range(3)), *cold})

    def _missing(self) -> int:
        return self.chance.choice(self.keys)

    def _extra(self) -> int:
        return KEYS + self.chance.randint(1, KEYS)

    def close(self) -> None:
        self.db.close()
        if self.there is not self.db:
            self.there.close()
