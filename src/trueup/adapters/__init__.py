"""The databases being reconciled: one file is one URL scheme, found by name and imported on demand.

Adapters do not know each other, and nothing outside imports one by name: what a database can do is told by
`Capabilities`, never asked by its name.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trueup.core.binding import Binding, BoundSide, Shape
from trueup.core.compare import Counts, Suspect
from trueup.core.decide import Action
from trueup.core.digest import Digests, Hashing, Prints, RowHash
from trueup.core.guarantee import Protocol as RepairProtocol
from trueup.core.guarantee import Writing
from trueup.core.plan import Part, Segment
from trueup.core.projection import Database, Side
from trueup.core.row import Batch, Key, Value, Values
from trueup.core.states import Outcome
from trueup.errors import ConfigError

#: Rows in one read batch of a stream; with two sides and a few columns this is a few megabytes.
BATCH_ROWS = 10_000
#: Most differences one comparison inside a database hands out; the counts are complete whatever their number.
DIFFERENCES_MAX = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a database can do, as far as the engine needs to know."""

    #: Name of its SQL as SQLGlot knows it.
    dialect: str
    writing: Writing
    #: Key ranges of one database that are worth reading at a time.
    readers: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundTable:
    """A table as a schema lists it."""

    #: With its schema where that is not the default one.
    name: str
    columns: tuple[str, ...]
    #: Primary key columns.
    key: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What the database says about ways to read the keys, before any is taken."""

    #: Ascending candidate cut points; may be empty.
    cuts: list[Key]
    #: Work of each interval between them, ends included, in units of this database.
    work: list[float]
    #: Work of one pass over everything, same units.
    whole: float
    #: Work that makes one segment of a sensible size, same units.
    per_segment: float
    #: Can a key range be read without reading everything?
    seekable: bool
    #: Access path in words, for `explain`.
    reason: str


class Stream(Protocol):
    """One side's rows in key order, with a proof that the end was reached."""

    #: True only after the database itself said that there is no more.
    ended: bool

    def __iter__(self) -> Iterator[Batch]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """A segment compared inside the database."""

    counts: Counts
    #: At most DIFFERENCES_MAX.
    suspects: list[Suspect]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """What one repair transaction is to do: at most KEYS_PER_SEGMENT rows."""

    #: Unique for ever: primary key of the marker that the transaction leaves in the target.
    id: str
    #: Fence row to hold, and the token it must still have.
    fence: str
    token: int
    protocol: RepairProtocol
    drift: Sequence[Suspect]
    #: Write only what was planned: a row whose target or expected value moved since is left alone.
    as_planned: bool
    #: `drift` was read in one snapshot, by versions that change with every change of the source: a row that still has
    #: its version may be given its expected value without reading the source again.
    by_snapshot: bool = False
    #: Delete these rows whatever the policy says (an insert of ours whose source row went away meanwhile).
    withdraw: bool = False
    #: Wait for a locked row (up to the lock timeout) instead of passing it over. Only for units of one row.
    wait: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RowOutcome:
    """What one unit did to one row, as its own transaction saw it."""

    key: Key
    outcome: Outcome
    action: Action | None = None
    before: Values | None = None
    after: Values | None = None
    #: Row version after the write.
    token: str = ""
    #: Why, where the outcome does not say it all.
    evidence: str = ""
    #: The row was locked by the application: worth another try.
    busy: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """What a unit left behind in the target."""

    #: Its transaction committed.
    applied: bool
    #: Row images it wrote down in that transaction.
    outcomes: list[RowOutcome] = field(default_factory=list)


class Reader(Protocol):
    """Reading one database."""

    capabilities: Capabilities

    def describe(self, side: Side) -> Shape:
        """Columns and unique indexes of a side; reads no row."""

    def tables(self) -> list[FoundTable]:
        """Tables there are, by name; reads no row."""

    def survey(self, binding: Binding, of: Sequence[BoundSide]) -> Survey:
        """Ways to cut the keys, for reading the sides in `of` (both, if both live here) by key range."""

    def differences(self, binding: Binding, segment: Segment) -> Look | None:
        """Compare both sides inside this database; None if this segment needs rows side by side (duplicate keys)."""

    def stream(self, binding: Binding, side: BoundSide, segment: Part, *, tokens: bool) -> Stream:
        """Rows of one side; of a range or of everything in binary key order."""

    def check_partitions(self, binding: Binding, side: BoundSide) -> None:
        """Raise DesignProblem if a row's value is spelt so that no partition would have the row."""

    def partitions(self, binding: Binding, side: BoundSide) -> list[Value]:
        """What the partition column holds, NULL too: each value once, but no more than PARTITIONS_MAX + 1; where rows
        are cut by time, the least and the greatest.
        """

    def greatest(self, side: BoundSide) -> Value:
        """The greatest first key part of a side; None if there is none."""

    def close(self) -> None:
        """Give all connections back."""


class Hasher(Protocol):
    """Hashing rows inside one database."""

    def hashes(self) -> list[RowHash]:
        """Row hashes that this database can compute, the cheapest first; none where it can not."""

    def digests(self, side: BoundSide, part: Part, hashing: Hashing) -> Digests:
        """Leaves of `part` -> what their rows amount to, in one statement."""

    def prints(self, side: BoundSide, part: Part, hashing: Hashing) -> Prints:
        """The hashes of all rows of `part`, in one value."""


class Writer(Protocol):
    """Repairing one database."""

    def raise_fence(self, fence: str, *, stop: bool | None = None) -> int | None:
        """Make every open unit of this fence end, and units with an older token impossible; the new token.

        `stop` also sets or clears the kill switch. None where the database does not let us keep the marker tables.
        """

    def repair(self, binding: Binding, unit: Unit, source: Reader) -> list[RowOutcome]:
        """Carry out one unit in one transaction."""

    def statement(self, binding: Binding, action: Action) -> str:
        """The statement that carries out `action` on one row, for people; values are named, not given."""

    def claim(self, binding: Binding, unit: str) -> Marker | None:
        """Settle a unit whose outcome is unknown: it committed, or never can. None where there are no markers."""


class Adapter(Reader, Hasher, Writer, Protocol):
    """All roles; every adapter here has all of them."""


#: URL scheme -> module, where they are not the same word.
_MODULES: Mapping[str, str] = {"postgres": "postgresql", "mariadb": "mysql"}
#: Module -> what to install, when its driver is missing.
_EXTRAS: Mapping[str, str] = {"postgresql": "postgres", "file": "duckdb"}
#: Modules of this package that are no databases of a kind of their own: files, and whatever else SQLAlchemy knows.
_READERS = ("file", "generic")


def scheme_of(url: str) -> str:
    """`postgresql` for `postgresql+psycopg://…`."""
    return url.partition(":")[0].partition("+")[0].lower()


def connect(name: str, database: Database) -> Adapter:
    """The adapter for a declared database. Nothing is connected yet.

    Raises ConfigError for a scheme without an adapter or a driver that is not installed.
    """
    url = database.url.get_secret_value()
    scheme = scheme_of(url)
    module = _MODULES.get(scheme, scheme)
    if "://" not in url:
        raise ConfigError(f"databases.{name}.url: it is not of the form scheme://user@host/database")
    if not module.isidentifier() or importlib.util.find_spec(f"{__name__}.{module}") is None:
        module = "generic"
    try:
        adapter: Adapter = importlib.import_module(f"{__name__}.{module}").connect(name, database)
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get(module, module)
        raise ConfigError(
            f"databases.{name}: the driver {missing.name!r} is not installed; pip install 'trueup[{extra}]'"
        ) from missing
    return adapter


def known() -> list[str]:
    """Modules of this package that are adapters of databases."""
    import pkgutil

    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_") and name not in _READERS)
