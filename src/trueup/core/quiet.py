"""Increments that are late by a bound at most: a key is quiet when all of its events are older than that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from trueup.core.kinds import Kind, canonical
from trueup.core.row import Key, Value


@dataclass(frozen=True, kw_only=True, slots=True)
class Happened:
    """What the source's database says of events, in one look."""

    #: Its own clock, no later than the look.
    now: datetime
    #: The latest event of each key that has one; None: some event has no time.
    latest: Mapping[Key, Value] = field(default_factory=dict)


def young(latest: Value, now: datetime, bound_s: float, zone: str) -> bool:
    """May an increment of this key still be on its way at `now`? `zone`: that of a time which says none."""
    (at,) = canonical(Kind.TIMESTAMP, [latest])
    if not isinstance(at, datetime):
        return True
    if at.tzinfo is None:  # of an hour that a zone has twice, the later one
        at = at.replace(tzinfo=ZoneInfo(zone or "UTC"), fold=1)
    return at > now - timedelta(seconds=bound_s)
