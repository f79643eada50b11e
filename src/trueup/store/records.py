"""Rows of the ledger as values, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from trueup.core import plan
from trueup.core.compare import Counts, DriftKind, Suspect
from trueup.core.decide import Action, Decision
from trueup.core.kinds import Kind
from trueup.core.partition import Slice, slices_from_json
from trueup.core.row import Key, Value, decode, decode_row, decode_rows, encode_row
from trueup.core.states import Outcome, RunState, Stage, Verdict
from trueup.store.schema import runs


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """One run as the ledger has it."""

    id: str
    projection: str
    command: str
    state: RunState
    stage: Stage
    keys: tuple[Key, ...] | None
    definition: str
    #: Who asked for it.
    actor: str
    plan: str | None
    #: The run that read everything, if this one reads what changed since.
    base: str | None
    #: How far each side's changes went when this run began to read; None: they are not declared, or not all was read.
    marks: dict[str, Value] | None
    #: Partitions that were asked for; empty: all buckets of time that were closed. None: none was left out.
    partitions: tuple[Slice, ...] | None
    #: The run that this one undoes.
    undoes: str | None
    #: Fingerprint of where rows are written; "": from before that was kept.
    place: str
    #: Kinds of the key parts and of the compared columns; empty: from before they were kept.
    kinds: tuple[Kind, ...]
    strategy: str
    #: Names of the compared columns, in the order of all values in this run's rows.
    columns: tuple[str, ...]
    started_at: datetime
    ended_at: datetime | None
    verdict: Verdict | None
    reason: str
    report: dict[str, Any] | None
    #: What both sides looked like when it began; None: not written down.
    shapes: dict[str, Any] | None

    @property
    def whole(self) -> bool:
        """Does it read everything?"""
        part = (self.keys, self.base, self.plan, self.partitions, self.undoes)
        return all(asked is None for asked in part)


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentRow:
    """One segment of a run."""

    id: int
    run: str
    stage: Stage
    span: plan.Segment
    suspects: list[Suspect]
    looked_at: datetime | None
    #: The segment whose lots are to be carried out; of a rollback's look, the lot that is to be put back. None: it has
    #: keys of its own.
    lots_of: int | None = None


@dataclass(kw_only=True, slots=True)
class Narrowed:
    """How far the narrowing of a run has come."""

    counts: Counts = field(default_factory=Counts)
    #: Segments that were compared completely.
    done: int = 0
    #: Segments there are: more when one is split while it is read.
    planned: int = 0
    #: Segments that cannot be compared, and why.
    aside: list[tuple[plan.Segment, str]] = field(default_factory=list)
    #: Of the rows that differ, those that are in lots.
    in_lots: int = 0

    def add(self, counts: Counts, *, split: bool) -> None:
        """One more segment is done; `split`: it is a part of one, and the rest is still to be done."""
        self.counts += counts
        self.done += 1
        self.planned += split


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenWork:
    """What a stage has to deal with together: keys, the lots of a segment, or a lot that is to be put back."""

    span: plan.Segment
    suspects: Sequence[Suspect] = ()
    looked_at: datetime | None = None
    #: The segment whose lots these are, or the lot.
    lots_of: int | None = None
    #: What was counted, where it is dealt with already.
    counted: Counts | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionRow:
    """One decided row, with its place in the ledger."""

    id: int
    segment: int
    decision: Decision


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeRow:
    """What became of one decided row."""

    key: Key
    outcome: Outcome
    action: Action | None
    before: tuple[Any, ...] | None
    after: tuple[Any, ...] | None
    token: str
    evidence: str
    witness: str


def in_lanes(lanes: Sequence[str] | None) -> sa.ColumnElement[bool]:
    """Runs of these lanes; None: of all."""
    if lanes is None:
        return sa.true()
    return sa.func.coalesce(runs.c.lane, runs.c.projection).in_(lanes)


def utc(moment: datetime | None) -> datetime | None:
    """SQLite gives times back without their zone; they were stored in UTC."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC)


def certainly_utc(moment: datetime) -> datetime:
    """The same of a moment that is always there."""
    found = utc(moment)
    assert found is not None
    return found


def json_or_none(row: Sequence[Any] | None) -> str | None:
    return None if row is None else json.dumps(encode_row(row))


def row_or_none(text: str | None) -> tuple[Any, ...] | None:
    return None if text is None else decode_row(json.loads(text))


def suspect_to_json(suspect: Suspect) -> dict[str, Any]:
    return {
        "kind": suspect.kind,
        "key": encode_row(suspect.key),
        "expected": encode_row(suspect.expected),
        "observed": encode_row(suspect.observed),
        "token": suspect.token,
        "instant": suspect.instant,
        "copies": suspect.copies,
        **({"problem": suspect.problem} if suspect.problem else {}),
    }


def _suspect(data: dict[str, Any]) -> Suspect:
    return Suspect(
        kind=DriftKind(data["kind"]),
        key=decode_row(data["key"]) or (),
        expected=decode_row(data["expected"]),
        observed=decode_row(data["observed"]),
        token=data["token"],
        instant=data["instant"],
        copies=None if data["copies"] is None else (data["copies"][0], data["copies"][1]),
        problem=data.get("problem", ""),
    )


def run_row(row: sa.Row[Any]) -> RunRow:
    keys = None if row.keys is None else decode_rows(json.loads(row.keys))
    return RunRow(
        id=row.id,
        projection=row.projection,
        command=row.command,
        state=RunState(row.state),
        stage=Stage(row.stage),
        keys=keys,
        definition=row.definition,
        actor=row.actor,
        plan=row.plan,
        base=row.base,
        partitions=None if row.partitions is None else slices_from_json(json.loads(row.partitions)),
        marks=None if row.marks is None else {role: decode(mark) for role, mark in json.loads(row.marks).items()},
        undoes=row.undoes,
        place=row.place or "",
        kinds=tuple(Kind(kind) for kind in json.loads(row.kinds or "[]")),
        strategy=row.strategy,
        columns=tuple(json.loads(row.columns)),
        started_at=certainly_utc(row.started_at),
        ended_at=utc(row.ended_at),
        verdict=None if row.verdict is None else Verdict(row.verdict),
        reason=row.reason,
        report=None if row.report is None else json.loads(row.report),
        shapes=None if row.shapes is None else json.loads(row.shapes),
    )


def segment_row(row: sa.Row[Any]) -> SegmentRow:
    return SegmentRow(
        id=row.id,
        run=row.run,
        stage=Stage(row.stage),
        span=plan.from_json(json.loads(row.span)),
        suspects=[_suspect(item) for item in json.loads(row.suspects or "[]")],
        looked_at=utc(row.looked_at),
        lots_of=row.lots_of,
    )


def decision_row(row: sa.Row[Any]) -> DecisionRow:
    copies = None if row.copies is None else json.loads(row.copies)
    drift = Suspect(
        kind=DriftKind(row.kind),
        key=row_or_none(row.key) or (),
        expected=row_or_none(row.after),
        observed=row_or_none(row.before),
        token=row.token,
        instant=row.instant,
        copies=None if copies is None else (copies[0], copies[1]),
    )
    decision = Decision(drift=drift, action=Action(row.action), reason=row.reason)
    return DecisionRow(id=row.id, segment=row.segment, decision=decision)


def outcome_row(row: sa.Row[Any]) -> OutcomeRow:
    return OutcomeRow(
        key=row_or_none(row.key) or (),
        outcome=Outcome(row.outcome),
        action=None if row.action is None else Action(row.action),
        before=row_or_none(row.before),
        after=row_or_none(row.after),
        token=row.token,
        evidence=row.evidence,
        witness=row.witness,
    )


def decision_values(run: str, segment: int, decision: Decision) -> dict[str, Any]:
    """A decision as it is inserted."""
    drift = decision.drift
    return {
        "run": run,
        "segment": segment,
        "key": json.dumps(encode_row(drift.key)),
        "kind": drift.kind,
        "action": decision.action,
        "reason": decision.reason,
        "before": json_or_none(drift.observed),
        "after": json_or_none(drift.expected),
        "token": drift.token,
        "instant": drift.instant,
        "copies": None if drift.copies is None else json.dumps(drift.copies),
    }


def outcome_values(run: str, unit: str, outcome: OutcomeRow, at: datetime) -> dict[str, Any]:
    """An outcome as it is inserted."""
    return {
        "unit": unit,
        "run": run,
        "key": json.dumps(encode_row(outcome.key)),
        "outcome": outcome.outcome,
        "action": outcome.action,
        "before": json_or_none(outcome.before),
        "after": json_or_none(outcome.after),
        "token": outcome.token,
        "evidence": outcome.evidence,
        "witness": outcome.witness,
        "at": at,
    }
