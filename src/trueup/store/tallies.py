"""Figures of the ledger that cost a few rows to read, however long it is: for metrics, on every node the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.core.states import RunState
from trueup.store import schema as t
from trueup.store.records import RunRow, row_or_none, utc
from trueup.store.schema_serving import nodes, requests, tallies

#: Known drift of a projection of which the largest is sought: the rows that were seen last.
LARGEST_OF = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What runs of one command that ended alike did so far."""

    projection: str
    command: str
    ended: str
    runs: int
    seconds: float
    repaired: int
    stepped_aside: int
    left_wrong: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """Drift of one kind that is known now."""

    projection: str
    kind: str
    rows: int
    oldest: datetime | None


def tally(
    c: sa.Connection, upsert: Callable[[sa.Table], Any], run: RunRow, state: RunState, values: Mapping[str, Any]
) -> None:
    """In the transaction in which a run ends: add what it did."""
    if state is RunState.RUNNING:
        return
    report = json.loads(values.get("report") or "{}")
    more = {"runs": 1, "seconds": report.get("seconds", 0.0), "left_wrong": report.get("left", 0)}
    more |= {name: report.get(name, 0) for name in ("repaired", "stepped_aside")}
    ended = str(values.get("verdict") or state)
    row = {"projection": run.projection, "command": run.command, "ended": ended, **more}
    insert = upsert(tallies)
    added = {name: tallies.c[name] + insert.excluded[name] for name in more}
    c.execute(insert.values(**row).on_conflict_do_update(index_elements=["projection", "command", "ended"], set_=added))


def tallied(c: sa.Connection) -> list[Tally]:
    """All of them."""
    return [Tally(**row) for row in c.execute(sa.select(tallies)).mappings()]


def known(c: sa.Connection) -> list[Known]:
    """Rows that are known to be wrong, by projection and kind."""
    drift = t.drift.c
    statement = sa.select(drift.projection, drift.kind, sa.func.count(), sa.func.min(drift.first_seen))
    rows = c.execute(statement.group_by(drift.projection, drift.kind))
    return [Known(projection=name, kind=kind, rows=count, oldest=utc(oldest)) for name, kind, count, oldest in rows]


def largest(c: sa.Connection, projection: str, hidden: Sequence[str]) -> dict[str, float]:
    """By how much each number that differs is off at most, by column; of the rows that were seen to be wrong last.

    `hidden`: columns that nothing is told of.
    """
    drift = t.drift.c
    mine = sa.select(drift.expected, drift.observed, t.runs.c.columns).join(t.runs, t.runs.c.id == drift.run)
    mine = mine.where(drift.projection == projection, drift.kind == "different")
    found: dict[str, float] = {}
    for row in c.execute(mine.order_by(drift.last_seen.desc(), drift.key).limit(LARGEST_OF)):
        expected, observed = row_or_none(row.expected) or (), row_or_none(row.observed) or ()
        for name, right, is_ in zip(json.loads(row.columns), expected, observed, strict=False):
            off = None if name in hidden else _off(right, is_)
            if off is not None:
                found[name] = max(off, found.get(name, 0.0))
    return found


def _off(right: Any, is_: Any) -> float | None:
    """How far apart two numbers are; None: they are none."""
    if isinstance(right, bool | str | None) or isinstance(is_, bool | str | None):
        return None
    try:
        off = abs(float(right - is_))
    except (TypeError, ValueError, ArithmeticError):
        return None
    return off if off == off else None  # noqa: PLR0124 - what is no number is not equal to itself


def requested(c: sa.Connection) -> tuple[dict[str, int], datetime | None]:
    """Requests by state, those that ended for as long as they are kept; and since when the oldest has been waiting."""
    by_state = c.execute(sa.select(requests.c.state, sa.func.count()).group_by(requests.c.state))
    counts = {state: int(count) for state, count in by_state}
    waiting = sa.select(sa.func.min(requests.c.requested_at)).where(requests.c.state == "waiting")
    return counts, utc(c.execute(waiting).scalar())


def alive(c: sa.Connection, since: datetime) -> int:
    """Nodes that were heard of since then."""
    return int(c.execute(sa.select(sa.func.count()).where(nodes.c.seen_at >= since)).scalar_one())
