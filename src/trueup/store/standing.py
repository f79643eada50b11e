"""What stands now: drift that is known, switches that are set, the last run of each projection."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.core.compare import DriftKind, Suspect
from trueup.core.row import Key, encode_row
from trueup.core.states import RESUMABLE, Stage
from trueup.store import schema as t
from trueup.store.ledger import Ledger
from trueup.store.records import RunRow, certainly_utc, json_or_none, row_or_none, run_row, utc


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftRow:
    """One row that is known to be wrong."""

    drift: Suspect
    reason: str
    first_seen: datetime
    last_seen: datetime
    run: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A switch that somebody set on a projection."""

    #: `running`, `paused` or `stopped`.
    state: str
    reason: str = ""
    actor: str = ""
    at: datetime | None = None
    #: Set by the engine after errors that did not pass: when the next run may try again.
    until: datetime | None = None
    #: Such pauses in a row.
    pauses: int = 0

    def allows(self, command: str, now: datetime) -> bool:
        """May a run begin?"""
        if self.state == "stopped":
            return command == "check"
        return self.state == "running" or (self.until is not None and self.until <= now)


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

    def settled(self, projection: str, keys: Collection[Key], *, seen_by: RunRow | None = None) -> None:
        """These rows are right now; with `seen_by` but for those that another run found wrong since that one began."""
        mine = t.drift.c.projection == projection
        if seen_by is not None:
            mine &= (t.drift.c.run == seen_by.id) | (t.drift.c.last_seen <= seen_by.started_at)
        with self.ledger.begin() as c:
            known = c.execute(sa.select(t.drift.c.key).where(mine).limit(len(keys) + 1)).scalars().all()
            if len(known) <= len(keys):  # that is all that is known to be wrong, and most often nothing is
                asked = set(keys)
                right = [text for text in known if row_or_none(text) in asked]
            else:
                right = [json.dumps(encode_row(key)) for key in keys]
            if right:
                one = mine & (t.drift.c.key == sa.bindparam("the_key"))
                c.execute(t.drift.delete().where(one), [{"the_key": key} for key in right])

    def only(self, run: RunRow) -> None:
        """A complete run over all keys saw everything that is wrong: what it did not see is right."""
        with self.ledger.begin() as c:
            mine = (t.drift.c.projection == run.projection) & (t.drift.c.run != run.id)
            # What a run over some keys found meanwhile is newer than what this one saw of them.
            c.execute(t.drift.delete().where(mine, t.drift.c.last_seen <= run.started_at))

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

    # --- switches --------------------------------------------------------------------------------------------------

    def control(self, projection: str) -> Control:
        with self.ledger.reading() as c:
            row = c.execute(sa.select(t.controls).where(t.controls.c.projection == projection)).one_or_none()
        return Control(state="running") if row is None else _control(row)

    def set_control(self, projection: str, control: Control, *, instead_of: Control | None = None) -> bool:
        """Set a switch; with `instead_of` only if that is how it stands: the engine undoes nothing that a person set
        meanwhile. Was it set?
        """
        mine, values = t.controls.c.projection == projection, asdict(control)
        first = self.ledger.upsert(t.controls).values(projection=projection, **values).on_conflict_do_nothing()
        with self.ledger.begin() as c:
            if c.execute(first.returning(t.controls.c.projection)).first() is None:
                before = _control(c.execute(sa.select(t.controls).where(mine).with_for_update()).one())
                if instead_of not in (None, before):
                    return False
                c.execute(t.controls.update().where(mine).values(**values))
            self.ledger.audit.stage(c, f"control.{control.state}", {"reason": control.reason}, projection=projection)
        return True

    # --- runs ------------------------------------------------------------------------------------------------------

    def runs(self, projection: str | None = None, limit: int = 20) -> list[RunRow]:
        """Newest first; `limit` 0: all."""
        statement = sa.select(t.runs).order_by(t.runs.c.started_at.desc()).limit(limit or None)
        if projection is not None:
            statement = statement.where(t.runs.c.projection == projection)
        with self.ledger.reading() as c:
            return [run_row(row) for row in c.execute(statement)]

    def undoing(self, run: str) -> list[str]:
        """Runs that put rows of `run` back, oldest first."""
        statement = sa.select(t.runs.c.id).where(t.runs.c.undoes == run).order_by(t.runs.c.started_at)
        with self.ledger.reading() as c:
            return list(c.execute(statement).scalars())

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

    def read_at(self, run: str) -> tuple[list[datetime], int]:
        """When the segments of a run were read that are, and how many there are to be read in all."""
        mine = sa.select(t.segments.c.looked_at, t.segments.c.state)
        with self.ledger.reading() as c:
            rows = c.execute(mine.where(t.segments.c.run == run, t.segments.c.stage == str(Stage.NARROW))).all()
        return [certainly_utc(row.looked_at) for row in rows if row.state != "open" and row.looked_at], len(rows)


def _drift_row(row: sa.Row[Any]) -> DriftRow:
    drift = Suspect(
        kind=DriftKind(row.kind),
        key=row_or_none(row.key) or (),
        expected=row_or_none(row.expected),
        observed=row_or_none(row.observed),
    )
    return DriftRow(
        drift=drift,
        reason=row.reason,
        first_seen=certainly_utc(row.first_seen),
        last_seen=certainly_utc(row.last_seen),
        run=row.run,
    )


def _control(row: sa.Row[Any]) -> Control:
    return Control(
        state=row.state,
        reason=row.reason,
        actor=row.actor,
        at=utc(row.at),
        until=utc(row.until),
        pauses=row.pauses,
    )
