"""A database server that does not exist: cores that are held for a slice, a foreground, statements of ours, a canary.

Deterministic: one seed, one course of events. A core is held by one request for a slice of up to `SLICE_S`, then the
next of a queue gets it; so a long statement keeps a core busy for as long as it runs, and who arrives meanwhile waits.
(Ideal sharing of the processor does not show this: there the length of statements hardly matters.)
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

#: Longest time that a core is given to one request while others wait, seconds.
SLICE_S = 0.1
#: A commit waits so long for the disk, on average, and holds no core meanwhile.
COMMIT_S = 0.0012


@dataclass(slots=True)
class Request:
    """Work for a core."""

    need_s: float
    kind: str
    since: float
    done: Callable[[float], None]


@dataclass(slots=True)
class Plant:
    """Events in the order of time."""

    cores: int
    seed: int = 1
    now: float = 0.0
    #: All work takes so many times as long: a convoy of locks, a checkpoint.
    slow: float = 1.0
    queue: deque[Request] = field(default_factory=deque)
    running: dict[str, int] = field(default_factory=lambda: {"fg": 0, "bg": 0, "canary": 0})
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _number: itertools.count[int] = field(default_factory=itertools.count)
    _free: int = 0

    def __post_init__(self) -> None:
        self._free = self.cores

    def at(self, moment: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._number), event))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        self.at(self.now + seconds, event)

    def submit(self, need_s: float, kind: str, done: Callable[[float], None]) -> None:
        """`done` is called with the seconds that it took, waiting included."""
        self.running[kind] += 1
        self.queue.append(Request(need_s * self.slow, kind, self.now, done))
        self._dispatch()

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = until

    def _dispatch(self) -> None:
        while self._free and self.queue:
            self._free -= 1
            request = self.queue.popleft()
            slice_s = min(request.need_s, SLICE_S)
            self.after(slice_s, lambda request=request, slice_s=slice_s: self._sliced(request, slice_s))

    def _sliced(self, request: Request, slice_s: float) -> None:
        self._free += 1
        request.need_s -= slice_s
        if request.need_s > 1e-9:
            self.queue.append(request)
        else:
            self.running[request.kind] -= 1
            request.done(self.now - request.since)
        self._dispatch()


class Foreground:
    """Those who are to be protected: arrivals by chance, mostly short; a fifth writes, and waits for its commit."""

    def __init__(self, plant: Plant, load: Callable[[float], float], mean_s: float) -> None:
        self.plant, self.load, self.mean_s = plant, load, mean_s
        self.chance = random.Random(plant.seed * 7919)
        #: When each began, and how long it took, seconds.
        self.taken: list[tuple[float, float]] = []
        self._arrive()

    def _arrive(self) -> None:
        rate = max(self.load(self.plant.now), 1e-6) * self.plant.cores / self.mean_s
        self.plant.after(self.chance.expovariate(rate), self._begin)

    def _begin(self) -> None:
        begun = self.plant.now

        reads = self.chance.random() < 0.8
        commit_s = 0.0 if reads else self.chance.expovariate(1 / COMMIT_S) * self.plant.slow

        def done(took: float) -> None:
            self.taken.append((begun, took + commit_s))

        mean = self.mean_s * (0.6 if reads else 2.6)
        self.plant.submit(self.chance.expovariate(1 / mean), "fg", done)
        self._arrive()
