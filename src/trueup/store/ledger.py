"""The ledger: what runs did, decided and found. SQLite beside the configuration by default, PostgreSQL by URL.

Each method that writes is one transaction, and each transaction leaves a state from which the next run goes on.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.clock import Clock, SystemClock
from trueup.core import plan
from trueup.core.compare import Counts, Suspect
from trueup.core.decide import Action, Decision
from trueup.core.lot import Lot
from trueup.core.partition import slice_to_json
from trueup.core.row import Key, decode_row, decode_rows, encode, encode_rows
from trueup.core.states import RESUMABLE, TRANSITIONS, RunState, Stage, may_follow
from trueup.errors import NotThere, TakenOver
from trueup.store import schema as t
from trueup.store.audit import AuditLog
from trueup.store.inputs import put_unchanged
from trueup.store.lots import Lots
from trueup.store.records import (
    DecisionRow,
    Narrowed,
    OpenWork,
    OutcomeRow,
    RunRow,
    SegmentRow,
    decision_row,
    decision_values,
    in_lanes,
    outcome_row,
    outcome_values,
    run_row,
    segment_row,
    suspect_to_json,
)
from trueup.store.tallies import tally
from trueup.store.transactions import Transactions
from trueup.who import Actor, account

#: Outcomes of rows that were written, or cannot be shown not to have been.
WRITTEN = ("applied", "converged", "called")
#: What the audit log tells of each row.
INTENDED = ("key", "kind", "action", "reason", "before", "after", "token")
HAPPENED = ("key", "outcome", "action", "before", "after", "token", "evidence", "witness")


class Ledger(Transactions):
    """Opens (and, where it is not there yet, makes) the ledger at `url`."""

    def __init__(
        self, url: str, *, actor: Callable[[], Actor] = account, clock: Clock | None = None, origin: str = ""
    ) -> None:
        super().__init__(url)
        #: Where every act is told; `actor` says who acts where nobody else is named.
        self.audit = AuditLog(actor=actor, now=(clock or SystemClock()).now)
        #: Many decisions in one row.
        self.lots = Lots(self.begin, self.reading, self.audit)
        if origin:
            with self.begin() as c:
                self.audit.call(c, origin)

    def upsert(self, table: sa.Table) -> Any:
        """An INSERT that knows `on_conflict_do_update`, in the ledger's dialect."""
        dialect = importlib.import_module(f"sqlalchemy.dialects.{self.engine.dialect.name}")
        return dialect.insert(table)

    def close(self) -> None:
        self.engine.dispose()

    # --- runs ----------------------------------------------------------------------------------------------------

    def start_run(
        self, values: dict[str, Any], spans: Sequence[plan.Segment], stage: Stage, work: Sequence[OpenWork] = ()
    ) -> RunRow:
        """A new run with its segments of the first stage, `work` after them. `told`: facts for its first audit line.

        Raises NotThere if the run that it undoes was forgotten meanwhile.
        """
        keys, marks = values.pop("keys", None), values.pop("marks", None)
        parts, facts = values.pop("partitions", None), values.pop("told", {})
        with self.begin() as c:
            if undone := values.get("undoes"):
                _keep(c, undone)
            told = self.audit.began(c, values, {**facts, "keys": "all" if keys is None else str(len(keys))})
            c.execute(
                t.runs.insert().values(
                    **values,
                    audit=told,
                    state=RunState.RUNNING,
                    stage=stage,
                    adds_to=values["projection"] if values.get("base") or parts else None,
                    keys=None if keys is None else json.dumps(encode_rows(keys)),
                    partitions=None if parts is None else json.dumps([slice_to_json(part) for part in parts]),
                    marks=None if marks is None else json.dumps({role: encode(mark) for role, mark in marks.items()}),
                )
            )
            self._add_work(c, values["id"], stage, [*(OpenWork(span=span) for span in spans), *work])
        return self.run(values["id"])

    def _add_work(self, c: sa.Connection, run: str, stage: Stage, work: Sequence[OpenWork]) -> None:
        rows = [
            {
                "run": run,
                "stage": stage,
                "span": json.dumps(plan.to_json(item.span)),
                "state": "open" if item.counted is None else "done",
                "counts": None if item.counted is None else json.dumps(asdict(item.counted)),
                "suspects": _suspects_or_none(item.suspects),
                "looked_at": item.looked_at,
                "lots_of": item.lots_of,
            }
            for item in work
        ]
        if rows:
            c.execute(t.segments.insert(), rows)

    def run(self, run: str) -> RunRow:
        with self.reading() as c:
            return run_row(c.execute(sa.select(t.runs).where(t.runs.c.id == run)).one())

    def unfinished(self, projection: str, lanes: Sequence[str] | None = None) -> list[RunRow]:
        """Runs (of these lanes) that ended without an end, newest first. Only meaningful while holding the lanes."""
        statement = (
            sa.select(t.runs)
            .where(t.runs.c.projection == projection, t.runs.c.state.in_([str(state) for state in RESUMABLE]))
            .where(in_lanes(lanes))
        )
        with self.reading() as c:  # put in order here: in the database that would mean a look at all runs
            return sorted(map(run_row, c.execute(statement)), key=lambda run: run.started_at, reverse=True)

    def keys_of(self, run: str, stage: Stage) -> list[Key]:
        """Keys of all segments of a stage, done or not, in order."""
        mine = (t.segments.c.run == run) & (t.segments.c.stage == stage)
        with self.reading() as c:
            rows = c.execute(sa.select(t.segments.c.span).where(mine).order_by(t.segments.c.id)).scalars()
            spans = [plan.from_json(json.loads(span)) for span in rows]
        return [key for span in spans if isinstance(span, plan.Keys) for key in span.keys]

    def set_stage(self, run: RunRow, stage: Stage, work: Sequence[OpenWork]) -> None:
        """Enter a stage, with the segments of it."""
        with self.begin() as c:
            c.execute(t.runs.update().where(t.runs.c.id == run.id).values(stage=stage))
            self._add_work(c, run.id, stage, work)

    def set_state(self, run: RunRow, state: RunState, **values: Any) -> None:
        """Move a run to another state. The transition table says which may follow.

        Raises TakenOver if the run has ended meanwhile: another process has gone on with it.
        """
        with self.begin() as c:
            before = RunState(c.execute(sa.select(t.runs.c.state).where(t.runs.c.id == run.id)).scalar_one())
            if not may_follow(before, state):
                why = f"run {run.id} is {before}; it cannot become {state}"
                if TRANSITIONS[before]:
                    raise ValueError(why)
                raise TakenOver(f"{run.projection}: another process has taken over and ended it: {why}")
            facts = {name: values[name] for name in ("verdict", "reason") if values.get(name)}
            facts |= {"plan": run.plan} if run.plan else {}
            self.audit.stage(c, "run.resumed" if state is RunState.RUNNING else f"run.{state}", facts, run=run.id)
            c.execute(t.runs.update().where(t.runs.c.id == run.id).values(state=state, **values))
            tally(c, self.upsert, run, state, values)
            if run.plan is not None and state is RunState.DONE:  # in one transaction: a plan is not applied twice
                c.execute(t.plans.update().where(t.plans.c.id == run.plan).values(state="applied"))

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
        lots: Sequence[tuple[Lot, Action]] = (),
        unchanged: bytes = b"",
    ) -> None:
        """Checkpoint: `covered` was looked at, and `lots` are decided. `rest` remains of the segment; None: nothing."""
        with self.begin() as c:
            mine = t.segments.c.id == segment.id
            self.lots.put(c, segment.run, segment.id, lots)
            put_unchanged(c, segment.run, covered, unchanged)
            if rest is None:
                c.execute(
                    t.segments.update()
                    .where(mine)
                    .values(
                        state="done",
                        **({} if covered == segment.span else {"span": json.dumps(plan.to_json(covered))}),
                        counts=json.dumps(asdict(counts)),
                        suspects=_suspects_or_none(suspects),
                        looked_at=at,
                    )
                )
            else:
                piece = OpenWork(span=covered, suspects=suspects, looked_at=at, counted=counts)
                self._add_work(c, segment.run, segment.stage, [piece])
                c.execute(t.segments.update().where(mine).values(span=json.dumps(plan.to_json(rest))))

    def span_of(self, segment: int) -> plan.Segment:
        with self.reading() as c:
            return plan.from_json(
                json.loads(c.execute(sa.select(t.segments.c.span).where(t.segments.c.id == segment)).scalar_one())
            )

    def split(self, segment: SegmentRow, spans: Sequence[plan.Segment]) -> None:
        """Several segments instead of an open one."""
        with self.begin() as c:
            c.execute(t.segments.delete().where(t.segments.c.id == segment.id, t.segments.c.state == "open"))
            self._add_work(c, segment.run, segment.stage, [OpenWork(span=span) for span in spans])

    def set_aside(self, segment: SegmentRow, reason: str) -> None:
        """This segment cannot be compared; the run goes on without it, and says so."""
        with self.begin() as c:
            c.execute(t.segments.update().where(t.segments.c.id == segment.id).values(state="aside", reason=reason))

    def suspects(self, run: str, proof_since: datetime | None = None) -> list[OpenWork]:
        """What the narrowing of a run found, in segments for a closer look; before `proof_since` no look is proof."""
        statement = (
            sa.select(t.segments)
            .where(t.segments.c.run == run, t.segments.c.stage == Stage.NARROW, t.segments.c.suspects.is_not(None))
            .order_by(t.segments.c.id)
        )

        def young(at: datetime | None) -> bool:
            return proof_since is None or at is None or at >= proof_since

        with self.reading() as c:
            seen = [
                (replace(suspect, instant=suspect.instant and young(row.looked_at)), row.looked_at)
                for row in map(segment_row, c.execute(statement))
                for suspect in row.suspects
            ]
        size = plan.KEYS_PER_SEGMENT
        parts = [seen[at : at + size] for at in range(0, len(seen), size)]
        return [
            OpenWork(
                span=plan.Keys(keys=tuple(suspect.key for suspect, _ in part)),
                suspects=[suspect for suspect, _ in part],
                looked_at=max(at for _, at in part if at is not None),
            )
            for part in parts
        ]

    def narrowed(self, run: str) -> Narrowed:
        """What the narrowing of a run has covered so far."""
        found = Narrowed()
        c_ = t.segments.c
        statement = sa.select(c_.counts, c_.state, c_.reason, c_.span).where(c_.run == run, c_.stage == Stage.NARROW)
        with self.reading() as c:
            for row in c.execute(statement):
                found.planned += 1
                if row.state == "done":
                    found.done += 1
                    found.counts += Counts(**json.loads(row.counts))
                if row.state == "aside":
                    found.aside.append((plan.from_json(json.loads(row.span)), row.reason or ""))
        found.in_lots = sum(lot.count for lot in self.lots.of(run))
        return found

    def commit_confirmed(
        self,
        segment: SegmentRow,
        decisions: Sequence[Decision],
        tallies: dict[str, int],
        lots: Sequence[tuple[Lot, Action]] = (),
    ) -> None:
        """Checkpoint, and *intend*: what is to be done, with before-images, before anything is done."""
        with self.begin() as c:
            self.lots.put(c, segment.run, segment.id, lots)
            mine = t.segments.update().where(t.segments.c.id == segment.id)
            c.execute(mine.values(state="done", counts=json.dumps(tallies)))
            if not decisions:
                return
            rows = [decision_values(segment.run, segment.id, item) for item in decisions]
            told = self.audit.put(c, self.audit.rows(c, "rows.intended", segment.run, rows, INTENDED))
            c.execute(t.decisions.insert(), rows)
            c.execute(mine.values(audit=told))

    def close_segment(self, segment: int, tallies: dict[str, int]) -> None:
        with self.begin() as c:
            c.execute(
                t.segments.update().where(t.segments.c.id == segment).values(state="done", counts=json.dumps(tallies))
            )

    # --- decisions, units, outcomes --------------------------------------------------------------------------------

    def decisions(self, run: str) -> Iterator[DecisionRow]:
        """All that a run decided, row by row."""
        yield from self.decision_rows(run)
        yield from self.lots.decisions(run)

    def decision_rows(self, run: str) -> list[DecisionRow]:
        """What a run decided, but for lots."""
        statement = sa.select(t.decisions).where(t.decisions.c.run == run).order_by(t.decisions.c.id)
        with self.reading() as c:
            return [decision_row(row) for row in c.execute(statement)]

    def open_unit(
        self, unit: str, run: str, segment: int, keys: Sequence[Key], at: datetime, *, lot: int | None = None
    ) -> None:
        values = {"id": unit, "run": run, "segment": segment, "opened_at": at, "lot": lot}
        with self.begin() as c:
            c.execute(t.units.insert().values(**values, keys=json.dumps(encode_rows(keys))))

    def close_unit(self, unit: str, run: str, outcomes: Sequence[OutcomeRow], at: datetime, token: int = 0) -> None:
        """Record what a unit did, with its fencing token. Closing a closed unit changes nothing."""
        rows = [outcome_values(run, unit, item, at) for item in outcomes]
        open_unit = (t.units.c.id == unit) & t.units.c.closed_at.is_(None)
        with self.begin() as c:
            facts = {"unit": unit, "token": str(token)}
            told = self.audit.rows(c, "rows.outcome", run, rows, HAPPENED, facts) if rows else None
            closing = t.units.update().where(open_unit).values(closed_at=at, audit=told and told.sha256)
            if c.execute(closing).rowcount == 1 and told is not None:
                self.audit.put(c, told)
                c.execute(t.outcomes.insert(), rows)

    def open_units(self, projection: str, lanes: Sequence[str] | None = None) -> list[tuple[str, str, int, list[Key]]]:
        """Units of unknown outcome: (unit, run, segment, keys), of runs in `lanes`. Of lots: `lots.open_units`."""
        mine = (t.runs.c.projection == projection) & in_lanes(lanes)
        statement = sa.select(t.units).join(t.runs, t.runs.c.id == t.units.c.run)
        statement = statement.where(mine, t.units.c.closed_at.is_(None), t.units.c.lot.is_(None))
        with self.reading() as c:
            return [
                (row.id, row.run, row.segment, list(decode_rows(json.loads(row.keys)))) for row in c.execute(statement)
            ]

    def unsettled(self, projection: str, lanes: Sequence[str] | None = None) -> bool:
        """Are there units of unknown outcome, of rows or of lots?"""
        return bool(self.open_units(projection, lanes) or self.lots.open_units(projection, lanes))

    def written(self, projection: str, since: datetime) -> set[tuple[str, Key]]:
        """(run, key) of each row that was written since then, or may have been: of units whose outcome is unknown.

        Rows in lots are counted by `lots.written`.
        """
        mine = t.runs.c.projection == projection
        wrote = sa.select(t.outcomes.c.run, t.outcomes.c.key).join(t.runs, t.runs.c.id == t.outcomes.c.run)
        wrote = wrote.where(mine, t.outcomes.c.at >= since, t.outcomes.c.outcome.in_(WRITTEN))
        with self.reading() as c:
            done = {(row.run, decode_row(json.loads(row.key)) or ()) for row in c.execute(wrote)}
        return done | {(run, key) for _, run, _, keys in self.open_units(projection) for key in keys}

    def outcomes(self, run: str, keys: Collection[Key] | None = None) -> Iterator[OutcomeRow]:
        """All that a run's units did (to these rows), row by row; the last word on a row comes last."""
        yield from self.lots.outcomes(run, keys)
        yield from (row for row in self.outcome_rows(run) if keys is None or row.key in keys)

    def outcome_rows(self, run: str, segment: int | None = None) -> list[OutcomeRow]:
        """What a run's units (of one segment) did, but for what they did to lots."""
        statement = sa.select(t.outcomes).where(t.outcomes.c.run == run).order_by(t.outcomes.c.id)
        if segment is not None:
            units = sa.select(t.units.c.id).where(t.units.c.segment == segment)
            statement = statement.where(t.outcomes.c.unit.in_(units))
        with self.reading() as c:
            return [outcome_row(row) for row in c.execute(statement)]


def _suspects_or_none(suspects: Sequence[Suspect]) -> str | None:
    return json.dumps([suspect_to_json(suspect) for suspect in suspects]) if suspects else None


def _open(run: str, stage: Stage) -> sa.Select[Any]:
    mine = (t.segments.c.run == run) & (t.segments.c.stage == stage)
    return sa.select(t.segments).where(mine, t.segments.c.state == "open").order_by(t.segments.c.id)


def _keep(c: sa.Connection, run: str) -> None:
    """Let nobody forget a run before a transaction ends."""
    if c.execute(sa.select(t.runs.c.id).where(t.runs.c.id == run).with_for_update(read=True)).first() is None:
        raise NotThere(f"there is no run {run!r} in the ledger any more; `trueup runs` lists them")
