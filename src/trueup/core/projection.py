"""What a team declares: databases, projections, limits.

One model, two spellings: the tables of `trueup.toml`, or these classes in Python. A wrong value is refused here, before
any database is asked.
"""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from trueup.core.cut import Partition
from trueup.core.declared import Declared, Duration, Engine, Names, Share
from trueup.core.handlers import Handler, OnDifferent, OnExtra, OnMissing
from trueup.core.rules import Nulls, Tolerance
from trueup.core.schedule import Unattended
from trueup.core.side import FILES, PYTHON, Database, Side
from trueup.core.triggers import Listen
from trueup.core.writers import Events, Pending, Tombstone, Writers

__all__ = [
    "FILES",
    "PYTHON",
    "ChangeMark",
    "Changes",
    "Database",
    "Declared",
    "Duration",
    "Limits",
    "Names",
    "Partition",
    "Projection",
    "Share",
    "Side",
    "Writers",
    "absent_value",
]


def spell_tolerance(value: object) -> str:
    """A tolerance as it is written down, checked; TOML's numbers are meant as the decimals they are written as."""
    text = repr(value) if isinstance(value, float) else str(value).strip()
    if not isinstance(value, bool):
        Tolerance.parse(text)
        return text
    raise ValueError(f"{value!r} is not a tolerance; write a number '0.01', a share '1%' or a duration '1s'")


Allowance = Annotated[str, BeforeValidator(spell_tolerance)]

#: Default settle time where lag is possible, seconds.
SETTLE_S = 10.0


class Limits(Declared):
    """Blast radius of one run. Beyond it nothing is written: the run ends `refused`, and leaves a plan to approve."""

    #: Most rows one run may change.
    rows: int = Field(default=1000, ge=0)
    #: Most of the projection's rows one run may change, as a share; looked at from `share_from` drifting rows on.
    share: Share = 0.05
    #: A share says nothing about a handful of rows: below this many, only the other limits apply.
    share_from: int = Field(default=20, ge=0)
    #: Most rows one run may delete.
    deletes: int = Field(default=100, ge=0)
    #: Most rows that all runs together may change within 24 hours; None: no such limit.
    daily: int | None = Field(default=None, ge=0)
    #: The source counts as collapsed when it has fewer rows than this share of what it had at the last complete run
    #: (or, at the first, of what the target has). "0%" switches the guard off.
    collapse: Share = 0.5


#: How many people have to approve, in words.
People = Literal["none", "one", "two"]
PEOPLE: dict[str, int] = {"none": 0, "one": 1, "two": 2}


class Approval(Declared):
    """How many people have to approve a plan before it is carried out. Written as one word, it is meant for both."""

    #: Of a plan within the limits. `two`: distinct people, and not the one who asked for the plan.
    within: People = "none"
    #: Of a plan beyond the limits: somebody always has to.
    beyond: Literal["one", "two"] = "one"

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in PEOPLE:
            raise ValueError(f"{given!r} is not a number of people; write 'none', 'one' or 'two'")
        return {"within": given, "beyond": "one" if given == "none" else given}


class Canary(Declared):
    """Rows that are repaired first. The others follow when these were read again and are right.

    Written as a number or a share, it is that many rows.
    """

    #: How many.
    rows: int | None = Field(default=None, ge=1)
    #: How many, as a share of the rows that the run writes.
    share: Share | None = None
    #: How long they may settle before they are read again, seconds. Default: `settle`.
    wait: Duration | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, given: Any) -> Any:
        if isinstance(given, str) and given.strip().endswith("%"):
            return {"share": given}
        return {"rows": given} if isinstance(given, str | int) else given

    @model_validator(mode="after")
    def _one_of(self) -> Canary:
        if (self.rows is None) is (self.share is None):
            raise ValueError("give either `rows` or `share`, one of them")
        return self

    def size_of(self, rows: int) -> int:
        """How many of `rows` go first."""
        return self.rows if self.rows is not None else math.ceil(rows * Decimal(repr(self.share)))


class Recurring(Declared):
    """How often one row may need a repair before it counts as a live bug in a writer."""

    #: Repairs of one row, each by another run; 0: never.
    times: int = Field(default=3, ge=0)
    #: Within this long, seconds.
    within: Duration = Field(default=7 * 86400.0, gt=0)


class ChangeMark(Declared):
    """How changes of one side can be found: a column that grows with each change of a row."""

    column: str
    #: Another table of the same database that names the keys of changed rows (likes of a post, an outbox); default:
    #: the side itself.
    table: str | None = None
    #: Name of a key column in the projection -> name in `table`, where they differ.
    columns: dict[str, str] = Field(default_factory=dict)


class Changes(Declared):
    """What a run after the first has to read again: what the marks announce, and a rolling share of the rest."""

    #: Overlap where none is given: seconds for moments, a count for integers.
    OVERLAP_S: ClassVar[float] = 300.0
    OVERLAP_COUNT: ClassVar[int] = 10_000

    source: ChangeMark | None = None
    target: ChangeMark | None = None
    #: As long as a transaction stays open at most: it commits after later ones, with an earlier mark. For an integer
    #: column a count. Default: 5 minutes, or 10,000.
    overlap: Duration | None = None
    #: Every segment is read again within this long whatever the marks say, seconds.
    verify_within: Duration = 7 * 86400.0

    @model_validator(mode="after")
    def _one_at_least(self) -> Changes:
        if self.source is None and self.target is None:
            raise ValueError("declare `source` or `target` or both: the column that grows with each change")
        return self

    @property
    def marks(self) -> dict[str, ChangeMark]:
        """The declared marks by side."""
        sides = (("source", self.source), ("target", self.target))
        return {role: mark for role, mark in sides if mark is not None}


class Projection(Unattended):
    """The declared derived state: what the target should hold, computed from the source."""

    #: Is the source of a row the row itself? See `core.backfill`.
    itself: ClassVar[bool] = False

    #: Filled in from the table's name in the configuration.
    name: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]{0,63}$")
    description: str = ""
    owner: str = ""
    source: Side
    target: Side
    #: Columns that identify a row, in the order that the target's unique index has them.
    key: Names = Field(min_length=1)
    #: Compared columns. Default: every column both sides have, besides the key.
    columns: Names | None = None
    #: What a key without a source row means: values for compared columns. Default: the row should not exist.
    absent: dict[str, Any] | None = None
    #: Needed for everything that writes; see `Writers`.
    writers: Writers | None = None
    on_missing: OnMissing = "insert"
    #: Default: `reset` if `absent` is given, else `report`.
    on_extra: OnExtra = None
    #: Table of the source's database that issues the generations of keys (`name`, `number`), for increments that are
    #: fenced by them.
    numbers: str = ""
    #: `delta`: what a row is off by is subtracted, without reading the source while the row is locked.
    on_different: OnDifferent = "update"
    #: Column, on both sides, with the version that the source issues.
    version: str = ""
    #: How deleted rows are kept, for versioned writers.
    tombstone: Tombstone | None = None
    #: Increments that are not applied yet, for an outbox.
    pending: Pending | None = None
    #: An increment is applied at most this long after its event, seconds; with `events`.
    bound: Duration | None = Field(default=None, gt=0)
    events: Events | None = None
    #: A difference is drift only if it is the same pair of values after this long, seconds. Default: 0 where one
    #: snapshot covers both sides and the writers commit both together, else 10.
    settle: Duration | None = None
    limits: Limits = Limits()
    #: Who has to agree before something is written: `none`, `one`, `two`, or one for within and beyond the limits.
    approval: Approval = Approval()
    #: Rows that are repaired before the others. Default: none, all rows are alike.
    canary: Canary | None = None
    #: How long a plan waits for approvals, and an approval holds, seconds.
    approval_expires: Duration = Field(default=86400.0, gt=0)
    #: A row that needs repair after repair is not repaired any more: some writer breaks it.
    recurring: Recurring = Recurring()
    #: Compare every value, and trust no digest. Slower where source and target are in two databases.
    exact: bool = False
    #: How changes can be found, so that a later run need not read everything. Default: every run does.
    changes: Changes | None = None
    #: How the rows are cut into partitions. Default: by key, as the databases serve it best.
    partition: Partition = Partition()
    #: Where its segments are looked at first. Default: `trueup.engine`.
    engine: Engine | None = None
    #: How much of a paced database it gets, beside others of its class.
    weight: float = Field(default=1.0, gt=0, le=1000)
    #: Columns whose values are never shown.
    sensitive: Names = ()
    #: How far a column's value may be from the expected one: a number, a share ("1%") or a duration ("1s").
    tolerance: dict[str, Allowance] = Field(default_factory=dict)
    #: What a NULL in a column means; default: `exact`.
    nulls: dict[str, Nulls] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Projection:
        columns = self.columns or ()
        for name, names in (("key", self.key), ("columns", columns)):
            if len(set(names)) != len(names):
                raise ValueError(f"`{name}` names a column twice")
        both = set(self.key) & set(columns)
        if both:
            raise ValueError(f"column {sorted(both)[0]!r} is in `key` and in `columns`; a key is always compared")
        if self.numbers and (self.writers, self.target.type) != (Writers.INCREMENTS, "generations"):
            raise ValueError('`numbers` is about writers = "increments" and a target of type = "generations"')
        if self.numbers and (self.absent is None or self.on_extra not in (None, "reset")):
            raise ValueError("`numbers` needs `absent`: what is counted where the source has no row, as { likes = 0 }")
        if self.source.expiring:
            raise ValueError("`expiring` is about the target: rows that go away by themselves are no truth")
        if self.on_extra == "reset" and self.absent is None:
            raise ValueError('on_extra = "reset" needs `absent`: the values to reset to')
        if self.absent is not None and set(self.absent) & set(self.key):
            raise ValueError("`absent` gives values for compared columns, not for the key")
        if self.partition.verify and self.fresh is not None:
            raise ValueError(
                "`fresh` and `verify` of `partition` exclude each other: by age, a bucket is late when it was not read "
                "for two of its periods"
            )
        self._target_consistent()
        self._writers_consistent()
        self._triggers_consistent()
        return self

    def _target_consistent(self) -> None:
        if self.writers is None or not self.written or self.target.query is not None:
            return
        names: dict[str, str] = {}
        for name in dict.fromkeys((*self.key, *(self.columns or ()), *self.target.columns)):
            other = names.setdefault(self.target.physical(name), name)
            if other != name:
                raise ValueError(
                    f"`target.columns`: {other!r} and {name!r} are one column there, {self.target.physical(name)!r}, "
                    f"which cannot hold two values; name another one, or leave one of the two out"
                )

    def _triggers_consistent(self) -> None:
        for at, trigger in enumerate(self.triggers):
            where = f"`triggers` {at + 1}"
            if isinstance(trigger.keys, dict) and set(trigger.keys) != set(self.key):
                raise ValueError(f"{where}: `keys` says where {', '.join(self.key)} are, all of them and nothing else")
            if trigger.format == "text" and len(self.key) > 1:
                raise ValueError(f'{where}: format = "text" is one value, and the key has {len(self.key)} columns')
            repeats = self.schedule is not None and self.schedule.repeats
            if isinstance(trigger, Listen) and trigger.gap == "schedule" and not repeats:
                raise ValueError(f'{where}: gap = "schedule" needs a `schedule` that comes back')

    def _writers_consistent(self) -> None:
        writers = self.writers
        for name, value, whose in (
            ("version", self.version, Writers.VERSIONED),
            ("tombstone", self.tombstone, Writers.VERSIONED),
            ("pending", self.pending, Writers.OUTBOX),
            ("bound", self.bound, Writers.INCREMENTS),
            ("events", self.events, Writers.INCREMENTS),
        ):
            if value and writers is not whose:
                raise ValueError(f'`{name}` is about writers = "{whose}"')
        if self.tombstone and not self.version:
            raise ValueError("`tombstone` needs `version`: the version of the deletion is what keeps a row deleted")
        if self.version and self.absent is not None:
            raise ValueError("`absent` has no version that the source issued: leave it out where `version` is given")
        if (self.bound is None) != (self.events is None):
            raise ValueError("`bound` and `events` go together: how late an increment is at most, and since when")
        if self.pending is not None and self.absent is None:
            raise ValueError("`pending` needs `absent`: what a key means that has nothing but queued events")
        additive = writers is Writers.SAME_TRANSACTION or self.pending is not None
        if self.on_different == "delta" and not additive:
            raise ValueError(
                'on_different = "delta" needs writers that change source and target by the same amount in one '
                'transaction: writers = "same_transaction", or "outbox" with `pending`'
            )
        if self.on_different == "delta" and self.tolerance:
            raise ValueError('on_different = "delta" is exact: it goes with no `tolerance`')

    def leaves(self, column: str) -> bool:  # noqa: ARG002 - the rule
        """Is this compared column never written?"""
        return False

    @property
    def extra_policy(self) -> Literal["reset", "delete", "report"] | Handler:
        return self.on_extra or ("report" if self.absent is None else "reset")

    @property
    def policies(self) -> dict[str, str | Handler]:
        """What is done about a difference, by its kind."""
        return {"missing": self.on_missing, "extra": self.extra_policy, "different": self.on_different}

    @property
    def handlers(self) -> dict[str, Handler]:
        """Differences that are handed over instead of written, by their kind."""
        return {kind: policy for kind, policy in self.policies.items() if isinstance(policy, Handler)}

    @property
    def written(self) -> bool:
        """May a repair write to the target? Not where everything is handed over or reported."""
        policies = self.policies.values()
        return not self.handlers or any(not isinstance(p, Handler) and p != "report" for p in policies)

    @property
    def by_itself(self) -> str:
        """The command of a run that nobody asks for by hand."""
        return self.unattended or ("check" if self.writers is None and self.written else "run")

    @property
    def one_database(self) -> bool:
        return self.source.database == self.target.database != PYTHON

    @property
    def settle_s(self) -> float:
        """Seconds between two looks at a difference."""
        if self.settle is not None:
            return self.settle
        if self.bound is not None:
            return max(self.bound, SETTLE_S)
        together = self.writers in (Writers.SAME_TRANSACTION, Writers.MUTEX) or self.pending is not None
        once = self.one_database and together and self.on_different != "delta"
        return 0.0 if once else SETTLE_S


def absent_value(value: object) -> object:
    """A value of `absent` as compared: TOML's floats are meant as the decimals they are written as."""
    if isinstance(value, float):
        try:
            return Decimal(repr(value))
        except InvalidOperation:
            return value
    return value
