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
    since: datetime
    last_seen: datetime
    reason: str


class Cause(Shape):
    """What rows that are wrong have in common."""

    kind: str
    sentence: str
    rows: int
    share: float


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
    guarantee: str
    protocol: str
    proof: str
    reasons: list[str]
    policies: dict[str, str]
    limits: dict[str, Any]


class Node(Shape):
    """A process that serves."""

    node: str
    host: str
    pid: int
    version: str
    started: datetime
    seen: datetime


class Pace(Shape):
    """How Trueup holds back on a database; only its name while nobody has worked on it."""

    database: str
    u: float | None = None
    statement_s: float | None = None
    told: dict[str, Any] | None = None
    override: dict[str, Any] | None = None
    override_by: str | None = None
    override_why: str | None = None
    override_left_s: float | None = None
    age_s: float | None = None
    nodes: int | None = None
    #: Runs that read on it, and in how many seconds they will have: from, to.
    runs: list[dict[str, Any]] | None = None


class Audit(Shape):
    """How the audit log stands."""

    origin: str
    lines: int
    first: int
    head: int | None
    head_at: datetime | None
    signed: bool
    unsequenced: int
    unsequenced_age_seconds: float | None


class Head(Shape):
    """What the audit log was at a size, as it is exported: a signed note."""

    size: int
    at: datetime
    note: str


class AuditCheck(Shape):
    """What a check of the audit log found."""

    origin: str
    first: int
    lines: int
    heads: int
    signed: int
    unsequenced: int
    problems: list[str]
    summary: str


class Token(Shape):
    """Who may ask for what; never the secret."""

    name: str
    role: str
    state: str
    created: datetime
    created_by: str
    expires: datetime | None
    revoked: datetime | None
    revoked_by: str


class NewToken(Shape):
    """A token, this once with its secret."""

    name: str
    role: str
    token: str


class Me(Shape):
    """Who asks, as this server knows them."""

    name: str
    role: str


class Examination(Shape):
    """What the doctor found out."""

    checks: list[dict[str, Any]]
    projections: list[dict[str, Any]]


class Count(Shape):
    """How many rows something was done to."""

    rows: int
