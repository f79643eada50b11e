"""What a team declares: databases, projections, limits.

One model, two spellings: the tables of `trueup.toml`, or these classes in Python. A wrong value is refused here, before
any database is asked.
"""

from __future__ import annotations

import difflib
import math
import re
import zoneinfo
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from trueup.core.rules import Nulls, Tolerance

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> float:
    """Seconds from "10s", "200ms", "5m", "6h", "1d" or a number; ValueError otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        match = _DURATION.match(str(value).strip())
        if not match:
            raise ValueError(f"{value!r} is not a duration; write it like '10s', '200ms', '5m' or '6h'")
        seconds = float(match[1]) * _UNIT_S[match[2] or "s"]
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{value!r} is not a duration: it is negative, or no number")
    return seconds


def parse_share(value: object) -> float:
    """A share between 0 and 1 from "5%" or 0.05; ValueError otherwise."""
    text = str(value).strip()
    try:
        share = float(text[:-1].rstrip() + "e-2" if text.endswith("%") else text)
    except ValueError:
        raise ValueError(f"{value!r} is not a share; write it like '5%' or 0.05") from None
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r} is not between 0% and 100%")
    return share


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def spell_tolerance(value: object) -> str:
    """A tolerance as it is written down, checked; TOML's numbers are meant as the decimals they are written as."""
    text = repr(value) if isinstance(value, float) else str(value).strip()
    if not isinstance(value, bool):
        Tolerance.parse(text)
        return text
    raise ValueError(f"{value!r} is not a tolerance; write a number '0.01', a share '1%' or a duration '1s'")


Duration = Annotated[float, BeforeValidator(parse_duration)]
Share = Annotated[float, BeforeValidator(parse_share)]
Allowance = Annotated[str, BeforeValidator(spell_tolerance)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


#: Default settle time where lag is possible, seconds.
SETTLE_S = 10.0


class Declared(BaseModel):
    """Base of all declarations: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Database(Declared):
    """A database being reconciled."""

    #: SQLAlchemy URL: `postgresql://user@host/db`, `sqlite:///file.db`. Never printed with its password.
    url: SecretStr
    #: Upper limit of one reading statement, seconds.
    statement_timeout: Duration = Field(default=300.0, gt=0)
    #: Upper limit of waiting for a lock of the application, seconds.
    lock_timeout: Duration = Field(default=0.2, gt=0)
    #: May Trueup keep its marker tables (`trueup_applied`, `trueup_fence`) in this database? Without them an outcome
    #: that a crash left open can only be called `converged`, never `applied`.
    markers: bool = True


#: Name under which the files of projections are a database.
FILES = "<files>"


class Side(Declared):
    """Where one side of a projection is read: a table or a query in one database, or files."""

    #: Name of a declared database; not given with `file`.
    database: str = ""
    #: Table, with its schema where it is not the default one.
    table: str | None = None
    #: One SELECT in the database's own dialect.
    query: str | None = None
    #: A file, or a pattern that files match (`orders/*.parquet`): Parquet, CSV or JSON.
    file: str | None = None
    #: Format of `file`, where its name does not end in one.
    format: Literal["parquet", "csv", "json"] | None = None
    #: Types of columns of a CSV or JSON file. Default: the type of the column that it is compared with.
    types: dict[str, str] = {}
    #: What is between two columns of a CSV file. Default: a comma, in `.tsv` a tab.
    delimiter: str = Field(default="", max_length=4)
    #: How a CSV file writes NULL, not quoted. Default: as nothing.
    null: str = ""
    #: Name used in the projection -> name in this database, where they differ.
    columns: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _in_files(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("file") is not None and "database" not in given:
            return {**given, "database": FILES}
        return given

    @model_validator(mode="after")
    def _one_of(self) -> Side:
        if sum(given is not None for given in (self.table, self.query, self.file)) != 1:
            raise ValueError("give either `table`, `query` or `file`, one of them")
        if self.file is not None:
            if self.database != FILES:
                raise ValueError("a `file` is in no database: leave `database` out")
            return self
        if not self.database:
            raise ValueError("`database` is missing: the name of a declared database")
        for name in ("format", "types", "delimiter", "null"):
            if getattr(self, name):
                raise ValueError(f"`{name}` is about a `file`")
        return self

    @property
    def origin(self) -> Literal["table", "query", "file"]:
        """Which of the three it is."""
        return "file" if self.file is not None else "table" if self.query is None else "query"

    def physical(self, name: str) -> str:
        """What this database calls the projection's column `name`."""
        return self.columns.get(name, name)


class Writers(StrEnum):
    """How the application keeps the projection up to date; decides which repair is safe (`core.guarantee`)."""

    #: The source change and the projection change commit together, and the writer touches the projection's row.
    SAME_TRANSACTION = "same_transaction"
    #: As above, but the row serves as a mutex: it is locked, and not always changed.
    MUTEX = "mutex"
    #: The source change commits with an outbox row; a worker applies increments later.
    OUTBOX = "outbox"
    #: Absolute values with a version that the source issues; a store applies them only if newer.
    VERSIONED = "versioned"
    #: Absolute values without a version: a pipeline, a change-data-capture upsert, a cache fill.
    ABSOLUTE = "absolute"
    #: The source is committed first, an absolute value is written to the projection afterwards.
    DUAL_WRITE = "dual_write"
    #: Increments are sent to the projection in a transaction of their own.
    INCREMENTS = "increments"


class Limits(Declared):
    """Blast radius of one run. Beyond it nothing is written and the run ends `refused`."""

    #: Most rows one run may change.
    rows: int = Field(default=1000, ge=0)
    #: Most of the projection's rows one run may change, as a share; looked at from `share_from` drifting rows on.
    share: Share = 0.05
    #: A share says nothing about a handful of rows: below this many, only the other limits apply.
    share_from: int = Field(default=20, ge=0)
    #: Most rows one run may delete.
    deletes: int = Field(default=100, ge=0)
    #: The source counts as collapsed when it has fewer rows than this share of what it had at the last complete run
    #: (or, at the first, of what the target has). "0%" switches the guard off.
    collapse: Share = 0.5


class ChangeMark(Declared):
    """How changes of one side can be found: a column that grows with each change of a row."""

    column: str
    #: Another table of the same database that names the keys of changed rows (likes of a post, an outbox); default:
    #: the side itself.
    table: str | None = None
    #: Name of a key column in the projection -> name in `table`, where they differ.
    columns: dict[str, str] = {}


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


class Partition(Declared):
    """The declared cut of the rows into partitions, which are compared one by one and can be asked for by name."""

    by: Literal["key", "column", "time"] = "key"
    #: Column that both sides have: a tenant, a region; for `time` a date or timestamp.
    column: str = ""
    #: How long a partition of time is: an hour, or a calendar day, week (from Monday) or month of the zone.
    bucket: Literal["1h", "1d", "1w", "1mo"] | None = None
    #: Zone in which buckets begin, by its name in the time zone database.
    zone: str = "UTC"
    #: Only buckets that ended within this long are looked at, seconds. Default: all.
    window: Duration | None = None
    #: A bucket is compared only this long after its end, seconds: until then rows may still arrive.
    lateness: Duration = 0.0

    @model_validator(mode="after")
    def _fitting(self) -> Partition:
        if self.by == "key" and self.column:
            raise ValueError('by = "key" has no `column`; write by = "column", or by = "time"')
        if self.by != "key" and not self.column:
            raise ValueError(f'by = "{self.by}" needs `column`: the column that says where a row belongs')
        if self.by == "time" and self.bucket is None:
            raise ValueError('by = "time" needs `bucket`: "1h", "1d", "1w" or "1mo"')
        of_time = {"bucket", "zone", "window", "lateness"} & self.model_fields_set
        if self.by != "time" and of_time:
            raise ValueError(f'`{min(of_time)}` is about by = "time"')
        if not _is_zone(self.zone):
            near = difflib.get_close_matches(self.zone, zoneinfo.available_timezones(), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "names look like 'Europe/Berlin'"
            raise ValueError(f"`zone`: there is no time zone {self.zone!r}; {hint}")
        return self


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


class Projection(Declared):
    """The declared derived state: what the target should hold, computed from the source."""

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
    on_missing: Literal["insert", "report"] = "insert"
    #: Default: `reset` if `absent` is given, else `report`.
    on_extra: Literal["reset", "delete", "report"] | None = None
    on_different: Literal["update", "report"] = "update"
    #: A difference is drift only if it is the same pair of values after this long, seconds. Default: 0 where one
    #: snapshot covers both sides and the writers commit both together, else 10.
    settle: Duration | None = None
    limits: Limits = Limits()
    #: Compare every value, and trust no digest. Slower where source and target are in two databases.
    exact: bool = False
    #: How changes can be found, so that a later run need not read everything. Default: every run does.
    changes: Changes | None = None
    #: How the rows are cut into partitions. Default: by key, as the databases serve it best.
    partition: Partition = Partition()
    #: Columns whose values are never shown.
    sensitive: Names = ()
    #: How far a column's value may be from the expected one: a number, a share ("1%") or a duration ("1s").
    tolerance: dict[str, Allowance] = {}
    #: What a NULL in a column means; default: `exact`.
    nulls: dict[str, Nulls] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Projection:
        columns = self.columns or ()
        for name, names in (("key", self.key), ("columns", columns)):
            if len(set(names)) != len(names):
                raise ValueError(f"`{name}` names a column twice")
        both = set(self.key) & set(columns)
        if both:
            raise ValueError(f"column {sorted(both)[0]!r} is in `key` and in `columns`; a key is always compared")
        if self.on_extra == "reset" and self.absent is None:
            raise ValueError('on_extra = "reset" needs `absent`: the values to reset to')
        if self.absent is not None and set(self.absent) & set(self.key):
            raise ValueError("`absent` gives values for compared columns, not for the key")
        return self

    @property
    def extra_policy(self) -> Literal["reset", "delete", "report"]:
        return self.on_extra or ("report" if self.absent is None else "reset")

    @property
    def one_database(self) -> bool:
        return self.source.database == self.target.database

    @property
    def settle_s(self) -> float:
        """Seconds between two looks at a difference."""
        if self.settle is not None:
            return self.settle
        together = self.writers in (Writers.SAME_TRANSACTION, Writers.MUTEX)
        return 0.0 if self.one_database and together else SETTLE_S


def absent_value(value: object) -> object:
    """A value of `absent` as compared: TOML's floats are meant as the decimals they are written as."""
    if isinstance(value, float):
        try:
            return Decimal(repr(value))
        except InvalidOperation:
            return value
    return value
