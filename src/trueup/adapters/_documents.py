"""Stores without SQL: what is alike in adapters whose database has no types, no order of rows and no transactions.

An adapter of such a store gives four things: what a side looks like (`describe`), all of its rows in any order
(`scan`), the rows of some keys (`fetch`), and how a few rows are written if they still are as they were read (`unit`).
Here they become a stream in key order and a repair:

    hold the fence -> read the rows and their versions -> read the source -> write each row that is still the same

The version first, the source second: what a row reflected when its version was read is then no newer than what is
written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date
from itertools import islice
from typing import Protocol

from trueup.adapters import (
    BATCH_ROWS,
    Capabilities,
    Examiner,
    FoundTable,
    Look,
    Marker,
    OneStatement,
    Packer,
    Probe,
    Reader,
    RowOutcome,
    Stream,
    Survey,
    Unit,
)
from trueup.adapters._alone import MOVING
from trueup.adapters._copies import Sandboxing
from trueup.adapters._discoverer import Discoverer
from trueup.adapters._namesakes import spared
from trueup.adapters._outcomes import Arrivals, HeldRow, decided, left, read_source, restored, withdrawn
from trueup.adapters._sorting import Row, in_key_order
from trueup.adapters._unexamined import Unexamined
from trueup.core.binding import Binding, BoundSide, Column, Shape
from trueup.core.compare import Suspect
from trueup.core.digest import Digests, Hashing, Prints, RowHash
from trueup.core.kinds import Kind, canonical
from trueup.core.partition import PARTITIONS_MAX, Between, Slice
from trueup.core.plan import Everything, KeyHashes, Keys, Leaves, NullKeys, Part, Range, Ranges, Segment
from trueup.core.projection import Database, Side
from trueup.core.quiet import Happened
from trueup.core.row import Batch, Key, Value, Values, batch_of
from trueup.core.rules import Nulls, Rule
from trueup.core.states import Outcome
from trueup.errors import ConfigError, DesignProblem

#: Keys that are asked for in one request.
KEYS_AT_ONCE = 1_000
#: How often a unit reads and decides anew the rows that others kept it from writing.
TRIES = 3
#: Why a row that may go away by itself is not made anew by a rollback.
MAY_BE_GONE = "it may be gone by itself; made anew it would have no time to live, and stay for ever"


class DocumentUnit(Protocol):
    """One repair unit in a store: its fence is held, and is held still when something is written."""

    def read(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        """The target's rows of `keys` and their versions; what `write` demands is that they are still the same."""

    def write(self, rows: Sequence[RowOutcome]) -> list[RowOutcome]:
        """Give each row its `after` (None: delete it) if it still is as it was read, and say what became of it.

        A row that moved is `cas_lost`, and `busy` where another try by itself makes sense. One that is left out of
        the answer was not written and has not moved: it is read and decided anew.
        """


class DocumentStore(ABC):
    """An adapter of a store without SQL."""

    capabilities: Capabilities
    #: Rows are written one by one.
    packer: Packer | None = None
    one_statement: OneStatement | None = None
    sandbox: Sandboxing | None = None
    #: Does `scan` deliver rows in key order, each once?
    ordered = False

    def __init__(self, name: str, database: Database) -> None:
        self.name = name
        self.database = database

    #: It has no schema in which derived columns could be looked for.
    discoverer: Discoverer | None = None

    @property
    def examiner(self) -> Examiner:
        return Unexamined()

    # --- what a concrete adapter gives -----------------------------------------------------------------------------

    @abstractmethod
    def describe(self, side: Side) -> Shape:
        """Columns of a side; reads no row. Key columns are unique and not NULL."""

    @abstractmethod
    def scan(self, binding: Binding, side: BoundSide, part: Everything | Range, *, tokens: bool) -> Iterator[list[Row]]:
        """All rows of `part`, perhaps more and some twice: canonical key parts, values, and the version where `tokens`.

        That it comes to its end is the proof that there are no more: else it raises (BrokenRead, Transient). Values
        are of the kinds that `kinds_of` says, or what stands there in their place, and never cut or left out; each is
        one that `core.row.encode` knows.
        """

    @abstractmethod
    def fetch(self, binding: Binding, side: BoundSide, keys: Sequence[Key], *, tokens: bool) -> list[Row]:
        """The rows of at most KEYS_AT_ONCE keys, in any order; a key without one is proven to have none."""

    @abstractmethod
    def unit(self, binding: Binding, unit: Unit) -> AbstractContextManager[DocumentUnit]:
        """A repair unit: raises Refused or TakenOver where the fence forbids it."""

    @abstractmethod
    def close(self) -> None: ...

    # --- reading ---------------------------------------------------------------------------------------------------

    def tables(self) -> list[FoundTable]:
        return []

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool) -> Survey:  # noqa: ARG002
        for side in of:
            kinds_of(binding, side)
        expiring = any(side.side.expiring for side in of)
        reason = self.access + ("; rows may expire, so one that is missing is no drift" if expiring else "")
        return Survey(cuts=[], work=[1.0], whole=1.0, per_segment=1.0, seekable=False, reason=reason)

    #: How the rows are read, in words.
    access = "read in one pass, sorted here"

    def probe(self, canary: str) -> Probe | None:  # noqa: ARG002 - the default
        return None

    def cut(self, side: BoundSide, span: Range, rows: int) -> Key | None:  # noqa: ARG002 - nothing serves ranges
        return None

    def differences(self, binding: Binding, segment: Segment) -> Look | None:  # noqa: ARG002
        return None

    def in_order(self, side: BoundSide, pages: Iterable[Sequence[Row]], width: int) -> Iterator[Row]:  # noqa: ARG002
        """What was scanned, by key, each once."""
        return (row for page in pages for row in page) if self.ordered else in_key_order(pages, width)

    def stream(self, binding: Binding, side: BoundSide, segment: Part, *, tokens: bool) -> Stream:
        return DocumentStream(self, binding, side, segment, tokens=tokens)

    def check_partitions(self, binding: Binding, side: BoundSide) -> None:  # noqa: ARG002
        _cut_at(binding)

    def partitions(self, binding: Binding, side: BoundSide) -> list[Value]:
        at, by_time = _cut_at(binding), binding.projection.partition.by == "time"
        assert binding.cut_kind is not None
        found: set[Value] = set()
        for page in self.scan(binding, side, Everything(), tokens=False):
            found.update(canonical(binding.cut_kind, [row[at] for row in page]))
            times = [value for value in found if isinstance(value, date)]
            if by_time and len(times) + (None in found) < len(found):
                break  # one that is no time, which is told
            if by_time and times:
                found = {min(times), max(times)} | (found & {None})
            elif len(found) > PARTITIONS_MAX:
                break
        return list(found)

    def greatest(self, side: BoundSide) -> Value:  # noqa: ARG002
        raise ConfigError(
            f"databases.{self.name}: nothing in it grows with each change; declare `changes` for the other side only"
        )

    def tally(self, side: BoundSide, part: Range, wanted: Sequence[tuple[Column, Slice]]) -> None:  # noqa: ARG002
        return None  # nothing here is counted without reading it

    def happened(self, binding: Binding, keys: Sequence[Key]) -> Happened:  # noqa: ARG002
        raise ConfigError(f"databases.{self.name}: `events` are in a table, and there are none here")

    # --- hashing ---------------------------------------------------------------------------------------------------

    def hashes(self) -> list[RowHash]:
        return []

    def digests(self, side: BoundSide, part: Part, hashing: Hashing) -> Digests:  # noqa: ARG002
        raise self._no_hashes()

    def prints(self, side: BoundSide, part: Part, hashing: Hashing) -> Prints:  # noqa: ARG002
        raise self._no_hashes()

    def row_hash(self, side: BoundSide, hashing: Hashing) -> Column:  # noqa: ARG002
        raise self._no_hashes()

    def namesakes(self, binding: Binding, key: Key) -> Iterator[Key]:  # noqa: ARG002 - the default
        """Other keys whose rows would have the very name of this row; none where rows have keys and no names."""
        return iter(())

    def has_nulls(self, side: BoundSide) -> bool:  # noqa: ARG002 - the default
        """Can a row of this side say that it has no value in a column?"""
        return True

    def connections(self) -> int:
        return 1

    def _no_hashes(self) -> DesignProblem:
        return DesignProblem(f"databases.{self.name}: it hashes no rows")

    # --- repairing -------------------------------------------------------------------------------------------------

    def raise_fence(self, fence: str, *, stop: bool | None = None) -> int | None:  # noqa: ARG002
        """None: for a store without transactions, which has nothing that all units of a run could hold."""
        return None

    def claim(self, binding: Binding, unit: str) -> Marker | None:  # noqa: ARG002
        """None: for such a store, where nothing can be left behind together with what was written."""
        return None

    def forget(self, units: Sequence[str]) -> None:
        """Nothing was left behind: see `claim`."""
        del units

    def repair(self, binding: Binding, unit: Unit, source: Reader) -> list[RowOutcome]:
        done: dict[Key, RowOutcome] = {}
        with self.unit(binding, unit) as steps:
            for _ in range(TRIES):
                waiting = [suspect for suspect in unit.drift if suspect.key not in done]
                if not waiting:
                    break
                keys = [suspect.key for suspect in waiting]
                arrivals = Arrivals(binding, source) if unit.quiet else None
                now = steps.read(keys)  # the version first
                expected = {} if unit.restore else read_source(source, binding, keys)  # the source second
                awaited = arrivals.awaited(keys) if arrivals else set()
                judged = [
                    arrivals.left(row, now.get(row.key))
                    if arrivals and row.key in awaited
                    else settled(binding, unit, row, now.get(row.key), expected.get(row.key))
                    for row in waiting
                ]
                if not (unit.restore or unit.withdraw):
                    judged = spared(self, binding, judged, source)
                writing = [outcome for outcome in judged if outcome.outcome is Outcome.APPLIED]
                if not (unit.restore or self.has_nulls(binding.target)):
                    writing = [zeroed(binding, outcome) for outcome in writing]
                written = steps.write(writing) if writing else []
                others = [outcome for outcome in judged if outcome.outcome is not Outcome.APPLIED]
                done.update((outcome.key, outcome) for outcome in [*others, *written])
        return [done.get(row.key) or left(row, None, Outcome.CAS_LOST, MOVING, busy=True) for row in unit.drift]


class DocumentStream:
    """Rows of a store in batches; `ended` once the store said that there is no more."""

    parts = False  # no snapshot is kept, and each further one would scan from the start

    def __init__(self, store: DocumentStore, binding: Binding, side: BoundSide, part: Part, *, tokens: bool) -> None:
        self.ended = False
        self._store = store
        self._binding = binding
        self._side = side
        self._part = part
        self._tokens = tokens

    def __iter__(self) -> Iterator[Batch]:
        width = len(self._binding.key_kinds)
        rows = iter(self._rows(width))
        while batch := list(islice(rows, BATCH_ROWS)):
            yield batch_of(batch, self._binding.kinds, width, tokens=self._tokens)
        self.ended = True

    def _rows(self, width: int) -> Iterable[Row]:
        part = self._part
        match part:
            case Keys():
                return self._fetched(part.keys)
            case NullKeys():
                return ()
            case Leaves() | Ranges() | KeyHashes():
                raise DesignProblem(f"databases.{self._store.name}: it hashes no rows")
        pages = self._store.scan(self._binding, self._side, part, tokens=self._tokens)
        wanted = (_within(self._binding, part, page, width) for page in pages)
        return self._store.in_order(self._side, wanted, width)

    def _fetched(self, keys: Sequence[Key]) -> Iterator[Row]:
        for at in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[at : at + KEYS_AT_ONCE]
            yield from self._store.fetch(self._binding, self._side, some, tokens=self._tokens)


def kinds_of(binding: Binding, side: BoundSide) -> tuple[list[Kind], list[Kind]]:
    """What key parts and values are read as: as they are declared, or else as what they are compared with is.

    Raises ConfigError where neither side says what a column is: then its text could mean a number or not.
    """
    names = (*binding.projection.key, *binding.columns)
    found: list[Kind] = []
    for name, column, met in zip(names, side.columns, binding.kinds, strict=True):
        kind = met if column.kind is Kind.ANY else column.kind
        if kind is Kind.ANY:
            raise ConfigError(
                f"projections.{binding.projection.name}: neither side says what {name!r} is, and what databases."
                f'{side.side.database} holds is text; declare it there: types = {{ {column.name} = "integer" }}, or '
                f'"text"'
            )
        found.append(kind)
    return found[: len(side.key)], found[len(side.key) :]


def held(binding: Binding, rows: Iterable[Row]) -> dict[Key, HeldRow]:
    """Rows with their versions, by key."""
    width = len(binding.key_kinds)
    batch = batch_of(list(rows), binding.kinds, width, tokens=True).clean(binding.value_kinds)
    tokens = batch.tokens or []
    return {
        batch.key(at): HeldRow(values=tuple(column[at] for column in batch.values), token=token)
        for at, token in enumerate(tokens)
    }


def zeroed(binding: Binding, row: RowOutcome) -> RowOutcome:
    """With what a NULL stands for by `nulls = "zero"`, to be written where there is no NULL."""
    if row.after is None or not binding.rules:
        return row
    values = zip(binding.rules, row.after, strict=True)
    return replace(row, after=tuple(rule.zero if _is_zero(rule, value) else value for rule, value in values))


def _is_zero(rule: Rule, value: Value) -> bool:
    return value is None and rule.nulls is Nulls.ZERO


def _within(binding: Binding, part: Everything | Range, page: Sequence[Row], width: int) -> list[Row]:
    """Those rows of a page that are in `part`."""
    rows = list(page)
    if part.partition is not None:
        at = _cut_at(binding)
        assert binding.cut_kind is not None
        cuts = canonical(binding.cut_kind, [row[at] for row in rows])
        rows = [row for row, cut in zip(rows, cuts, strict=True) if _in_slice(part.partition, cut)]
    if isinstance(part, Range) and (part.lower is not None or part.upper is not None):
        lower, upper = part.lower, part.upper
        rows = [
            row for row in rows if (lower is None or row[:width] >= lower) and (upper is None or row[:width] < upper)
        ]
    return rows


def _in_slice(part: Slice, value: Value) -> bool:
    if isinstance(part, Between):
        return value is not None and part.lower <= value < part.upper
    return bool(value == part.value)


def _cut_at(binding: Binding) -> int:
    """Where in a row the partition column is.

    Raises ConfigError if it is neither in the key nor compared.
    """
    named = (*binding.projection.key, *binding.columns)
    column = binding.projection.partition.column
    if column not in named:
        raise ConfigError(
            f"projections.{binding.projection.name}.partition.column: {column!r} has to be in `key` or in `columns`: "
            f"one side is a store that is asked for nothing else"
        )
    return named.index(column)


def settled(binding: Binding, unit: Unit, suspect: Suspect, now: HeldRow | None, expected: Values | None) -> RowOutcome:
    """What to do with a row: as the policy says, to put it back, or to take it back."""
    if unit.restore and now is None and suspect.expected is not None and binding.target.side.expiring:
        return left(suspect, now, Outcome.CAS_LOST, MAY_BE_GONE)
    if unit.restore:
        return restored(unit, suspect, now)
    if not unit.withdraw:
        return decided(binding, unit, suspect, now, expected)
    if now is not None and suspect.token and now.token != suspect.token:
        return left(suspect, now, Outcome.CAS_LOST, "the row moved on")
    return withdrawn(suspect, now, expected)
