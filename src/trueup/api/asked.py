"""What is sent with a request: bodies, parameters and ids. Each has a largest size, and nothing unknown is taken."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from trueup.core.declared import Positive
from trueup.core.queue import KEYS_MAX

#: No character that a terminal, a log or a database would take for something else.
_PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
#: With something to see in it.
_TOLD = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*[^\s\x00-\x1f\x7f-\x9f\u2028\u2029][^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
_NAME, _ID = r"^[A-Za-z0-9_.-]{1,63}$", r"^[A-Za-z0-9-]{1,40}$"

#: Largest integer that every database has.
BIG = 2**63 - 1

Name = Annotated[str, Path(pattern=_NAME, description="Name of a projection.")]
Database = Annotated[str, Path(pattern=_NAME, description="Name of a declared database.")]
Id = Annotated[str, Path(pattern=_ID)]
Seq = Annotated[int, Path(ge=0, le=BIG)]
Person = Annotated[str, Path(min_length=1, max_length=200, pattern=_PRINTABLE)]
Only = Annotated[str | None, Query(pattern=_NAME, description="Only of this projection.")]
Limit = Annotated[int, Query(ge=1, le=1_000, description="Listed at most.")]
RunIds = Annotated[
    list[Annotated[str, StringConstraints(pattern=_ID)]],
    Query(max_length=2, description="Two runs: what changed from the one to the other."),
]
Above = Annotated[int, Query(ge=0, le=BIG, description="Only heads of more lines than this.")]

Text = Annotated[str, StringConstraints(max_length=2_000, pattern=_PRINTABLE)]
Told = Annotated[str, StringConstraints(min_length=1, max_length=2_000, pattern=_TOLD)]
Value = (
    Annotated[str, StringConstraints(max_length=1_000, pattern=r"^[^\x00]*$")]
    | Annotated[int, Field(ge=-BIG, le=BIG)]
    | Annotated[float, Field(allow_inf_nan=False)]
    | bool
    | None
)
Key = Annotated[dict[Annotated[str, StringConstraints(max_length=200)], Value], Field(min_length=1, max_length=32)]
Keys = Annotated[list[Key], Field(min_length=1, max_length=KEYS_MAX)]
Tables = Annotated[list[Annotated[str, StringConstraints(max_length=200, pattern=_PRINTABLE)]], Field(max_length=100)]


class Body(BaseModel):
    """Base of all bodies: what is not known is refused, and nothing is taken for something else."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Why(Body):
    """A reason, kept in the record."""

    reason: Told


class Work(Body):
    """What is to be looked at, and why."""

    reason: Told
    #: Only these rows, each by the columns of its key; null: all.
    keys: Keys | None = None


class Rows(Body):
    """Rows, each by the columns of its key."""

    keys: Keys


class Accepting(Body):
    """Differences that are accepted, by whom, and until when."""

    keys: Keys
    reason: Told
    #: Who answers for it.
    owner: Told
    #: The last day on which it counts, `2027-12-31`, or a moment.
    until: Annotated[str, StringConstraints(min_length=1, max_length=40)]


class Withdrawing(Body):
    """What was accepted about these rows is drift again."""

    keys: Keys
    reason: Told


class Pacing(Body):
    """Other settings for a paced database, in place of what was set before; what is left out is as declared."""

    reason: Text = ""
    #: Only so long, seconds; null: until it is changed.
    for_s: Positive | None = None
    #: Nothing runs.
    pause: bool = False
    #: A declared profile; what else is set holds beside it.
    profile: Told | None = None
    #: By how much the others may be slowed, as a share.
    protect: Annotated[float, Field(ge=0, le=1)] | None = None
    adaptive: bool | None = None
    fixed: Positive | None = None
    least: Positive | None = None
    most: Positive | None = None
    #: How long one statement aims to take, seconds.
    statement: Positive | None = None


class Discovering(Body):
    """Where to look for what is derived from what."""

    #: Only columns of these tables; empty: of all.
    only: Tables = []
    #: Time for all of it, seconds; at most half of what a request may take.
    seconds: Positive = 15.0


class TokenFor(Body):
    """A token that is to be made."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_TOLD)]
    role: Literal["viewer", "operator", "approver", "admin"]
    #: How long it counts, `90d`, or its last day, `2027-01-01`; empty: until it is revoked.
    expires: Annotated[str, StringConstraints(max_length=40)] = ""


class Exporting(Body):
    """Which part of the audit log."""

    form: Literal["jsonl", "csv"] = "jsonl"
    #: From the newest head on that was made no later than this moment, `2026-03-01T12:00:00Z`; empty: all.
    since: Annotated[str, StringConstraints(max_length=40)] = ""
    #: Only lines of this projection; heads vouch for the whole log only.
    projection: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{0,63}$")] = ""
