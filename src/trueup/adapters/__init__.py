"""The databases being reconciled: one file is one URL scheme, found by name and imported on demand.

Adapters do not know each other, and nothing outside imports one by name: what a database can do is told by
`Capabilities`, never asked by its name.
"""

# tripwire: all that an adapter may be asked, in one place

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from trueup.adapters._copies import Sandboxed
from trueup.core.digest import SLICES
from trueup.errors import ConfigError

if TYPE_CHECKING:
    from trueup.adapters._discoverer import Discoverer
    from trueup.core.binding import Binding, BoundSide, Column, Shape
    from trueup.core.compare import Counts, Suspect
    from trueup.core.decide import Action
    from trueup.core.digest import Digests, Hashing, Prints, RowHash
    from trueup.core.findings import Finding, Race
    from trueup.core.guarantee import Protocol as RepairProtocol
    from trueup.core.guarantee import Writing
    from trueup.core.lot import Lot, LotOutcome
    from trueup.core.pace.pressure import Mark
    from trueup.core.partition import Slice
    from trueup.core.plan import Part, Range, Ranges, Segment
    from trueup.core.projection import Database, Side
    from trueup.core.quiet import Happened
    from trueup.core.row import Batch, Key, Value, Values
    from trueup.core.states import Outcome

#: Rows in one read batch of a stream; with two sides and a few columns this is a few megabytes.
BATCH_ROWS = 10_000
#: Most differences one comparison inside a database hands out; the counts are complete whatever their number.
DIFFERENCES_MAX = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a database can do, as far as the engine needs to know."""

    #: Name of its SQL as SQLGlot knows it; empty where it has none.
    dialect: str
    writing: Writing
    #: What a side in it can be, of `core.side.PLACES`.
    places: tuple[str, ...] = ("table", "query")
    #: Key ranges of one database that are worth reading at a time.
    readers: int = 1
    #: Ranges of a key that one statement digests at little more than the price of a few.
    slices: int = SLICES
    #: Segments that one statement digests as they are wanted, at most; more than one where beginning it is dear.
    together: int = 1
    #: It is a file of this machine, which others do not see.
    embedded: bool = False


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
    #: Differences that are kept together; none of them is among `suspects`.
    lots: list[Lot] = field(default_factory=list)
    #: Hashes of rows that a backfill's function leaves as they are, one behind the other.
    unchanged: bytes = b""


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
    #: `drift` was measured in one snapshot, and what each row is off by is subtracted from it.
    delta: bool = False
    #: Leave keys alone that have had an event lately: its increment may be on its way.
    quiet: bool = False
    #: Delete these rows whatever the policy says (an insert of ours whose source row went away meanwhile).
    withdraw: bool = False
    #: A rollback: each row gets its expected values if it still is what was observed; the source has no say.
    restore: bool = False
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
class LotUnit:
    """One repair transaction for all rows of a lot."""

    #: As for `Unit`.
    id: str
    fence: str
    token: int
    lot: Lot
    #: What is done to each of its rows.
    action: Action


@dataclass(frozen=True, kw_only=True, slots=True)
class Marker:
    """What a unit left behind in the target."""

    #: Its transaction committed.
    applied: bool
    #: Row images it wrote down in that transaction.
    outcomes: list[RowOutcome] = field(default_factory=list)
    #: What it did to the rows of a lot.
    lot: LotOutcome | None = None


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

    def cut(self, side: BoundSide, span: Range, rows: int) -> Key | None:
        """The key that comes after the first `rows` rows of a side in a range; None: there is none, or it is not cheap
        to find.
        """

    def stream(self, binding: Binding, side: BoundSide, segment: Part, *, tokens: bool) -> Stream:
        """Rows of one side; of a range or of everything in binary key order."""

    def check_partitions(self, binding: Binding, side: BoundSide) -> None:
        """Raise DesignProblem if a row's value is spelt so that no partition would have the row."""

    def partitions(self, binding: Binding, side: BoundSide) -> list[Value]:
        """What the partition column holds, NULL too: each once, at most PARTITIONS_MAX + 1; of times both ends."""

    def greatest(self, side: BoundSide) -> Value:
        """The greatest first key part of a side; None if there is none."""

    def tally(self, side: BoundSide, part: Range, wanted: Sequence[tuple[Column, Slice]]) -> list[int] | None:
        """How many rows of a side there are in a range, then how many of them have each of these values or times in a
        column; None where that would be to read all of them.
        """

    def happened(self, binding: Binding, keys: Sequence[Key]) -> Happened:
        """What `binding.events` says of `keys`, and the time by this database's own clock."""

    def close(self) -> None:
        """Give all connections back."""


class Hasher(Protocol):
    """Hashing rows inside one database."""

    def hashes(self) -> list[RowHash]:
        """Row hashes that this database can compute, the cheapest first; none where it can not."""

    def digests(self, side: BoundSide, part: Part, hashing: Hashing) -> Digests:
        """Leaves of `part` -> what their rows amount to, in one statement."""

    def digests_of(self, side: BoundSide, parts: Sequence[Ranges], hashing: Hashing) -> Generator[Digests]:
        """What the ranges of each of these parts amount to, in order and as they are taken; there is at least one."""

    def prints(self, side: BoundSide, part: Part, hashing: Hashing) -> Prints:
        """The hashes of all rows of `part`, in one value."""

    def prints_of(self, side: BoundSide, parts: Sequence[Range], hashing: Hashing) -> Generator[Prints]:
        """The hashes of all rows of each of these ranges between two keys, in order and as they are taken."""

    def connections(self) -> int:
        """Statements that may hash its rows at a time, as of now; at least 1."""


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

    def forget(self, units: Sequence[str]) -> None:
        """Delete the markers of these units, whose outcome is in the ledger; at most a few hundred."""


class Packer(Protocol):
    """Many differences of one projection at once, in a database that holds both sides."""

    #: Rows of one lot, and so of one transaction.
    lot_rows: int

    def takes(self, binding: Binding) -> bool:
        """Can its rows be compared, kept and written so that the answer is that of the ordinary way?"""

    def compared(self, binding: Binding, segment: Segment) -> Look | None:
        """As `Reader.differences`, with all differences in lots, `suspects` empty."""

    def carry_out(self, binding: Binding, unit: LotUnit) -> LotOutcome:
        """Write the rows of a lot that still have the version they were seen with, in one transaction.

        A row that is locked, or has moved on, is left out. Raises DataProblem, with nothing written, where the
        database refuses a row or does not keep what it is given.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """What a database says of itself, asked before every run: one statement, no row of the user's."""

    #: Product and exact version: what a probe was right about may be wrong of another one.
    version: str
    #: Settings that a repair depends on.
    findings: tuple[Finding, ...] = ()
    #: It shows a past state: a standby. As a source it may be older than what the target reflects.
    past: bool = False


class Examiner(Protocol):
    """Finding out whether what a repair depends on is really so. Nothing that it does stays in the database."""

    def server(self) -> Server:
        """Version and settings, cheaply."""

    def sides(self, binding: Binding, roles: Sequence[str]) -> list[Finding]:
        """Schema and privileges of the sides (`source`, `target`) that live here; writes only what is rolled back."""

    def race(self, protocol: RepairProtocol, *, one_database: bool, now: datetime) -> Race:
        """Let writers in at every step of a repair on scratch tables, which are removed whatever happens.

        `now` tells scratch tables of a probe that crashed from those of one that goes on.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What a database says of how it is doing. What could not be had is None, or left out: never 0."""

    #: Health signals by name.
    values: Mapping[str, float | None]
    #: Its own clock, seconds since 1970.
    clock_s: float
    #: Statements of others that run at this moment, and ours.
    active: float | None = None
    own: float | None = None
    #: Of those of others, what is on a core or waits for one, and not for a disk, a lock or a commit.
    on_core: float | None = None
    #: All that run, where ours cannot be told from others'.
    running: float | None = None
    #: Transactions that were committed so far, by anybody.
    commits: float | None = None
    #: What is not available, and why.
    lacking: Mapping[str, str] = field(default_factory=dict)


class Probe(Protocol):
    """Looks at one database, on a connection of its own, for as little as possible.

    Raises Transient where it cannot; the next call connects anew.
    """

    #: What the values of the health signals mean.
    marks: Mapping[str, Mark]
    #: Does the database run on this machine?
    here: bool
    #: Tables that are worked on, as they are declared.
    tables: Collection[str]

    def canary(self) -> None:
        """Read something small, as those do who are to be protected; how long it takes is the reading."""

    def look(self) -> Looked:
        """How the database is doing."""

    def number(self, statement: str) -> object:
        """What a statement gives, one value. Raises ValueError where it gives another, or statements are not known."""

    def write(self, statement: str) -> None:
        """Run a statement that writes, by itself. All else that a probe does only reads."""

    def close(self) -> None:
        """Give the connection back."""


class Adapter(Reader, Hasher, Writer, Sandboxed, Protocol):
    """All roles; every adapter here has all of them."""

    def probe(self, canary: str) -> Probe | None:
        """Who looks at this database while it is worked on; None where nobody can. `canary`: what it reads."""

    @property
    def examiner(self) -> Examiner:
        """Who finds out about this database."""

    @property
    def discoverer(self) -> Discoverer | None:
        """Who looks for derived columns; None where the database has no schema to look in."""

    @property
    def packer(self) -> Packer | None:
        """Who deals with many rows at once; None where the database cannot."""


#: URL scheme -> module, where they are not the same word.
_MODULES: Mapping[str, str] = {
    "postgres": "postgresql",
    "mariadb": "mysql",
    **dict.fromkeys(("rediss", "valkey", "valkeys"), "redis"),
    "elasticsearch": "opensearch",
}
#: Module -> what to install, when its driver is missing.
_EXTRAS: Mapping[str, str] = {"postgresql": "postgres", "file": "duckdb", "opensearch": "search"}
#: Modules that are no databases of a kind of their own: files, and whatever else SQLAlchemy knows.
_READERS = ("file", "generic")


def scheme_of(url: str) -> str:
    """`postgresql` for `postgresql+psycopg://…`."""
    return url.partition(":")[0].partition("+")[0].lower()


def connect(name: str, database: Database) -> Adapter:
    """The adapter for a declared database. Nothing is connected yet.

    Raises ConfigError for a scheme without an adapter or a driver that is not installed.
    """
    url = database.url.get_secret_value()
    module = _MODULES.get(scheme_of(url), scheme_of(url))
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
