"""When a projection runs by itself: what is declared, and which moments are due. No clock is read here.

A *tick* is a moment at which a projection is to run. Every node computes the same ticks from the declaration and the
control database's clock, so that a tick can be written down once, whoever gets there first.

* `cron`: wall-clock times of a zone. In the night in which an hour is skipped, what would fall into it runs once, right
  after it; in the night in which an hour comes twice, a time of day in it runs once, and `*/10` runs through both.
* `every`: fixed rate, at whole multiples since 1970 in UTC: `1h` is each full hour, on every node.
* `delay`: fixed delay, counted from the end of the last run.
* `startup`: when a node starts; alone, or beside one of the others.
* `continuous`: when nothing else is to be done, what has been unverified for longest; alone, or beside the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import Field, model_validator

from trueup.core.alert_rules import Rules
from trueup.core.declared import Declared, Duration, Names
from trueup.core.triggers import AnyTrigger, Webhook
from trueup.core.zones import zone_problem

#: Most missed ticks that are caught up on, the newest of them.
CATCH_UP_MAX = 100
#: Shortest period, seconds.
PERIOD_MIN_S = 1.0
#: How far back missed ticks are looked for.
LOOK_BACK = timedelta(days=366 * 5)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Further back than any hour that a clock change adds or takes away.
_AROUND = timedelta(hours=3)


class Schedule(Declared):
    """When a projection runs by itself: one of `cron`, `every`, `delay`; `startup`, `continuous`, alone or beside."""

    #: Five fields: minute, hour, day of month, month, day of week.
    cron: str = ""
    #: Fixed rate, seconds.
    every: Duration | None = Field(default=None, ge=PERIOD_MIN_S)
    #: Fixed delay after the end of the last run, seconds.
    delay: Duration | None = Field(default=None, ge=PERIOD_MIN_S)
    #: Once when a node starts.
    startup: bool = False
    #: Whenever nothing else waits: the parts that have been unverified for longest.
    continuous: bool = False
    #: Between two such turns at least, seconds.
    rest: Duration = Field(default=10.0, ge=PERIOD_MIN_S)
    #: Zone of `cron`. Default: `trueup.timezone`.
    timezone: str = ""
    #: Each tick begins up to this much later, spread evenly, seconds.
    jitter: Duration = 0.0
    #: What becomes of ticks that nobody was there for: `once` runs the newest, `skip` none, `catch_up` each.
    misfire: Literal["once", "skip", "catch_up"] = "once"
    #: A tick is missed if nobody noticed it for this long, seconds.
    misfire_after: Duration = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _one_of(self) -> Schedule:
        given = [name for name in ("cron", "every", "delay") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"`{given[0]}` and `{given[1]}` exclude each other")
        if not given and not self.startup and not self.continuous:
            raise ValueError("give `cron`, `every` or `delay`, or startup = true, or continuous = true")
        if "rest" in self.model_fields_set and not self.continuous:
            raise ValueError("`rest` is about continuous = true")
        if self.cron:
            _check_cron(self.cron)
        if self.timezone and not self.cron:
            raise ValueError("`timezone` is about `cron`")
        if self.timezone and (problem := zone_problem(self.timezone)):
            raise ValueError(f"`timezone`: {problem}")
        return self

    @property
    def repeats(self) -> bool:
        return bool(self.cron or self.every or self.delay)


def _check_cron(text: str) -> None:
    if len(text.split()) != 5:
        raise ValueError(f"`cron`: {text!r} does not have five fields: minute, hour, day, month, day of week")
    try:
        next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"`cron`: {text!r} names no moment: {error or 'no such date'}") from None


#: What goes first.
Priority = Literal["critical", "normal", "bulk"]


class Unattended(Declared):
    """What is declared of runs that nobody asks for by hand; part of every projection."""

    #: When it runs by itself, under `trueup serve`. Default: only when asked for.
    schedule: Schedule | None = None
    #: Events that make it run, besides the schedule.
    triggers: tuple[AnyTrigger, ...] = ()
    #: No part of it is to be unverified for longer than this, seconds.
    fresh: Duration | None = Field(default=None, gt=0)
    #: In place of some of the rules in `[alerts.rules]`.
    alerts: Rules = Rules()
    #: What such a run does. Default: `run` where `writers` are declared, else `check`.
    unattended: Literal["run", "plan", "check"] | None = None
    #: A run over all keys is due while another goes on: leave it out; let one wait; or stop the other at its next
    #: segment border and begin anew.
    overlap: Literal["skip", "queue", "cancel"] = "skip"
    #: What goes first: of runs that wait, and of those that share a paced database.
    priority: Priority = "normal"
    #: Projections that never run at the same time as this one, beside those that write the same target.
    conflicts: Names = ()
    #: Projections whose waiting and running runs are waited for.
    after: Names = ()
    #: Its runs over all keys load a database so much that two such are not to go on side by side. Default: those that
    #: took longer than a minute the last time.
    heavy: bool | None = None

    @property
    def webhooks(self) -> list[Webhook]:
        """Those of its triggers that the API gets."""
        return [trigger for trigger in self.triggers if isinstance(trigger, Webhook)]


#: Fields of `Unattended`: they say when and how, never what a result is.
UNATTENDED = frozenset(Unattended.model_fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """Ticks since the last look."""

    #: To run, oldest first.
    run: tuple[datetime, ...] = ()
    #: Passed over, by what is declared of missed ticks.
    skipped: tuple[datetime, ...] = ()

    @property
    def last(self) -> datetime | None:
        return max([*self.run, *self.skipped], default=None)


def due(schedule: Schedule, zone: str, *, since: datetime, ended: datetime | None, now: datetime) -> Due:
    """Which ticks are to run now.

    `zone`: where the schedule names none; `since`: ticks up to then are settled; `ended`: end of the last run over all
    keys, for `delay`; None: there was none, and the first counts from `since`. While one goes on, do not ask.
    """
    ticks = list(_newest(schedule, zone, since, ended, now))
    if not ticks:
        return Due()
    fresh = now - ticks[-1] <= timedelta(seconds=schedule.misfire_after)
    if schedule.misfire == "catch_up":
        return Due(run=tuple(ticks))
    if schedule.misfire == "skip" and not fresh:
        return Due(skipped=tuple(ticks))
    return Due(run=(ticks[-1],), skipped=tuple(ticks[:-1]))


def following(schedule: Schedule, zone: str, *, since: datetime, ended: datetime | None) -> datetime | None:
    """The first tick after `since`; None: there is none until something else happens."""
    return next(_ticks(schedule, zone, since, ended), None)


def begins(schedule: Schedule, name: str, tick: datetime) -> datetime:
    """When a tick begins: it is spread over `jitter`, in the same way on every node."""
    if not schedule.jitter:
        return tick
    seed = hashlib.sha256(f"{name} {tick.timestamp()}".encode()).digest()
    return tick + timedelta(seconds=schedule.jitter * int.from_bytes(seed[:4], "big") / 2**32)


def _newest(
    schedule: Schedule, zone: str, since: datetime, ended: datetime | None, now: datetime
) -> Sequence[datetime]:
    """Ticks after `since` and up to `now`, oldest first; of more than are caught up on the newest."""
    span = LOOK_BACK if schedule.delay else timedelta(hours=1)
    while True:
        begin = since if schedule.delay else max(since, now - span)
        found: list[datetime] = []
        for tick in _ticks(schedule, zone, begin, ended):
            if tick > now:
                break
            found.append(tick)
        if begin == since or len(found) >= CATCH_UP_MAX or span > LOOK_BACK:
            return found[-CATCH_UP_MAX:]
        span *= 8  # so that what was missed in a year costs no more steps than what is caught up on


def _ticks(schedule: Schedule, zone: str, after: datetime, ended: datetime | None) -> Iterator[datetime]:
    """Ticks after a moment, oldest first, in UTC."""
    if schedule.cron:
        yield from _cron(schedule.cron, ZoneInfo(schedule.timezone or zone), after)
    elif schedule.every:
        period = timedelta(seconds=schedule.every)
        at = _EPOCH + ((after - _EPOCH) // period + 1) * period
        while True:
            yield at
            at += period
    elif schedule.delay:
        yield max(ended or after, after) + timedelta(seconds=schedule.delay)


def _cron(text: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    last = after
    # Begun a little earlier, what follows does not depend on which side of a clock change `after` is.
    for tick in CronSim(text, (after - _AROUND).astimezone(zone)):
        at = tick.astimezone(UTC)
        if at > last:
            yield at
            last = at
