"""Writers as processes of their own, and the judge of repairs that are made while they write."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from threading import BrokenBarrierError
from typing import Any

from _common import WrongError, percentile, require

#: Longest that writers may need to start, or to end their last transaction, seconds.
JOIN_S = 30.0
#: No connection and no thread is there to be inherited when writers begin.
FORK = multiprocessing.get_context("fork")

#: What is off, by key.
Drift = Mapping[int, Any]


@contextmanager
def crew(write: Callable[..., None], writers: int, *more: Any) -> Iterator[Event]:
    """`write(number, ready, stop, *more)` in so many processes, all ready inside the block, until the event is set.

    Each waits for `ready` when it has connected, and looks at `stop` between two transactions.
    """
    ready, stop = FORK.Barrier(writers + 1), FORK.Event()
    processes = [FORK.Process(target=write, args=(n, ready, stop, *more), daemon=True) for n in range(writers)]
    for process in processes:
        process.start()
    try:
        ready.wait(JOIN_S)
        yield stop
    except BrokenBarrierError:
        raise WrongError(f"a writer died, or stood still for {JOIN_S:g} s") from None
    finally:
        stop.set()
        for process in processes:
            process.join(JOIN_S)
            if process.is_alive():
                process.kill()
                process.join()
    require(not any(process.exitcode for process in processes), "a writer died, or did not end")


class Pause:
    """Writers stop between two transactions, with nothing on its way, while somebody looks."""

    def __init__(self, writers: int) -> None:
        self.wanted = FORK.Event()
        self.together = FORK.Barrier(writers + 1)

    def look(self, rest: Callable[[], None]) -> None:
        """A writer's: stop, if that is wanted, after `rest`."""
        if self.wanted.is_set():
            rest()
            self.together.wait(JOIN_S)
            self.together.wait(JOIN_S)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, nobody writes."""
        self.wanted.set()
        self.together.wait(JOIN_S)
        yield
        self.wanted.clear()
        self.together.wait(JOIN_S)


@dataclass(kw_only=True, slots=True)
class Repairs:
    """What the repairs of one phase did."""

    rounds: int = 0
    #: Rounds after which some row had a drift that nobody planted.
    rounds_wrong: int = 0
    #: Rows that drifted before a repair.
    rows: int = 0
    #: Rows that a repair made wrong, or put wrong.
    rows_wrong: int = 0
    #: Rows whose planted drift was still there, untouched, after a repair: left for the next one. Not wrong.
    rows_left: int = 0
    #: Rows that the report does not own up to: they drift, and it says neither "left" nor "in flight".
    rows_unreported: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)
    #: Rows that drift after everything.
    left_at_end: int = 0

    def note(self, before: Drift, after: Drift, took_s: float, reported: int) -> None:
        """Judge one repair by the drift around it."""
        wrong = sum(1 for post, by in after.items() if before.get(post) != by)
        self.rounds += 1
        self.rounds_wrong += bool(wrong)
        self.rows += len(before)
        self.rows_wrong += wrong
        self.rows_left += len(after) - wrong
        self.rows_unreported += max(len(after) - reported, 0)
        self.took_s.append(took_s)

    def figures(self) -> dict[str, Any]:
        return {
            "rounds": self.rounds,
            "rounds_wrong": self.rounds_wrong,
            "rows": self.rows,
            "rows_wrong": self.rows_wrong,
            "rows_wrong_share": self.rows_wrong / max(self.rows, 1),
            "rows_left": self.rows_left,
            "rows_unreported": self.rows_unreported,
            "outcomes": dict(self.outcomes),
            "median_s": percentile(self.took_s, 0.5),
            "left_at_end": self.left_at_end,
        }
