"""What stands now: drift that is known, plans that wait, switches that are set, the last run of each projection."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.core.compare import DriftKind, Suspect
from trueup.core.row import Key, encode_row
from trueup.core.states import RESUMABLE
from trueup.store import schema as t
from trueup.store.ledger import Ledger
from trueup.store.records import DecisionRow, RunRow, json_or_none, row_or_none, run_row, utc


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftRow:
    """One row that is known to be wrong."""

    drift: Suspect
    reason: str
    first_seen: datetime
    last_seen: datetime
    run: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRow:
    """A plan, without its decisions."""

    id: str
    projection: str
    run: str
    hash: str
    #: `open`, or `applied`.
    state: str
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A switch that somebody set on a projection."""

    #: `running`, `paused` or `stopped`.
    state: str
    reason: str = ""
    actor: str = ""
    at: datetime | None = None


class Standing:
    """Reads and writes what stands now."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    # --- drift -----------------------------------------------------------------------------------------------------

    def found(self, run: RunRow, drift: Iterable[tuple[Suspect, str]], at: datetime) -> None:
        """These rows are wrong; `first_seen` of those that were known stays."""
        rows = [
            {
                "projection": run.projection,
                "key": json.dumps(encode_row(suspect.key)),
                "kind": suspect.kind,
                "expected": json_or_none(suspect.expected),
                "observed": json_or_none(suspect.observed),
                "reason": reason,
                "first_seen": at,
                "last_seen": at,
                "run": run.id,
            }
            for suspect, reason in drift
        ]
        if not rows:
            return
        new = self.ledger.upsert(t.drift)
        changed = {name: new.excluded[name] for name in ("kind", "expected", "observed", "reason", "last_seen", "run")}
        with self.ledger.begin() as c:
            c.execute(new.on_conflict_do_update(index_elements=["projection", "key"], set_=changed), rows)

    def settled(self, projection: str, keys: Iterable[Key]) -> None:
        """These rows are right now."""
        rows = [{"the_key": json.dumps(encode_row(key))} for key in keys]
        mine = (t.drift.c.projection == projection) & (t.drift.c.key == sa.bindparam("the_key"))
        if rows:
            with self.ledger.begin() as c:
                c.execute(t.drift.delete().where(mine), rows)

    def only(self, run: RunRow) -> None:
        """A complete run over all keys saw everything that is wrong: what it did not see is right."""
        with self.ledger.begin() as c:
            c.execute(t.drift.delete().where(t.drift.c.projection == run.projection, t.drift.c.run != run.id))

    def drift(self, projection: str, limit: int = 0) -> list[DriftRow]:
        """Known drift, oldest first; `limit` 0: all."""
        statement = (
            sa.select(t.drift).where(t.drift.c.projection == projection).order_by(t.drift.c.first_seen, t.drift.c.key)
        )
        if limit:
            statement = statement.limit(limit)
        with self.ledger.reading() as c:
            return [_drift_row(row) for row in c.execute(statement)]

    def drift_count(self, projection: str) -> tuple[int, datetime | None]:
        """How many rows are known to be wrong, and since when the oldest is."""
        statement = sa.select(sa.func.count(), sa.func.min(t.drift.c.first_seen)).where(
            t.drift.c.projection == projection
        )
        with self.ledger.reading() as c:
            count, oldest = c.execute(statement).one()
        return int(count), utc(oldest)

    # --- plans -----------------------------------------------------------------------------------------------------

    def add_plan(self, plan: str, run: RunRow, decisions: Sequence[DecisionRow], at: datetime) -> PlanRow:
        row = PlanRow(
            id=plan, projection=run.projection, run=run.id, hash=plan_hash(run, decisions), state="open", created_at=at
        )
        with self.ledger.begin() as c:
            c.execute(
                t.plans.insert().values(
                    id=row.id, projection=row.projection, run=row.run, hash=row.hash, state=row.state, created_at=at
                )
            )
        return row

    def plan(self, plan: str) -> PlanRow | None:
        with self.ledger.reading() as c:
            row = c.execute(sa.select(t.plans).where(t.plans.c.id == plan)).one_or_none()
        if row is None:
            return None
        created = utc(row.created_at)
        assert created is not None
        return PlanRow(
            id=row.id, projection=row.projection, run=row.run, hash=row.hash, state=row.state, created_at=created
        )

    def plan_applied(self, plan: str) -> None:
        with self.ledger.begin() as c:
            c.execute(t.plans.update().where(t.plans.c.id == plan).values(state="applied"))

    # --- switches --------------------------------------------------------------------------------------------------

    def control(self, projection: str) -> Control:
        with self.ledger.reading() as c:
            row = c.execute(sa.select(t.controls).where(t.controls.c.projection == projection)).one_or_none()
        if row is None:
            return Control(state="running")
        return Control(state=row.state, reason=row.reason, actor=row.actor, at=utc(row.at))

    def set_control(self, projection: str, control: Control) -> None:
        values = {"state": control.state, "reason": control.reason, "actor": control.actor, "at": control.at}
        mine = t.controls.c.projection == projection
        with self.ledger.begin() as c:
            if c.execute(t.controls.update().where(mine).values(**values)).rowcount == 0:
                c.execute(t.controls.insert().values(projection=projection, **values))

    # --- runs ------------------------------------------------------------------------------------------------------

    def runs(self, projection: str | None = None, limit: int = 20) -> list[RunRow]:
        """Newest first."""
        statement = sa.select(t.runs).order_by(t.runs.c.started_at.desc()).limit(limit)
        if projection is not None:
            statement = statement.where(t.runs.c.projection == projection)
        with self.ledger.reading() as c:
            return [run_row(row) for row in c.execute(statement)]

    def find_run(self, run: str) -> RunRow | None:
        with self.ledger.reading() as c:
            row = c.execute(sa.select(t.runs).where(t.runs.c.id == run)).one_or_none()
        return None if row is None else run_row(row)

    def last_run(self, projection: str, *, unfinished: bool = False) -> RunRow | None:
        statement = (
            sa.select(t.runs).where(t.runs.c.projection == projection).order_by(t.runs.c.started_at.desc()).limit(1)
        )
        if unfinished:
            statement = statement.where(t.runs.c.state.in_([str(state) for state in RESUMABLE]))
        with self.ledger.reading() as c:
            row = c.execute(statement).one_or_none()
        return None if row is None else run_row(row)


def plan_hash(run: RunRow, decisions: Sequence[DecisionRow]) -> str:
    """What an approval binds to: the definition and every decided row, in order."""
    digest = hashlib.sha256(f"{run.projection}\n{run.definition}\n".encode())
    for item in decisions:
        drift = item.decision.drift
        row: list[Any] = [
            encode_row(drift.key),
            item.decision.action,
            encode_row(drift.observed),
            encode_row(drift.expected),
            drift.token,
        ]
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def _drift_row(row: sa.Row[Any]) -> DriftRow:
    first, last = utc(row.first_seen), utc(row.last_seen)
    assert first is not None
    assert last is not None
    drift = Suspect(
        kind=DriftKind(row.kind),
        key=row_or_none(row.key) or (),
        expected=row_or_none(row.expected),
        observed=row_or_none(row.observed),
    )
    return DriftRow(drift=drift, reason=row.reason, first_seen=first, last_seen=last, run=row.run)
