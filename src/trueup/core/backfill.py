"""A backfill or one-off correction: a projection of a table onto itself. What a row should be is computed from the row.

Everything that holds for a projection holds for it: plans, approvals, limits, the ledger, rollback. What is particular
is who computes (`fixing`), and how a row is written: only as it was seen (`guarantee.Protocol.AS_SEEN`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field, model_validator

from trueup.core.declared import Declared, Duration
from trueup.core.projection import Approval, Canary, Limits, Names, Projection, Recurring
from trueup.core.schedule import Priority
from trueup.core.side import Side
from trueup.core.writers import Writers


class Skip(Declared):
    """A row that is left as it is."""

    #: Name of a key column -> its value.
    key: dict[str, Any]
    reason: str = Field(min_length=1)


class Backfill(Projection):
    """What is to be made of the rows of one table."""

    itself: ClassVar[bool] = True

    #: Columns that the function is given, or the expressions use, besides those that are written.
    reads: Names = ()
    #: Columns that are written.
    writes: Names = Field(min_length=1)
    #: SQL that holds for the rows that are to be looked at; empty: all of them.
    select: str = ""
    #: Column -> SQL that gives its new value; empty: a Python function does.
    sets: dict[str, str] = Field(default_factory=dict)
    #: What is done once is not done again under the same revision.
    revision: str = "1"
    #: SHA-256 of the file that says what is done.
    code: str = ""
    skip: tuple[Skip, ...] = ()
    #: That rows are corrected again and again says nothing of a writer.
    recurring: Recurring = Recurring(times=0)

    def leaves(self, column: str) -> bool:
        return column in self.reads


class Given(Declared):
    """What a file says of its backfill."""

    #: Default: the file's name.
    name: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]{0,63}$")
    description: str = ""
    owner: str = ""
    #: Name of a declared database. Default: the only one.
    database: str = ""
    #: With its schema where that is not the default one.
    table: str = ""
    key: Names = Field(min_length=1)
    reads: Names = ()
    writes: Names = ()
    #: SQL that holds for a row that still needs it, and no more when it was done.
    select: str = ""
    #: Raise it to do again what was done under an earlier one.
    version: str = Field(default="1", min_length=1, max_length=60, coerce_numbers_to_str=True)
    skip: tuple[Skip, ...] = ()
    limits: Limits = Limits()
    approval: Approval = Approval()
    approval_expires: Duration = Field(default=86400.0, gt=0)
    canary: Canary | None = None
    sensitive: Names = ()
    priority: Priority = "normal"
    weight: float = Field(default=1.0, gt=0, le=1000)

    @model_validator(mode="after")
    def _apart(self) -> Given:
        for name in self.key:
            if name in (*self.reads, *self.writes):
                raise ValueError(f"`key` has {name!r}: the function is given it anyway, and a key is never written")
        for skipped in self.skip:
            if set(skipped.key) != set(self.key):
                raise ValueError(f"`skip`: a key is {', '.join(self.key)}")
        return self


def backfill(given: Given, *, code: str, sets: dict[str, str] | None = None, also: Sequence[str] = ()) -> Backfill:
    """The projection that a file describes. `code`: its fingerprint; `also`: columns that its SQL uses."""
    side = Side(database=given.database, table=given.table)
    known = {*given.key, *given.writes}
    reads = tuple(dict.fromkeys(name for name in (*given.reads, *also) if name not in known))
    # What is corrected is what was selected, all of it: how much of the table that is says nothing, nor does it how
    # many rows an earlier run found.
    limits = given.limits.model_copy(update={"collapse": 0.0} | ({} if _says(given, "share") else {"share": 1.0}))
    kept = given.model_dump(
        include={"name", "description", "owner", "key", "writes", "select", "approval_expires", "sensitive", "weight"}
    )
    return Backfill(
        **kept,
        source=side,
        target=side,
        columns=(*reads, *given.writes),
        reads=reads,
        sets=sets or {},
        revision=given.version,
        code=code,
        skip=given.skip,
        limits=limits,
        approval=given.approval,
        canary=given.canary,
        priority=given.priority,
        writers=Writers.SAME_TRANSACTION,
        on_missing="report",
        on_extra="report",
    )


def _says(given: Given, limit: str) -> bool:
    return limit in given.limits.model_fields_set
