"""The shape of every answer: what `views` gives, described once, so that the OpenAPI document is true.

A test holds each shape against what the views give.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel

#: A row's values by column, as reports show them; sensitive ones masked.
Values = dict[str, Any]


class Shape(BaseModel):
    """Base of all shapes. What a view has besides is not sent."""


class Request(Shape):
    """Something to be run, and what came of it."""

    request: str
    projection: str
    command: str
    about: str
    keys: list[Values] | None
    reason: str
    asked_by: str
    actor: str
    merged: int
    tick: datetime | None
    requested: datetime
    not_before: datetime
    state: str
    attempts: int
    node: str
    begun: datetime | None
    ended: datetime | None
    run: str | None
    answer: str


class Status(Shape):
    """Where a projection stands."""

    projection: str
    state: str
    verdict: str
    last_run: str
    ended: datetime | None
    reason: str
    until: datetime | None
    known_drift: int
    quarantined: int
    oldest_drift: datetime | None
    #: Since when the oldest part is not verified, how old it is, what is aimed at, and by how much that is missed.
    verified: datetime | None
    age_seconds: float | None
    fresh_seconds: float | None
    late_seconds: float | None
    oldest_part: str
    #: Rules that are firing.
    alerts: list[str]
    next: datetime | None
    queued: list[Request]


class Run(Shape):
    """One run, in short."""

    run: str
    projection: str
    command: str
    state: str
    verdict: str
    drift: int
    repaired: int
    started: datetime
    seconds: float | None
    reason: str


class Drift(Shape):
    """A row that is known to be wrong."""

    kind: str
    key: Values | None
    expected: Values | None
    observed: Values | None
    columns: list[str]
    since: datetime
    last_seen: datetime
    reason: str


class Cause(Shape):
    """What rows that are wrong have in common."""

    kind: str
    sentence: str
    rows: int
    share: float
    usual: float | None


class Drifting(Shape):
    """What is known to be wrong, longest standing first."""

    drift: list[Drift]
    causes: list[Cause]


class Repaired(Shape):
    """One repair of a row that recurs."""

    run: str
    at: str
    before: Values | None
    after: Values | None


class Quarantined(Shape):
    """A row that is left out of repairs."""

    key: Values | None
    trouble: str
    reason: str
    since: datetime
    attempts: int
    repairs: list[Repaired]


class KeptOut(Quarantined):
    """The same, of several projections."""

    projection: str


class Accepted(Shape):
    """A difference that somebody accepted."""

    id: str
    projection: str
    state: str
    key: Values | None
    expected: Values | None
    observed: Values | None
    reason: str
    owner: str
    actor: str
    at: datetime
    until: datetime


class Said(Shape):
    """What a person said about a plan."""

    said: str
    actor: str
    actor_by: str
    host: str
    reason: str
    at: datetime
    expires: datetime


class Plan(Shape):
    """A plan, what was said about it, and what can be done with it."""

    plan: str
    projection: str
    plan_state: str
    rows_changed: int
    rows_deleted: int
    approvals_needed: int
    approvals: int
    beyond: str
    requester: str
    created: datetime
    expires: datetime
    hash: str
    said: list[Said]


class Change(Shape):
    """A row before and after, and what became of it."""

    kind: str
    key: Values | None
    before: Values | None
    after: Values | None
    action: str
    reason: str | None = None
    outcome: str | None = None
    evidence: str | None = None
    witness: str | None = None


class Shown(Shape):
    """A plan or a run: each row, the statements, and what became of it."""

    run: str
    projection: str
    command: str
    state: str
    verdict: str
    reason: str
    started: datetime
    rows: int
    statements: dict[str, str]
    changes: list[Change]
    guarantee: str | None = None
    proof: str | None = None
    guarantee_reasons: list[str] | None = None
    #: The plan that this run left.
    left_plan: str | None = None


class ShownPlan(Shown, Plan):
    """A plan with each of its rows."""


class Explanation(Shape):
    """What would happen, and why, before anything runs."""

    projection: str
    key: dict[str, str]
    columns: dict[str, str]
    strategy: str
    access_path: list[str]
    segments: int
    first_segments: list[str]
    settle_seconds: float
    one_database: bool
    guarantee: str
    protocol: str
    proof: str
    reasons: list[str]
    policies: dict[str, str]
    limits: dict[str, Any]


class Changed(Shape):
    """A field in which two definitions differ; null: it is not there."""

    field: str
    before: Any
    after: Any


class Definition(Shape):
    """What exactly a projection was declared as, and by which code that was carried out."""

    definition: str
    since: datetime
    runs: int
    last_run: str | None
    code: dict[str, Any]
    declared: dict[str, Any]
    #: Since the definition before.
    changed: list[Changed]


class Backfill(Shape):
    """What is to be made of the rows of a table, by a file that lies on the nodes."""

    backfill: str
    description: str
    owner: str
    database: str
    table: str
    writes: list[str]
    #: SQL that holds for the rows that are looked at; empty: all of them.
    select: str
    version: str
    file: str
    #: SHA-256 of the file when it was last looked at, and of all that was defined then.
    code: str
    definition: str
    since: datetime
    state: str
    verdict: str
    last_run: str


class Count(Shape):
    """How many rows something was done to."""

    rows: int
