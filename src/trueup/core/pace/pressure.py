"""Health signals: what a value means, smoothed, and the worst of all.

Pressure is 0 while a signal is idle, 1 where it should not go beyond, 2 where it must not be; 3 is its cap. A signal
that could not be had is *not available*: it is left out, never taken for 0. Only one that is required counts when it
stays away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp
from types import MappingProxyType

#: Greatest pressure.
CAP = 3.0
#: Most of what only keeps load from being added, however much of it there is: the law takes nothing away for it.
HELD = 0.8
#: Pressure of a required signal that has not been had for a while.
STALE = 1.2
#: Seconds after which a signal that was not had again counts no more.
STALE_AFTER_S = 5.0
#: Seconds without a required signal after which a database counts as unseen.
BLIND_AFTER_S = 60.0
#: Smoothing, seconds: bad news is believed sooner than good.
WORSE_S, BETTER_S = 1.0, 2.0
#: Samples in a row, each an emergency by itself, that make one. What is looked at again is no new sample.
HARD_SAMPLES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What the values of a signal mean."""

    idle: float
    #: Pressure 1: more should not be added.
    soft: float
    #: Pressure 2: an emergency.
    hard: float
    #: Its absence is a reason to slow down.
    required: bool = False
    #: No value is more pressure than this.
    most: float = CAP

    def pressure(self, value: float) -> float:
        """Between 0 and `most`, never falling with `value`."""
        if value <= self.idle:
            return 0.0
        if value <= self.soft:
            return min(self.most, (value - self.idle) / (self.soft - self.idle))
        return min(self.most, 1.0 + (value - self.soft) / (self.hard - self.soft))


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """One signal as it was last seen."""

    value: float = 0.0
    #: Smoothed, and as it was.
    pressure: float = 0.0
    raw: float = 0.0
    #: When, by the policy's clock; None: never.
    at: float | None = None
    #: Emergencies in a row, and when the sample that was counted last was had.
    hard: int = 0
    had: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """The worst of all signals."""

    pressure: float = 0.0
    #: The signal that it comes from.
    signal: str = ""
    value: float | None = None
    #: Nothing may be added, and little may stay.
    hard: bool = False
    #: Nothing required was seen for long.
    blind: bool = False
    #: Is there a signal that tells, or one that is missed? Else there is no pressure for want of signals.
    known: bool = False
    #: All signals, for people.
    signals: Mapping[str, Signal] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The pressure, for people."""
        if not self.signal:
            return ""
        value = "not to be had" if self.value is None else f"{self.value:.3g}"
        return f"{self.signal} {value}, pressure {self.pressure:.2f}"


def observed(
    before: Mapping[str, Signal],
    marks: Mapping[str, Mark],
    values: Mapping[str, float | None],
    now: float,
    had: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Signal]:
    """The signals after a look; those that are not in `values` grow old. A clock that stands or goes back changes
    nothing but the last value. `had`: when a value was had, if not now.
    """
    found = dict(before)
    for name, value in values.items():
        if value is None or name not in marks:
            continue
        raw, old = marks[name].pressure(value), before.get(name, Signal())
        if old.at is None:
            smooth = raw
        else:
            passed = min(max(now - old.at, 0.0), STALE_AFTER_S)
            smooth = raw + (old.pressure - raw) * exp(-passed / (WORSE_S if raw > old.pressure else BETTER_S))
        at = had.get(name, now)
        hard = old.hard + (at != old.had) if raw >= 2 else 0
        found[name] = Signal(value=value, pressure=smooth, raw=raw, at=now, hard=hard, had=at)
    return found


def worst(signals: Mapping[str, Signal], marks: Mapping[str, Mark], now: float, begun: float) -> Health:
    """What all signals together say. `begun`: since when they are looked for."""
    pressure, name, value, hard, blind, known = 0.0, "", None, False, False, False
    for each, mark in sorted(marks.items()):
        signal = signals.get(each, Signal())
        seen = begun if signal.at is None else signal.at
        if now - seen > STALE_AFTER_S or signal.at is None:
            if mark.required and now - seen > STALE_AFTER_S:
                blind, known = blind or now - seen > BLIND_AFTER_S, True
                if pressure < STALE:
                    pressure, name, value = STALE, each, None
            continue
        known = True
        urgent = signal.hard >= HARD_SAMPLES or signal.raw >= CAP
        if signal.pressure > pressure or (urgent and not hard):
            pressure, name, value = max(pressure, signal.pressure), each, signal.value
        hard = hard or urgent
    return Health(
        pressure=pressure, signal=name, value=value, hard=hard, blind=blind, known=known, signals=dict(signals)
    )
