"""When a run that reads its segments will have read them all, as a range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import sqrt

#: Segments that have to be read before anything is said, and the latest of them, whose speed counts by itself.
LEAST, LATEST = 4, 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """How far a run is, and how long it still takes."""

    done: int
    planned: int
    #: Seconds, at best and at worst; None: not known yet.
    left_s: tuple[float, float] | None


def forecast(read_at: Sequence[datetime], planned: int, now: datetime) -> Forecast:
    """From when segments were read, in any order.

    Two speeds are told apart, that of all segments and that of the latest: pacing changes the speed, and nobody knows
    which will hold. Each is uncertain by one part in the square root of their number.
    """
    moments, left = sorted(read_at), max(planned - len(read_at), 0)
    if not left:
        return Forecast(done=len(moments), planned=planned, left_s=(0.0, 0.0))
    if len(moments) < LEAST:
        return Forecast(done=len(moments), planned=planned, left_s=None)
    ends = []
    for some in (moments, moments[-LATEST - 1 :]):
        each_s = max((now - some[0]).total_seconds(), 0.0) / (len(some) - 1)
        doubt = 1 / sqrt(len(some) - 1)
        ends += [left * each_s * (1 - doubt / 2), left * each_s * (1 + doubt)]
    return Forecast(done=len(moments), planned=planned, left_s=(min(ends), max(ends)))
