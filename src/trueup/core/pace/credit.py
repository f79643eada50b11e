"""The actuators: what a permitted load means for the next statement.

Credit is earned in busy-seconds, `u` a second, and spent by the time that statements were in flight. A statement may
begin while there is credit, so rests follow by themselves from what the last statements took; when `u` rises, they end
at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

#: Most credit that is kept, in seconds of income and at least in seconds.
KEPT_S, KEPT_LEAST_S = 0.2, 0.02
#: Debt beyond this is forgiven, seconds: one statement that took too long must not mean silence for long.
DEBT_S = 0.25
#: From this load on everybody rests together now and then, so that the database is seen without us.
REST_FROM = 0.5
#: How often and how long, seconds of a clock that all nodes have in common.
REST_EVERY_S, REST_S = 10.0, 0.6
#: How much faster or slower one statement may be than the one before it, and how far one measurement is believed.
GROW, SHRINK, BELIEVED = 1.5, 0.5, 0.4
#: Least part of what a statement took at its best, and how slowly that is forgotten, a statement. A core is held by
#: what a statement does, not by how long it waits for it; and what each pays once is more under load.
LEAST, FORGET = 0.6, 0.999


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """Busy-seconds that may be spent."""

    credit: float = 0.0
    at: float = 0.0
    #: Spent so far, and earned, whether or not it was kept.
    spent_s: float = 0.0
    granted_s: float = 0.0


def refilled(bucket: Bucket, u: float, now: float) -> Bucket:
    """With what was earned since. A clock that went back earns nothing."""
    most = max(KEPT_LEAST_S, KEPT_S * u)
    earned_s = u * max(now - bucket.at, 0.0)
    credit = min(max(bucket.credit, -DEBT_S) + earned_s, most)
    return replace(bucket, credit=credit, at=now, granted_s=bucket.granted_s + earned_s)


def charged(bucket: Bucket, u: float, now: float, busy_s: float) -> Bucket:
    """After a statement that was in flight for `busy_s`."""
    full = refilled(bucket, u, now)
    return replace(full, credit=full.credit - busy_s, spent_s=full.spent_s + busy_s)


def workers(u: float) -> int:
    """Statements that may be in flight at a time."""
    return 0 if u <= 0 else max(1, ceil(u - 1e-9))


def rest_s(total: float, common_s: float) -> float:
    """Seconds that are left of the common rest; 0: it is none. `total`: load of all nodes; `common_s`: their clock."""
    into = common_s % REST_EVERY_S
    left = REST_S - into
    return left if total >= REST_FROM and left > 1e-6 else 0.0


def wait_s(bucket: Bucket, u: float, inflight: int, common_s: float, total: float = 0.0) -> float | None:
    """Seconds until a statement may begin; 0: now; None: not before one ends, or the load is permitted anew. `total`:
    what all nodes may have in flight, where that is more than `u`.
    """
    if u <= 0 or inflight >= workers(u):
        return None
    resting = rest_s(max(u, total), common_s)
    if resting > 0:
        return resting
    return 0.0 if bucket.credit > 0 else (1e-6 - bucket.credit) / u


class StatementSize:
    """How much one statement takes (rows, or width of a key range), so that it takes a given time.

    Never less than a part of what took that time when the database was at its best: where a statement takes long,
    however little it is asked for, the time goes into what each statement pays once, and asking for less would only
    mean more of them.
    """

    def __init__(self, first: float) -> None:
        self.amount = first
        self._per_s: float | None = None
        self._best_per_s = 0.0

    def took(self, amount: float, seconds: float, target_s: float) -> None:
        """Learn from a statement of `amount`, and aim at `target_s` with the next."""
        rate = amount / max(seconds, 1e-4)
        self._per_s = rate if self._per_s is None else self._per_s + BELIEVED * (rate - self._per_s)
        self._best_per_s = max(self._best_per_s * FORGET, self._per_s)
        least = max(self.amount * SHRINK, self._best_per_s * target_s * LEAST)
        self.amount = min(max(self._per_s * target_s, least), self.amount * GROW)
