"""What of a database's pacing holds at a moment."""

from __future__ import annotations

import zoneinfo
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trueup.core.pace.governor import Limits
from trueup.core.pace.settings import Override, Pace, Profile, Window
from trueup.core.pace.windows import parse_hours

#: How much more the tail may be slowed than the mean: who waits for a core waits for the end of a slice.
TAIL_FACTOR = 4.0
#: Settings that can be changed while runs go on, besides `protect`.
LIVE = ("adaptive", "fixed", "least", "most", "statement")


@dataclass(frozen=True, kw_only=True, slots=True)
class Effective:
    """What holds at a moment."""

    limits: Limits
    #: By how much the others may be slowed, on average.
    protect: float
    statement_s: float

    @property
    def budget(self) -> float:
        """By how much the tail may be slowed."""
        return of_tail(self.protect)


def of_tail(protect: float) -> float:
    """By how much the tail of others may be slowed, if they may be so on average by `protect`."""
    return protect * TAIL_FACTOR


#: The ceiling where nothing is declared and the cores are not known.
MOST = 4.0


def effective(
    pace: Pace,
    protect: float,
    override: Override,
    now: datetime,
    cores: int | None = None,
    *,
    unknown: Collection[str] = (),
) -> Effective:
    """Settings, then the windows that are open (the later of two wins), then what somebody has set.

    `unknown`: what they have set besides, and is not known here. It may have been to hold back, so that while there is
    any no more than the guaranteed minimum is permitted. Raises ValueError for a profile that is not declared.
    """
    values: dict[str, Any] = {"protect": protect, **{name: getattr(pace, name) for name in LIVE}}
    paused = ""
    for window in open_windows(pace, now):
        paused = f"closed: {window.when} ({pace.timezone})" if window.closed else ""
        _lay(values, pace, window.profile, window.model_dump(include=set(Profile.model_fields)))
    paused = "paused by hand" if override.pause else paused
    _lay(values, pace, override.profile or "", override.model_dump(include=set(Profile.model_fields)))
    if values["most"] is None:
        values["most"] = MOST if cores is None else float(max(cores - 1, 1))
        if not values["adaptive"]:  # a ceiling that nobody has set holds nothing back
            values["most"] = max(values["most"], values["fixed"])
    if unknown:
        values["most"] = min(pace.least, values["least"], values["most"])
        values["fixed"] = min(values["fixed"], values["most"])
    limits = Limits(
        least=min(values["least"], values["most"]),
        most=values["most"],
        paused=paused,
        fixed=None if values["adaptive"] else values["fixed"],
    )
    return Effective(limits=limits, protect=values["protect"], statement_s=values["statement"])


def open_windows(pace: Pace, now: datetime) -> list[Window]:
    """Those that hold at a moment, in the order in which they are declared."""
    local = now.astimezone(zoneinfo.ZoneInfo(pace.timezone))
    return [window for window in pace.windows if parse_hours(window.when).hold(local)]


def _lay(values: dict[str, Any], pace: Pace, profile: str, beside: Mapping[str, Any]) -> None:
    """Let a profile hold, if one is named, and what is said beside it. Raises ValueError for an undeclared one."""
    named = (pace.profile(profile) if profile else Profile()).model_dump()
    values |= {name: value for each in (named, beside) for name, value in each.items() if value is not None}
