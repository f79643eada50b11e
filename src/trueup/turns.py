"""Continuous mode: when nothing else is to be done, what has been unverified for longest is asked for.

All that it goes by is in the ledger: when each part was verified, and when the last turn ended. So it goes on after a
restart where it was, on whatever node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from trueup.core.declared import spoken
from trueup.core.freshness import Freshness, most_overdue
from trueup.core.pace.sharing import PRIORITIES
from trueup.core.queue import CONTINUOUS, Request
from trueup.store.requests import asked

if TYPE_CHECKING:
    from trueup.app import Trueup
    from trueup.core.projection import Projection

#: After a turn that failed it rests at least so long.
AFTER_FAILURE = timedelta(minutes=5)


class Turns:
    """Asks for turns of the projections that are declared `continuous`."""

    def __init__(self, engine: Trueup) -> None:
        self.engine = engine
        self.declared = {
            name: projection
            for name, projection in engine.projections.items()
            if projection.schedule is not None and projection.schedule.continuous
        }
        #: What was known of a projection, and after which run: parts are only counted anew when one has ended.
        self._known: dict[str, tuple[tuple[str, str] | None, Freshness]] = {}

    def ask(self, opened: Iterable[Request], now: datetime, *, at_most: int) -> bool:
        """Ask for the turns of those that are most overdue; is there one?"""
        going = {request.projection for request in opened if request.over_all}
        able = [name for name in self.declared if name not in going and self._may(name, now)] if at_most > 0 else []
        standing = {name: self._freshness(name) for name in able}
        chosen = most_overdue(standing, now)[:at_most]
        for name in chosen:
            projection = self.declared[name]
            base = asked(projection, now, reason=_why(standing[name], now), asked_by=CONTINUOUS)
            self.engine.queue.submit(replace(base, priority=PRIORITIES.index("bulk")), projection.overlap)
        return bool(chosen)

    def _may(self, name: str, now: datetime) -> bool:
        """Is it neither held up nor resting?"""
        if not self.engine.standing.control(name).allows(self.declared[name].by_itself, now):
            return False
        last = self.engine.queue.last_turn(name)
        if last is None or last.ended_at is None:
            return True
        rest = _rest(self.declared[name])
        return now - last.ended_at >= (max(rest, AFTER_FAILURE) if last.state == "failed" else rest)

    def _freshness(self, name: str) -> Freshness:
        run = self.engine.standing.last_run(name)
        mark = None if run is None else (run.id, str(run.state))
        if name not in self._known or self._known[name][0] != mark:
            self._known[name] = mark, self.engine.freshness(name)
        return self._known[name][1]


def _rest(projection: Projection) -> timedelta:
    assert projection.schedule is not None
    return timedelta(seconds=projection.schedule.rest)


def _why(fresh: Freshness, now: datetime) -> str:
    age = fresh.age_s(now)
    if age is None:
        return "no run was complete yet"
    if fresh.every is not None:
        return (
            f"{fresh.oldest or 'what may be new'} was verified {spoken(age)} ago, its period is {spoken(fresh.every)}"
        )
    aim = "" if fresh.fresh is None else f", the objective is {spoken(fresh.fresh)}"
    return f"the oldest part was verified {spoken(age)} ago{aim}"


def urgent(waiting: Sequence[Request], now: datetime) -> list[Request]:
    """Requests that somebody waits for."""
    return [each for each in waiting if each.state == "waiting" and not each.in_turn and each.not_before <= now]
