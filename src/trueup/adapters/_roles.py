"""What an adapter may be asked: one protocol a role."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from trueup.adapters._copies import Sandboxed

if TYPE_CHECKING:
    from datetime import datetime

    from trueup.adapters._discoverer import Discoverer
    from trueup.adapters._exchange import (
        Capabilities,
        FoundTable,
        Look,
        Looked,
        LotUnit,
        Marker,
        RowOutcome,
        Server,
        Survey,
        Unit,
    )
    from trueup.core.binding import Binding, BoundSide, Column, Shape
    from trueup.core.decide import Action
    from trueup.core.digest import Digests, Hashing, Prints, RowHash
    from trueup.core.findings import Finding, Race
    from trueup.core.guarantee import Protocol as RepairProtocol
    from trueup.core.lot import LotOutcome
    from trueup.core.pace.pressure import Mark
    from trueup.core.partition import Slice
    from trueup.core.plan import Part, Range, Ranges, Segment
    from trueup.core.projection import Side
    from trueup.core.quiet import Happened
    from trueup.core.row import Batch, Key, Value


class Stream(Protocol):
    """One side's rows in key order, with a proof that the end was reached."""

    #: True only after the database itself said that there is no more.
    ended: bool
    #: May it be left in the middle, and the rest be read by another one? False: it proves something of all its rows at
    #: its end only, or keeps nothing open.
    parts: bool

    def __iter__(self) -> Iterator[Batch]: ...


class Reader(Protocol):
    """Reading one database."""

    capabilities: Capabilities

    def describe(self, side: Side) -> Shape:
        """Columns and unique indexes of a side; reads no row."""

    def tables(self) -> list[FoundTable]:
        """Tables there are, by name; reads no row."""

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool) -> Survey:
        """Ways to cut the keys, for reading the sides in `of` (both, if both live here) by key range: in the order of
        the key, or in any.
        """

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

    def prints(self, side: BoundSide, part: Part, hashing: Hashing) -> Prints:
        """The hashes of all rows of `part`, in one value."""

    def row_hash(self, side: BoundSide, hashing: Hashing) -> Column:
        """The same of each row, as a column that is read with others; NULL of a row that counts as not there."""

    def connections(self) -> int:
        """Statements that may hash its rows at a time, as of now; at least 1."""


class OneStatement(Protocol):
    """Asking of many segments by one statement that goes on as the answers are taken, where to begin one is dear."""

    #: Segments of one statement, at most.
    most: int

    def digests_of(self, side: BoundSide, parts: Sequence[Ranges], hashing: Hashing) -> Generator[Digests]:
        """What the ranges of each of these parts amount to, in order; there is at least one."""

    def prints_of(self, side: BoundSide, parts: Sequence[Range], hashing: Hashing) -> Generator[Prints]:
        """The hashes of all rows of each of these ranges between two keys, in order; there is at least one."""


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


class Probe(Protocol):
    """Looks at one database, on a connection of its own, for as little as possible.

    Raises Transient where it cannot; the next call connects anew where the connection has gone.
    """

    #: What the values of the health signals mean.
    marks: Mapping[str, Mark]
    #: Does the database run on this machine?
    here: bool
    #: Tables that are worked on, as they are declared.
    tables: Collection[str]

    def connect(self, *, writes: bool = False) -> bool:
        """Have a connection, that which `write` uses or that of all else; is it a new one?"""

    def canary(self) -> None:
        """Read something small, as those do who are to be protected; how long it takes is the reading."""

    def look(self) -> Looked:
        """How the database is doing."""

    def number(self, statement: str) -> object:
        """What a statement gives, one value. Raises ValueError where it gives another, or statements are not known."""

    def write(self, statement: str) -> None:
        """Run a statement that writes, by itself. All else that a probe does only reads."""

    def give_up(self) -> None:
        """Called by another thread: what is being asked need not be answered any more, where that can be said."""

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

    @property
    def one_statement(self) -> OneStatement | None:
        """Who asks of many segments by one statement; None where each has its own."""
