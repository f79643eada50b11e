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
from trueup.core.partition import Slice, slices_from_json
from trueup.core.row import Key, Value, decode, decode_row, encode_row
from trueup.core.states import Outcome, RunState, Stage, Verdict


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
    plan: str | None
    #: The run that read everything, if this one reads what changed since.
    base: str | None
    #: How far each side's changes went when this run began to read; None: they are not declared, or not all was read.
    marks: dict[str, Value] | None
    #: Partitions that were asked for; empty: all buckets of time that were closed. None: none was left out.
    partitions: tuple[Slice, ...] | None
    strategy: str
    #: Names of the compared columns, in the order of all values in this run's rows.
    columns: tuple[str, ...]
    started_at: datetime
    ended_at: datetime | None
    verdict: Verdict | None
    reason: str
    report: dict[str, Any] | None

    @property
    def whole(self) -> bool:
        """Does it read everything?"""
        return self.keys is None and self.base is None and self.plan is None and self.partitions is None


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentRow:
    """One segment of a run."""

    id: int
    run: str
    stage: Stage
    span: plan.Segment
    suspects: list[Suspect]
    looked_at: datetime | None


@dataclass(kw_only=True, slots=True)
class Narrowed:
    """How far the narrowing of a run has come."""

    counts: Counts = field(default_factory=Counts)
    #: Segments that were compared completely.
    done: int = 0
    #: Segments there are: more when one is split while it is read.
    planned: int = 0

    def add(self, counts: Counts, *, split: bool) -> None:
        """One more segment is done; `split`: it is a part of one, and the rest is still to be done."""
        self.counts += counts
        self.done += 1
        self.planned += split


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenWork:
    """Keys that a stage has to deal with together."""

    keys: tuple[Key, ...]
    suspects: Sequence[Suspect] = ()
    looked_at: datetime | None = None


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


def utc(moment: datetime | None) -> datetime | None:
    """SQLite gives times back without their zone; they were stored in UTC."""
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC)


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
    )


def run_row(row: sa.Row[Any]) -> RunRow:
    keys = None if row.keys is None else tuple(decode_row(key) or () for key in json.loads(row.keys))
    started = utc(row.started_at)
    assert started is not None
    return RunRow(
        id=row.id,
        projection=row.projection,
        command=row.command,
        state=RunState(row.state),
        stage=Stage(row.stage),
        keys=keys,
        definition=row.definition,
        plan=row.plan,
        base=row.base,
        partitions=None if row.partitions is None else slices_from_json(json.loads(row.partitions)),
        marks=None if row.marks is None else {role: decode(mark) for role, mark in json.loads(row.marks).items()},
        strategy=row.strategy,
        columns=tuple(json.loads(row.columns)),
        started_at=started,
        ended_at=utc(row.ended_at),
        verdict=None if row.verdict is None else Verdict(row.verdict),
        reason=row.reason,
        report=None if row.report is None else json.loads(row.report),
    )


def segment_row(row: sa.Row[Any]) -> SegmentRow:
    return SegmentRow(
        id=row.id,
        run=row.run,
        stage=Stage(row.stage),
        span=plan.from_json(json.loads(row.span)),
        suspects=[_suspect(item) for item in json.loads(row.suspects or "[]")],
        looked_at=utc(row.looked_at),
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
