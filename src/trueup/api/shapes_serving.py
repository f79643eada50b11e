"""The shape of answers about a system that serves: nodes, pacing, alerts, the audit log, tokens, what was found out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trueup.api.shapes import Shape


class Trigger(Shape):
    """How a trigger stands on a node."""

    node: str
    projection: str
    trigger: str
    state: str
    since: datetime | None
    seen_at: datetime | None
    events: int
    unreadable: int
    failures: int
    error: str


class Alert(Shape):
    """A rule that is firing, or about to."""

    subject: str
    rule: str
    state: str
    since: datetime | None
    told: datetime | None
    over_since: datetime | None
    what: str
    next: str


class Undelivered(Shape):
    """A message that a destination did not accept so far."""

    message: str
    subject: str
    title: str
    destination: str
    made: datetime
    attempts: int
    state: str
    error: str


class Alerts(Shape):
    """What is firing, and what could not be sent."""

    alerts: list[Alert]
    undelivered: list[Undelivered]


class Tried(Shape):
    """A message that was sent to try a destination, and why it did not arrive."""

    destination: str
    sent: bool
    why: str


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
    #: What is set and not known here: settings of a newer version, a profile that is not declared.
    override_unknown: list[str] | None = None
    override_by: str | None = None
    override_why: str | None = None
    override_left_s: float | None = None
    age_s: float | None = None
    nodes: int | None = None
    #: Declared hours that hold now.
    windows: list[dict[str, Any]] | None = None
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


class Sealed(Shape):
    """The head that was made; null: nothing was new."""

    head: Head | None


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


class Other(Shape):
    """The next best idea of what a column is derived from."""

    derived_from: str
    wrong: int


class Guess(Shape):
    """What a column may be derived from, and what its rows say to that."""

    column: str
    derived_from: str
    verdict: str
    confidence: str
    rows: int
    wrong: int
    #: Rows that say anything about it.
    telling: int
    #: How rows were chosen, where not all were looked at.
    sample: str
    reasons: list[str]
    runner_up: Other | None


class Proposal(Guess):
    """A guess that is worth to be declared."""

    #: Of its source.
    query: str


class KeptView(Shape):
    """A materialised view against its query."""

    view: str
    rows: int
    wrong: int


class Invariant(Shape):
    """A rule that rows break, and which needs no source."""

    invariant: str
    rows: int
    wrong: int


class Discovered(Shape):
    """What seems to be derived from what in a database."""

    database: str
    verdict: str
    tables: int
    seconds: float
    proposals: list[Proposal]
    wrong_guesses: list[Guess]
    views: list[KeptView]
    invariants: list[Invariant]
    #: What was not looked at, and why.
    missed: list[str]
