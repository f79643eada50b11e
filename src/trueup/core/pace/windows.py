"""Hours of the week in a named time zone: `Mon-Fri 08:00-18:00`, `Sat,Sun`, `22:00-06:00`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hours:
    """When a window is open."""

    #: Days on which it begins, Monday is 0.
    days: frozenset[int]
    #: Minutes of the day; an end that is not after the begin is on the next day.
    begin: int = 0
    end: int = 24 * 60

    def hold(self, local: datetime) -> bool:
        """Is `local`, a wall clock's time in the window's zone, within them?"""
        minute = local.hour * 60 + local.minute
        if self.begin < self.end:
            return local.weekday() in self.days and self.begin <= minute < self.end
        yesterday = (local - timedelta(days=1)).weekday()
        return (local.weekday() in self.days and minute >= self.begin) or (yesterday in self.days and minute < self.end)


def parse_hours(text: str) -> Hours:
    """Raises ValueError for what is no such text."""
    words = text.lower().split()
    hours = _HOURS.match(words[-1]) if words else None
    names = words[:-1] if hours else words
    if len(names) > 1 or not words:
        raise ValueError(f"{text!r} are no hours; write 'Mon-Fri 08:00-18:00', 'Sat,Sun' or '22:00-06:00'")
    days = _days(names[0], text) if names else frozenset(range(7))
    if hours is None:
        return Hours(days=days)
    begin, end = (int(hours[at]) * 60 + int(hours[at + 1]) for at in (1, 3))
    if begin >= 24 * 60 or end > 24 * 60 or int(hours[2]) > 59 or int(hours[4]) > 59:
        raise ValueError(f"{text!r}: a day has hours from 00:00 to 24:00")
    return Hours(days=days, begin=begin, end=end)


def _days(names: str, text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in names.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{text!r}: days are {', '.join(day.capitalize() for day in DAYS)}")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found |= {day % 7 for day in range(begin, end + 1 + (7 if end < begin else 0))}
    return frozenset(found)
