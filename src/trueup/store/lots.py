"""Lots in the ledger: many decisions in one row, and what became of them in one more.

A lot is decided when it is found: one look was proof. What a unit left out of it is told row by row, like anything
else. Who wants to know of single rows gets them from `decisions` and `outcomes`, a lot at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.core.compare import DriftKind
from trueup.core.decide import Action, Decision
from trueup.core.lot import Lot, LotOutcome
from trueup.core.quarantine import Repaired
from trueup.core.row import Key, decode_row, encode_row
from trueup.core.states import Outcome
from trueup.core.told import Fact, sha256
from trueup.store import schema as t
from trueup.store.audit import AuditLog
from trueup.store.records import DecisionRow, OutcomeRow, certainly_utc, in_lanes

_Connecting = Callable[[], AbstractContextManager[sa.Connection]]


@dataclass(frozen=True, kw_only=True, slots=True)
class LotRow:
    """A lot without its rows."""

    id: int
    segment: int
    kind: DriftKind
    action: Action
    count: int

    def decisions(self, content: Lot) -> Iterator[DecisionRow]:
        """Its decisions, one by one."""
        for row in content.rows():
            yield DecisionRow(id=self.id, segment=self.segment, decision=Decision(drift=row, action=self.action))


@dataclass(frozen=True, kw_only=True, slots=True)
class LotOutcomeRow:
    """What a unit did to the rows of a lot."""

    lot: int
    unit: str
    outcome: Outcome
    #: Rows that it is the outcome of.
    count: int
    done: LotOutcome
    evidence: str
    witness: str

    def of_rows(self, lot: LotRow, content: Lot) -> Iterator[OutcomeRow]:
        """The same row by row."""
        left, applied = set(self.done.left), self.outcome is Outcome.APPLIED
        for row in content.rows():
            if row.key not in left:
                yield OutcomeRow(
                    key=row.key,
                    outcome=self.outcome,
                    action=lot.action if applied else None,
                    before=row.observed if applied else None,
                    after=row.expected if applied and lot.action is not Action.DELETE else None,
                    token=self.done.token,
                    evidence=self.evidence,
                    witness=self.witness,
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class LotRepair:
    """A lot that was written, by which run and when."""

    run: str
    at: datetime
    count: int
    done: LotOutcomeRow


class Lots:
    """Reads and writes lots and their outcomes."""

    def __init__(self, begin: _Connecting, reading: _Connecting, audit: AuditLog) -> None:
        self._begin = begin
        self._reading = reading
        self._audit = audit

    # --- decisions -------------------------------------------------------------------------------------------------

    def put(self, c: sa.Connection, run: str, segment: int, lots: Sequence[tuple[Lot, Action]]) -> None:
        """*Intend*, in the transaction in which the segment is committed: nothing of it is done before."""
        for lot, action in lots:
            facts: dict[str, Fact] = {
                **{"kind": str(lot.kind), "action": str(action), "count": str(lot.count)},
                "content": {"bytes": str(len(lot.content)), "sha256": sha256(lot.content)},
            }
            told = self._audit.stage(c, "lot.intended", facts, run=run)
            values = {"run": run, "segment": segment, "kind": lot.kind, "action": action, "size": lot.count}
            c.execute(t.lots.insert().values(**values, content=lot.content, audit=told))

    def of(self, run: str) -> list[LotRow]:
        """Lots of a run, in order."""
        return self._found(t.lots.c.run == run)

    def of_segment(self, segment: int) -> list[LotRow]:
        """Lots that were found in a segment, in order."""
        return self._found(t.lots.c.segment == segment)

    def find(self, lot: int) -> LotRow:
        (found,) = self._found(t.lots.c.id == lot)
        return found

    def undone(self, run: str, lots: Sequence[LotRow]) -> list[LotRow]:
        """Those of `lots` that `run` has not written."""
        done = {row.lot for row in self.outcomes_of(run) if row.outcome is Outcome.APPLIED}
        return [lot for lot in lots if lot.id not in done]

    def _found(self, which: sa.ColumnElement[bool]) -> list[LotRow]:
        columns = [t.lots.c[name] for name in ("id", "segment", "kind", "action", "size")]
        statement = sa.select(*columns).where(which).order_by(t.lots.c.id)
        with self._reading() as c:
            return [
                LotRow(
                    id=row.id, segment=row.segment, kind=DriftKind(row.kind), action=Action(row.action), count=row.size
                )
                for row in c.execute(statement)
            ]

    def content(self, lot: LotRow) -> Lot:
        with self._reading() as c:
            content = c.execute(sa.select(t.lots.c.content).where(t.lots.c.id == lot.id)).scalar_one()
        return Lot(kind=lot.kind, count=lot.count, content=content)

    def decisions(self, run: str) -> Iterator[DecisionRow]:
        """The decisions of a run that are in lots, one by one."""
        for lot in self.of(run):
            yield from self.decisions_of(lot)

    def decisions_of(self, lot: LotRow) -> Iterator[DecisionRow]:
        return lot.decisions(self.content(lot))

    # --- outcomes --------------------------------------------------------------------------------------------------

    def close_unit(self, unit: str, run: str, lot: LotRow, done: LotOutcomeRow, at: datetime, token: int) -> None:
        """Record what a unit did to a lot, with its fencing token. Closing a closed unit changes nothing."""
        left = [json.dumps(encode_row(key)) for key in done.done.left]
        facts: dict[str, Fact] = {
            **{"unit": unit, "token": str(token), "outcome": str(done.outcome)},
            **{"count": str(done.count), "row_version": done.done.token, "left_out": left},
            **{"evidence": done.evidence, "witness": done.witness},
        }
        row = {
            **{"unit": unit, "run": run, "lot": lot.id, "outcome": done.outcome, "size": done.count},
            **{"token": done.done.token, "left_out": json.dumps([encode_row(key) for key in done.done.left])},
            **{"evidence": done.evidence, "witness": done.witness, "at": at},
        }
        still_open = (t.units.c.id == unit) & t.units.c.closed_at.is_(None)
        with self._begin() as c:
            if c.execute(t.units.update().where(still_open).values(closed_at=at)).rowcount == 1:
                facts["lot"] = c.execute(sa.select(t.lots.c.audit).where(t.lots.c.id == lot.id)).scalar_one()
                told = self._audit.stage(c, "lot.outcome", facts, run=run)
                c.execute(t.units.update().where(t.units.c.id == unit).values(audit=told))
                c.execute(t.lot_outcomes.insert().values(**row))

    def open_units(self, projection: str, lanes: Sequence[str] | None = None) -> list[tuple[str, str, int]]:
        """Units of unknown outcome: (unit, run, lot), of runs in `lanes`."""
        units = t.units.c
        statement = sa.select(units.id, units.run, units.lot).join(t.runs, t.runs.c.id == units.run)
        statement = statement.where(
            t.runs.c.projection == projection, units.closed_at.is_(None), units.lot.is_not(None), in_lanes(lanes)
        )
        with self._reading() as c:
            return [(row.id, row.run, row.lot) for row in c.execute(statement)]

    def outcomes_of(self, run: str, lot: int | None = None) -> list[LotOutcomeRow]:
        """What units of a run did to its lots, or to one of them, in order."""
        mine = t.lot_outcomes.c.run == run
        statement = sa.select(t.lot_outcomes).where(mine).order_by(t.lot_outcomes.c.id)
        if lot is not None:
            statement = statement.where(t.lot_outcomes.c.lot == lot)
        with self._reading() as c:
            return [_outcome(row) for row in c.execute(statement)]

    def outcomes(self, run: str, keys: Collection[Key] | None = None) -> Iterator[OutcomeRow]:
        """What became of the rows of lots (of these alone), one by one."""
        for done in self.outcomes_of(run):
            lot = self.find(done.lot)
            content = self.content(lot)
            if keys is None:
                yield from done.of_rows(lot, content)
            elif not set(keys).isdisjoint(content.row_keys()):
                yield from (row for row in done.of_rows(lot, content) if row.key in keys)

    def repairs(self, projection: str, commands: Sequence[str], since: datetime) -> list[LotRepair]:
        """Lots that runs of these commands have written since then, oldest first."""
        done, of = t.lot_outcomes, t.runs.c
        statement = sa.select(done).join(t.runs, of.id == done.c.run).order_by(done.c.id)
        ours = (of.projection == projection) & of.command.in_(commands) & of.undoes.is_(None)
        with self._reading() as c:
            rows = c.execute(statement.where(ours, done.c.outcome == Outcome.APPLIED, done.c.at >= since)).all()
        return [LotRepair(run=row.run, at=certainly_utc(row.at), count=row.size, done=_outcome(row)) for row in rows]

    def repaired(self, repairs: Sequence[LotRepair], keys: Collection[Key]) -> Iterator[tuple[Key, Repaired]]:
        """Each repair of these rows."""
        for repair in repairs if keys else ():
            lot = self.find(repair.done.lot)
            for row in repair.done.of_rows(lot, self.content(lot)):
                if row.key in keys:
                    yield row.key, Repaired(run=repair.run, at=repair.at, before=row.before, after=row.after)

    def repaired_keys(self, repairs: Sequence[LotRepair]) -> Iterator[tuple[Key, str]]:
        """The rows that were repaired, each with the run that did."""
        for repair in repairs:
            left = set(repair.done.done.left)
            for key in self.content(self.find(repair.done.lot)).row_keys():
                if key not in left:
                    yield key, repair.run

    def written(self, projection: str, since: datetime) -> dict[str, int]:
        """Rows of lots that each run wrote since then, or may have written: of units whose outcome is unknown."""
        done, units = t.lot_outcomes, t.units
        wrote = sa.select(done.c.run, done.c.size).join(t.runs, t.runs.c.id == done.c.run)
        wrote = wrote.where(t.runs.c.projection == projection, done.c.at >= since, done.c.outcome == Outcome.APPLIED)
        unknown = sa.select(units.c.run, t.lots.c.size).join(t.lots, t.lots.c.id == units.c.lot)
        unknown = unknown.join(t.runs, t.runs.c.id == units.c.run)
        unknown = unknown.where(t.runs.c.projection == projection, units.c.closed_at.is_(None))
        found: dict[str, int] = {}
        with self._reading() as c:
            for run, count in [*c.execute(wrote), *c.execute(unknown)]:
                found[run] = found.get(run, 0) + count
        return found


def _outcome(row: sa.Row[Any]) -> LotOutcomeRow:
    left: tuple[Key, ...] = tuple(decode_row(key) or () for key in json.loads(row.left_out))
    return LotOutcomeRow(
        lot=row.lot,
        unit=row.unit,
        outcome=Outcome(row.outcome),
        count=row.size,
        done=LotOutcome(token=row.token, left=left),
        evidence=row.evidence,
        witness=row.witness,
    )
