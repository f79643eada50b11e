"""What goes between the engine and an adapter, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trueup.core.digest import SLICES

if TYPE_CHECKING:
    from trueup.core.compare import Counts, Suspect
    from trueup.core.decide import Action
    from trueup.core.findings import Finding
    from trueup.core.guarantee import Protocol as RepairProtocol
    from trueup.core.guarantee import Writing
    from trueup.core.lot import Lot, LotOutcome
    from trueup.core.row import Key, Values
    from trueup.core.states import Outcome

#: Rows in one read batch of a stream; with two sides and a few columns this is a few megabytes.
BATCH_ROWS = 10_000
#: Most differences one comparison inside a database hands out; the counts are complete whatever their number.
DIFFERENCES_MAX = 100_000
#: Most rows with one and the same key, or with a NULL in the key, that are kept until all of them were read. More are
#: not compared side by side.
SAME_KEY_MAX = 100_000


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """What a database says of itself, asked before every run: one statement, no row of the user's."""

    #: Product and exact version: what a probe was right about may be wrong of another one.
    version: str
    #: Settings that a repair depends on.
    findings: tuple[Finding, ...] = ()
    #: It shows a past state: a standby. As a source it may be older than what the target reflects.
    past: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What a database says of how it is doing. What could not be had is None, or left out: never 0."""

    #: Health signals by name.
    values: Mapping[str, float | None]
    #: Statements of others that run at this moment, and ours.
    active: float | None = None
    own: float | None = None
    #: Of those of others, what is on a core or waits for one, and not for a disk, a lock or a commit.
    on_core: float | None = None
    #: All that run, where ours cannot be told from others'.
    running: float | None = None
    #: Transactions that have ended so far, of anybody but the probe that looks; an application that only reads may roll
    #: each of its own back.
    transactions: float | None = None
    #: What is not available, and why.
    lacking: Mapping[str, str] = field(default_factory=dict)
    #: When those values were had that are asked for more seldom than this; by the probe's own clock.
    had: Mapping[str, float] = field(default_factory=dict)
