"""The ledger: what runs did, decided and found. SQLite beside the configuration by default, PostgreSQL by URL.

Each method that writes is one transaction, and each transaction leaves a state from which the next run goes on.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from trueup.core import plan
from trueup.core.compare import Counts, Suspect
from trueup.core.decide import Decision
from trueup.core.partition import slice_to_json
from trueup.core.row import Key, decode_row, encode, encode_row
from trueup.core.states import RESUMABLE, RunState, Stage, may_follow
from trueup.errors import LedgerFailed
from trueup.store import schema as t
from trueup.store.engine import connect, shown, words
from trueup.store.records import (
    DecisionRow,
    Narrowed,
    OpenWork,
    OutcomeRow,
    RunRow,
    SegmentRow,
    decision_row,
    json_or_none,
    outcome_row,
    run_row,
    segment_row,
    suspect_to_json,
)


class Ledger:
    """Opens (and, where it is not there yet, makes) the ledger at `url`."""

    def __init__(self, url: str) -> None:
        self.engine = connect(url)

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction that commits at the end. Raises LedgerFailed."""
        with self._told(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read with. Raises LedgerFailed."""
        with self._told(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            raise LedgerFailed(
                f"the ledger ({shown(self.engine)}) failed: {words(error)}. Nothing was done that it does not know of; "
                f"mend it (space, permissions, connection) and run again"
            ) from error

    def upsert(self, table: sa.Table) -> Any:
        """An INSERT that knows `on_conflict_do_update`, in the ledger's dialect."""
        dialect = importlib.import_module(f"sqlalchemy.dialects.{self.engine.dialect.name}")
        return dialect.insert(table)

    def close(self) -> None:
        self.engine.dispose()

    # --- runs ----------------------------------------------------------------------------------------------------

    def start_run(self, values: dict[str, Any], spans: Sequence[plan.Segment], stage: Stage) -> RunRow:
        """A new run with its segments of the first stage."""
        keys, marks = values.pop("keys", None), values.pop("marks", None)
        parts = values.pop("partitions", None)
        with self.begin() as c:
            c.execute(
                t.runs.insert().values(
                    **values,
                    state=RunState.RUNNING,
                    stage=stage,
                    keys=None if keys is None else json.dumps([encode_row(key) for key in keys]),
                    partitions=None if parts is None else json.dumps([slice_to_json(part) for part in parts]),
                    marks=None if marks is None else json.dumps({role: encode(mark) for role, mark in marks.items()}),
                )
            )
            for span in spans:
                self._add_segment(c, values["id"], stage, span)
        return self.run(values["id"])

    def _add_segment(
        self,
        c: sa.Connection,
        run: str,
        stage: Stage,
        span: plan.Segment,
        *,
        state: str = "open",
        counts: Counts | None = None,
        suspects: Sequence[Suspect] = (),
        at: datetime | None = None,
    ) -> int:
        result = c.execute(
            t.segments.insert().values(
                run=run,
                stage=stage,
                span=json.dumps(plan.to_json(span)),
                state=state,
                counts=None if counts is None else json.dumps(asdict(counts)),
                suspects=_suspects_or_none(suspects),
                looked_at=at,
            )
        )
        key = result.inserted_primary_key
        assert key is not None
        return int(key[0])

    def run(self, run: str) -> RunRow:
        with self.reading() as c:
            return run_row(c.execute(sa.select(t.runs).where(t.runs.c.id == run)).one())

    def unfinished(self, projection: str) -> list[RunRow]:
        """Runs that ended without an end, newest first. Only meaningful while holding the projection's lock."""
        statement = (
            sa.select(t.runs)
            .where(t.runs.c.projection == projection, t.runs.c.state.in_([str(state) for state in RESUMABLE]))
            .order_by(t.runs.c.started_at.desc())
        )
        with self.reading() as c:
            return [run_row(row) for row in c.execute(statement)]

    def last_source_rows(self, projection: str, definition: str) -> int | None:
        """Source rows at the last complete run over all keys under this definition."""
        statement = (
            sa.select(t.runs.c.source_rows)
            .where(
                t.runs.c.projection == projection,
                t.runs.c.definition == definition,
                t.runs.c.source_rows.is_not(None),
                t.runs.c.state == RunState.DONE,
            )
            .order_by(t.runs.c.ended_at.desc())
            .limit(1)
        )
        with self.reading() as c:
            return c.execute(statement).scalar()

    def set_stage(self, run: RunRow, stage: Stage, work: Sequence[OpenWork]) -> None:
        """Enter a stage, with the segments of it."""
        with self.begin() as c:
            c.execute(t.runs.update().where(t.runs.c.id == run.id).values(stage=stage))
            for item in work:
                keys = plan.Keys(keys=item.keys)
                self._add_segment(c, run.id, stage, keys, suspects=item.suspects, at=item.looked_at)

    def set_state(self, run: RunRow, state: RunState, **values: Any) -> None:
        """Move a run to another state. The transition table says which may follow."""
        with self.begin() as c:
            before = RunState(c.execute(sa.select(t.runs.c.state).where(t.runs.c.id == run.id)).scalar_one())
            if not may_follow(before, state):
                raise ValueError(f"run {run.id} is {before}; it cannot become {state}")
            c.execute(t.runs.update().where(t.runs.c.id == run.id).values(state=state, **values))

    # --- segments ------------------------------------------------------------------------------------------------

    def open_segments(self, run: str, stage: Stage) -> list[SegmentRow]:
        """Segments of a stage that are still to be done, in order."""
        with self.reading() as c:
            return [segment_row(row) for row in c.execute(_open(run, stage))]

    def commit_narrowed(
        self,
        segment: SegmentRow,
        covered: plan.Segment,
        rest: plan.Segment | None,
        counts: Counts,
        suspects: Sequence[Suspect],
        at: datetime,
    ) -> None:
        """Checkpoint: `covered` was looked at. `rest` is what remains of the segment; None: nothing."""
        with self.begin() as c:
            mine = t.segments.c.id == segment.id
            if rest is None:
                c.execute(
                    t.segments.update()
                    .where(mine)
                    .values(
                        state="done",
                        span=json.dumps(plan.to_json(covered)),
                        counts=json.dumps(asdict(counts)),
                        suspects=_suspects_or_none(suspects),
                        looked_at=at,
                    )
                )
            else:
                self._add_segment(
                    c, segment.run, segment.stage, covered, state="done", counts=counts, suspects=suspects, at=at
                )
                c.execute(t.segments.update().where(mine).values(span=json.dumps(plan.to_json(rest))))

    def split(self, segment: SegmentRow, spans: Sequence[plan.Segment]) -> None:
        """Several segments instead of an open one."""
        with self.begin() as c:
            c.execute(t.segments.delete().where(t.segments.c.id == segment.id, t.segments.c.state == "open"))
            for span in spans:
                self._add_segment(c, segment.run, segment.stage, span)

    def suspects(self, run: str) -> list[OpenWork]:
        """What the narrowing of a run found, in segments for a closer look."""
        statement = (
            sa.select(t.segments)
            .where(t.segments.c.run == run, t.segments.c.stage == Stage.NARROW, t.segments.c.suspects.is_not(None))
            .order_by(t.segments.c.id)
        )
        with self.reading() as c:
            seen = [
                (suspect, row.looked_at) for row in map(segment_row, c.execute(statement)) for suspect in row.suspects
            ]
        size = plan.KEYS_PER_SEGMENT
        parts = [seen[at : at + size] for at in range(0, len(seen), size)]
        return [
            OpenWork(
                keys=tuple(suspect.key for suspect, _ in part),
                suspects=[suspect for suspect, _ in part],
                looked_at=max(at for _, at in part if at is not None),
            )
            for part in parts
        ]

    def narrowed(self, run: str) -> Narrowed:
        """What the narrowing of a run has covered so far."""
        found = Narrowed()
        statement = sa.select(t.segments.c.counts, t.segments.c.state).where(
            t.segments.c.run == run, t.segments.c.stage == Stage.NARROW
        )
        with self.reading() as c:
            for row in c.execute(statement):
                found.planned += 1
                if row.state == "done":
                    found.done += 1
                    found.counts += Counts(**json.loads(row.counts))
        return found

    def commit_confirmed(self, segment: SegmentRow, decisions: Sequence[Decision], tallies: dict[str, int]) -> None:
        """Checkpoint, and *intend*: what is to be done, with before-images, before anything is done."""
        with self.begin() as c:
            c.execute(
                t.segments.update()
                .where(t.segments.c.id == segment.id)
                .values(state="done", counts=json.dumps(tallies))
            )
            if not decisions:
                return
            c.execute(
                t.decisions.insert(),
                [
                    {
                        "run": segment.run,
                        "segment": segment.id,
                        "key": json.dumps(encode_row(item.drift.key)),
                        "kind": item.drift.kind,
                        "action": item.action,
                        "reason": item.reason,
                        "before": json_or_none(item.drift.observed),
                        "after": json_or_none(item.drift.expected),
                        "token": item.drift.token,
                        "instant": item.drift.instant,
                        "copies": None if item.drift.copies is None else json.dumps(item.drift.copies),
                    }
                    for item in decisions
                ],
            )

    def tallies(self, run: str) -> dict[str, int]:
        """Sum of what confirming tallied: resolved, in_flight."""
        total: dict[str, int] = {}
        with self.reading() as c:
            for text in c.execute(
                sa.select(t.segments.c.counts).where(
                    t.segments.c.run == run, t.segments.c.stage == Stage.CONFIRM, t.segments.c.counts.is_not(None)
                )
            ).scalars():
                for name, count in json.loads(text).items():
                    total[name] = total.get(name, 0) + count
        return total

    def close_segment(self, segment: int, tallies: dict[str, int]) -> None:
        with self.begin() as c:
            c.execute(
                t.segments.update().where(t.segments.c.id == segment).values(state="done", counts=json.dumps(tallies))
            )

    # --- decisions, units, outcomes --------------------------------------------------------------------------------

    def decisions(self, run: str) -> list[DecisionRow]:
        statement = sa.select(t.decisions).where(t.decisions.c.run == run).order_by(t.decisions.c.id)
        with self.reading() as c:
            return [decision_row(row) for row in c.execute(statement)]

    def open_unit(self, unit: str, run: str, segment: int, keys: Sequence[Key], at: datetime) -> None:
        with self.begin() as c:
            c.execute(
                t.units.insert().values(
                    id=unit, run=run, segment=segment, keys=json.dumps([encode_row(key) for key in keys]), opened_at=at
                )
            )

    def close_unit(self, unit: str, run: str, outcomes: Sequence[OutcomeRow], at: datetime) -> None:
        """Record what a unit did. Closing a closed unit changes nothing."""
        with self.begin() as c:
            open_unit = (t.units.c.id == unit) & t.units.c.closed_at.is_(None)
            if c.execute(t.units.update().where(open_unit).values(closed_at=at)).rowcount != 1 or not outcomes:
                return
            c.execute(
                t.outcomes.insert(),
                [
                    {
                        "unit": unit,
                        "run": run,
                        "key": json.dumps(encode_row(item.key)),
                        "outcome": item.outcome,
                        "action": item.action,
                        "before": json_or_none(item.before),
                        "after": json_or_none(item.after),
                        "token": item.token,
                        "evidence": item.evidence,
                        "witness": item.witness,
                        "at": at,
                    }
                    for item in outcomes
                ],
            )

    def open_units(self, projection: str) -> list[tuple[str, str, int, list[Key]]]:
        """Units of unknown outcome: (unit, run, segment, keys)."""
        statement = (
            sa.select(t.units)
            .join(t.runs, t.runs.c.id == t.units.c.run)
            .where(t.runs.c.projection == projection, t.units.c.closed_at.is_(None))
        )
        with self.reading() as c:
            return [
                (row.id, row.run, row.segment, [decode_row(key) or () for key in json.loads(row.keys)])
                for row in c.execute(statement)
            ]

    def outcomes(self, run: str) -> list[OutcomeRow]:
        with self.reading() as c:
            rows = c.execute(sa.select(t.outcomes).where(t.outcomes.c.run == run).order_by(t.outcomes.c.id)).all()
        return [outcome_row(row) for row in rows]


def _suspects_or_none(suspects: Sequence[Suspect]) -> str | None:
    return json.dumps([suspect_to_json(suspect) for suspect in suspects]) if suspects else None


def _open(run: str, stage: Stage) -> sa.Select[Any]:
    mine = (t.segments.c.run == run) & (t.segments.c.stage == stage)
    return sa.select(t.segments).where(mine, t.segments.c.state == "open").order_by(t.segments.c.id)
