"""How often an error that would pass is tried again, and how long is waited: exponential backoff with full jitter.

Chance comes in as an argument, between 0 and 1, so that everything here gives the same answer each time.
"""

from __future__ import annotations

from pydantic import Field

from trueup.core.declared import Declared, Duration


class Retry(Declared):
    """Bounds of trying again. When they are reached, the projection is paused until `pause` has passed."""

    #: Most tries of one read or of one repair transaction.
    tries: int = Field(default=6, ge=1)
    #: Longest wait before the second try, seconds; it doubles with each try.
    first: Duration = Field(default=0.2, gt=0)
    #: Longest wait between two tries, seconds.
    longest: Duration = Field(default=30.0, gt=0)
    #: Most seconds from the first failure to the last try.
    within: Duration = Field(default=120.0, gt=0)
    #: How long the engine pauses the projection when all tries are used up, seconds; it doubles with each pause.
    pause: Duration = Field(default=60.0, gt=0)
    #: Longest such pause, seconds.
    pause_longest: Duration = Field(default=3600.0, gt=0)


def wait_s(retry: Retry, failures: int, chance: float) -> float:
    """Seconds before the next try after so many failures: anything from nothing to the bound, so that many who were
    thrown off together do not come back together.
    """
    return chance * _doubled(retry.first, failures, retry.longest)


def pause_s(retry: Retry, pauses: int) -> float:
    """Seconds of the pause after so many in a row, this one included."""
    return _doubled(retry.pause, pauses, retry.pause_longest)


def _doubled(first: float, times: int, most: float) -> float:
    return float(min(first * 2 ** min(times - 1, 60), most))
