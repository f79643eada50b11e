"""Rows that are left out of repairs, and the repairs of rows that need them again and again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import sqlalchemy as sa

from trueup.core.quarantine import Quarantined, Repaired, Trouble
from trueup.core.row import Key, encode_row
from trueup.core.states import Outcome
from trueup.core.told import Fact
from trueup.store import schema as t
from trueup.store.ledger import Ledger
from trueup.store.lots import LotRepair
from trueup.store.records import certainly_utc, json_or_none, row_or_none, utc

#: Commands whose repairs count towards a row that recurs.
REPAIRING = ("run", "apply")
#: Keys of lots that are counted at a time.
COUNTED_AT_ONCE = 200_000


class Quarantine:
    """Reads and writes which rows are left out."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def put(self, projection: str, rows: Iterable[Quarantined]) -> None:
        """These rows are left out from now on. One that was here keeps since when, and counts one more attempt."""
        rows = list(rows)
        if not rows:
            return
        told = [{"key": _spelt(row.key), "reason": row.reason, "trouble": row.trouble} for row in rows]
        with self.ledger.begin() as c:
            self.ledger.audit.stage(c, "quarantine.held", {"rows": told}, projection=projection)
            for row in rows:
                mine = _mine(projection, row.key)
                before = c.execute(sa.select(t.quarantine).where(mine)).one_or_none()
                values: dict[str, Any] = {
                    "trouble": row.trouble,
                    "reason": row.reason,
                    "evidence": None if row.evidence is None else json.dumps(row.evidence),
                    "expected": json_or_none(row.expected),
                    "observed": json_or_none(row.observed),
                    "first_seen": row.first_seen,
                    "last_seen": row.last_seen,
                    "attempts": row.attempts,
                    "run": row.run,
                    "state": "held",
                    "retried": False,
                }
                if before is None:
                    c.execute(t.quarantine.insert().values(projection=projection, key=_spelt(row.key), **values))
                    continue
                if before.state == "held" or before.retried:
                    again = before.run != row.run
                    values |= {"first_seen": before.first_seen, "attempts": before.attempts + again}
                c.execute(t.quarantine.update().where(mine).values(**values))

    def held(self, projection: str) -> dict[Key, Quarantined]:
        """Rows that are left out now, longest standing first."""
        statement = (
            sa.select(t.quarantine)
            .where(t.quarantine.c.projection == projection, t.quarantine.c.state == "held")
            .order_by(t.quarantine.c.first_seen, t.quarantine.c.key)
        )
        with self.ledger.reading() as c:
            rows = [_row(row) for row in c.execute(statement)]
        return {row.key: row for row in rows}

    def count(self, projection: str) -> int:
        statement = sa.select(sa.func.count()).where(
            t.quarantine.c.projection == projection, t.quarantine.c.state == "held"
        )
        with self.ledger.reading() as c:
            return int(c.execute(statement).scalar_one())

    def release(self, projection: str, keys: Iterable[Key], at: datetime, *, retried: bool = False) -> None:
        """These rows are repaired again like any other; their repairs until now no longer count as recurring.

        `retried`: they are tried at once, and one that fails again was never away.
        """
        gone = {"state": "released", "released_at": at, "retried": retried}
        keys = list(keys)
        if not keys:
            return
        with self.ledger.begin() as c:
            facts: dict[str, Fact] = {"keys": [_spelt(key) for key in keys], "retried": retried}
            self.ledger.audit.stage(c, "quarantine.released", facts, projection=projection)
            for key in keys:
                c.execute(t.quarantine.update().where(_mine(projection, key)).values(**gone))

    def released(self, projection: str, keys: Iterable[Key]) -> dict[Key, datetime]:
        """When each of these rows was last taken out."""
        found = {}
        with self.ledger.reading() as c:
            for key in keys:
                at = c.execute(sa.select(t.quarantine.c.released_at).where(_mine(projection, key))).scalar()
                moment = utc(at)
                if moment is not None:
                    found[key] = moment
        return found

    def repaired_often(self, projection: str, times: int, since: datetime) -> dict[Key, list[Repaired]]:
        """Rows that at least so many runs have repaired since then, with each repair, oldest first."""
        applied = (
            sa.select(t.outcomes.c.key, t.outcomes.c.run, t.outcomes.c.at, t.outcomes.c.before, t.outcomes.c.after)
            .join(t.runs, t.runs.c.id == t.outcomes.c.run)
            .where(
                t.runs.c.projection == projection,
                t.runs.c.command.in_(REPAIRING),
                t.runs.c.undoes.is_(None),
                t.outcomes.c.outcome == Outcome.APPLIED,
                t.outcomes.c.at >= since,
            )
        )
        all_of_it = applied.subquery("a")
        often = (
            sa.select(all_of_it.c.key)
            .group_by(all_of_it.c.key)
            .having(sa.func.count(all_of_it.c.run.distinct()) >= times)
        )
        lots = self.ledger.lots.repairs(projection, REPAIRING, since)
        if lots:
            return self._often(applied.order_by(t.outcomes.c.id), lots, times)
        found: dict[Key, list[Repaired]] = {}
        with self.ledger.reading() as c:
            if c.execute(sa.select(sa.func.count(all_of_it.c.run.distinct()))).scalar_one() < times:
                return found
            for row in c.execute(applied.where(t.outcomes.c.key.in_(often)).order_by(t.outcomes.c.id)):
                found.setdefault(row_or_none(row.key) or (), []).append(_repaired(row))
        return found

    def _often(self, applied: sa.Select[Any], lots: Sequence[LotRepair], times: int) -> dict[Key, list[Repaired]]:
        """The same where some were repaired in lots, which no database can look into. Keys are counted a part at a
        time, so that memory does not grow with the lots.
        """
        with self.ledger.reading() as c:
            by = set(c.execute(sa.select(applied.subquery("a").c.run).distinct()).scalars())
            if len(by | {lot.run for lot in lots}) < times:
                return {}
            rows = [(row_or_none(row.key) or (), _repaired(row)) for row in c.execute(applied)]
        found: dict[Key, list[Repaired]] = {}
        parts = 1 + sum(lot.count for lot in lots) // COUNTED_AT_ONCE
        for part in range(parts):
            runs: dict[Key, set[str]] = {}
            for key, run in chain(((k, r.run) for k, r in rows), self.ledger.lots.repaired_keys(lots)):
                if hash(key) % parts == part:
                    runs.setdefault(key, set()).add(run)
            often = {key for key, by in runs.items() if len(by) >= times}
            for key, repair in chain(rows, self.ledger.lots.repaired(lots, often)):
                if key in often:
                    found.setdefault(key, []).append(repair)
        return {key: sorted(history, key=lambda repair: repair.at) for key, history in found.items()}


def _repaired(row: Any) -> Repaired:
    at = certainly_utc(row.at)
    return Repaired(run=row.run, at=at, before=row_or_none(row.before), after=row_or_none(row.after))


def history_json(history: Sequence[Repaired]) -> list[dict[str, Any]]:
    """The repairs of a row as plain JSON, for its evidence."""
    return [
        {
            "run": repair.run,
            "at": repair.at.isoformat(),
            "before": encode_row(repair.before),
            "after": encode_row(repair.after),
        }
        for repair in history
    ]


def _mine(projection: str, key: Key) -> sa.ColumnElement[bool]:
    return (t.quarantine.c.projection == projection) & (t.quarantine.c.key == _spelt(key))


def _spelt(key: Key) -> str:
    return json.dumps(encode_row(key))


def _row(row: sa.Row[Any]) -> Quarantined:
    first, last = utc(row.first_seen), utc(row.last_seen)
    assert first is not None
    assert last is not None
    return Quarantined(
        key=row_or_none(row.key) or (),
        trouble=Trouble(row.trouble),
        reason=row.reason,
        evidence=None if row.evidence is None else json.loads(row.evidence),
        expected=row_or_none(row.expected),
        observed=row_or_none(row.observed),
        first_seen=first,
        last_seen=last,
        attempts=row.attempts,
        run=row.run,
    )
