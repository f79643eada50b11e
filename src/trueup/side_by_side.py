"""Both sides read in key order and compared where they are aligned, batch by batch, in bounded memory.

A part is done only after both sides proved that they delivered all of it, so a broken or short read never looks like an
empty one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from trueup.adapters import BATCH_ROWS, DIFFERENCES_MAX, SAME_KEY_MAX, Adapter, delivered
from trueup.ahead import Ahead
from trueup.core.binding import Binding, BoundSide
from trueup.core.compare import Counts, Suspect, compare
from trueup.core.plan import Everything, KeyHashes, Keys, Leaves, NullKeys, Part, Range, Segment
from trueup.core.row import Batch, Key, Value, batch_of
from trueup.errors import BrokenRead, DataProblem, DesignProblem, TrueupError

if TYPE_CHECKING:
    from trueup.core.digest import Hashing
    from trueup.core.lot import Lot

Result = TypeVar("Result")

#: Rows of both sides in one piece of a stream: how much is read again after a crash.
PIECE_ROWS = 200_000


@dataclass(kw_only=True, slots=True)
class Learned:
    """What is found out while a pair is read, for the segments that are still to come."""

    #: How both sides hash rows, and why; None: not asked yet.
    hashing: tuple[Hashing | None, str] | None = None
    #: Differences are so many that hardly a leaf was equal: leaves are not worth asking for.
    scattered: bool = False
    #: Who asks for digests before they are wanted; None: nobody.
    ahead: Ahead | None = None
    #: Keys to cut at where too many leaves of a pass differ; None: not asked yet.
    cuts: Sequence[Key] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Both sides of a bound projection, and who reads them."""

    binding: Binding
    source: Adapter
    target: Adapter
    #: What reading taught so far.
    learned: Learned = field(default_factory=Learned)

    @property
    def name(self) -> str:
        return self.binding.projection.name

    def side(self, role: str) -> tuple[Adapter, BoundSide]:
        """Who reads the source or the target, and what of it."""
        return (self.source, self.binding.source) if role == "source" else (self.target, self.binding.target)


@dataclass(frozen=True, kw_only=True, slots=True)
class Covered:
    """A part of a segment that was compared completely."""

    span: Segment
    counts: Counts
    suspects: list[Suspect]
    #: What remains of the segment; None: this was the last piece.
    rest: Segment | None = None
    #: Differences that are kept together; none of them is among `suspects`.
    lots: list[Lot] = field(default_factory=list)
    #: See `adapters.Look`.
    unchanged: bytes = b""

    @property
    def complete(self) -> bool:
        """Are all of its differences here? A database that compares itself hands out only so many."""
        return self.counts.differing <= len(self.suspects) + sum(lot.count for lot in self.lots)


def side_by_side(pair: Pair, segment: Segment, *, first: bool = False) -> Iterator[Covered]:
    """Read both sides in key order and compare what is aligned, batch by batch. `first`: see `all_at_once`."""
    match segment:
        case Keys() | NullKeys():
            yield all_at_once(pair, segment, first=first)
        case Everything():
            counts, suspects = Counts(), list[Suspect]()
            for covered in all_of(pair, segment, first=first):
                counts += covered.counts
                suspects = (suspects + covered.suspects)[:DIFFERENCES_MAX]
            yield Covered(span=segment, counts=counts, suspects=suspects)
        case Range():
            yield from _aligned(pair, segment)


def all_of(pair: Pair, segment: Segment, *, first: bool = False) -> Iterator[Covered]:
    """Side by side, in as many pieces as it takes to hand out all differences."""
    if isinstance(segment, Everything):
        rest = Range(partition=segment.partition)
        yield replace(all_at_once(pair, NullKeys(partition=segment.partition), first=first), rest=rest)
        segment = rest
    yield from side_by_side(pair, segment, first=first)


def all_at_once(pair: Pair, segment: Keys | NullKeys, *, first: bool = False) -> Covered:
    """A segment that fits into memory: explicit keys, or keys with a NULL part.

    `first`: a first look, which only finds suspects, so that the order of the two reads is open.
    """
    counts, suspects = _compared(pair, *_rows(pair, segment, first=first and not pair.binding.one_database))
    return Covered(span=segment, counts=counts, suspects=suspects)


def of_part(pair: Pair, part: Leaves | KeyHashes) -> tuple[Counts, list[Suspect]]:
    """What differs among the rows of a part that fits into memory, at a first look; its rows are counted elsewhere."""
    counts, suspects = _compared(pair, *_rows(pair, part, first=True))
    counts.source_rows = counts.target_rows = 0
    return counts, suspects


def _rows(pair: Pair, part: Part, *, first: bool) -> tuple[Batch, Batch]:
    """All rows of the source and of the target; at a first look both are asked at the same time.

    Later the target is read before the source, so that a write between the two makes the target look stale, never the
    source.
    """
    if first:
        return both(lambda: _whole(pair, "source", part), lambda: _whole(pair, "target", part))
    target = _whole(pair, "target", part)
    return _whole(pair, "source", part), target


def both(source: Callable[[], Result], target: Callable[[], Result]) -> tuple[Result, Result]:
    """Ask both databases at the same time."""
    with ThreadPoolExecutor(1, thread_name_prefix="trueup-target") as executor:
        asked = executor.submit(target)
        answer = source()
        return answer, asked.result()


def _compared(pair: Pair, source: Batch, target: Batch) -> tuple[Counts, list[Suspect]]:
    binding = pair.binding
    return compare(
        source,
        target,
        columns=binding.columns,
        absent=binding.absent,
        kinds=binding.value_kinds,
        rules=binding.rules,
        expiring=binding.projection.target.expiring,
    )


def _whole(pair: Pair, role: str, part: Part) -> Batch:
    rows = _nothing(pair.binding, role)
    for batch in _read(pair, role, part):
        rows = rows + batch
        if len(rows) > SAME_KEY_MAX:
            raise DataProblem(
                f"{pair.name}: more than {SAME_KEY_MAX:,} rows of the {role} have a NULL in the key, or share one key; "
                f"such rows can only be compared all at once"
            )
    return rows


def _read(pair: Pair, role: str, part: Part) -> Generator[Batch]:
    """The rows of one side in key order; those of the target with their versions."""
    reader, side = pair.side(role)
    stream = reader.stream(pair.binding, side, part, tokens=role == "target")
    return delivered(stream, f"{pair.name}: the {role}")


def _nothing(binding: Binding, role: str) -> Batch:
    return batch_of((), binding.kinds, len(binding.key_kinds), tokens=role == "target")


def _aligned(pair: Pair, segment: Range) -> Iterator[Covered]:
    """Cut both streams at keys below which both are complete, and compare what lies between two cuts."""
    counts, suspects, rows = Counts(), list[Suspect](), 0
    lower = segment.lower
    # Closed here: after an error they would live as long as its traceback, which is while its cause is waited out.
    with (
        closing(_Side(pair, segment, "target")) as target,
        closing(_Side(pair, segment, "source")) as source,
    ):
        while True:
            target.fill()
            source.fill()
            border = _border(pair, [side.last for side in (source, target) if side.last is not None])
            expected, observed = source.take(border), target.take(border)
            found, different = _compared(pair, expected, observed)
            counts += found
            suspects += different
            rows += len(expected) + len(observed)
            if border is None:
                yield Covered(span=replace(segment, lower=lower), counts=counts, suspects=suspects)
                return
            if rows >= PIECE_ROWS:
                rest, span = replace(segment, lower=border), replace(segment, lower=lower, upper=border)
                yield Covered(span=span, counts=counts, suspects=suspects, rest=rest)
                counts, suspects, rows, lower = Counts(), [], 0, border


def _border(pair: Pair, last: list[Key]) -> Key | None:
    """The least of the sides' last keys: below it both are complete. None: both are at their end."""
    try:
        return min(last, default=None)
    except TypeError:
        raise DesignProblem(
            f"{pair.name}: key values of source and target are of different types and have no common order: "
            f"{last[0]} and {last[1]}. Cast the key in the source query (of a file, say its type in `types`)"
        ) from None


def _type_of(value: Value) -> str:
    """What has an order among its like alone."""
    return f"{type(value).__name__}{' with a zone' * (isinstance(value, datetime) and value.tzinfo is not None)}"


class _Side:
    """One stream with the rows that were read and not yet compared."""

    def __init__(self, pair: Pair, segment: Range, role: str) -> None:
        self._pair = pair
        self._role = role
        self._batches = _read(pair, role, segment)
        self._rows = _nothing(pair.binding, role)
        #: Greatest key read, which may go on in the next batch; None: the stream is at its end.
        self.last: Key | None = ()

    def close(self) -> None:
        """Nothing more is wanted of it."""
        with suppress(TrueupError):  # that its session has ended by itself is no matter
            self._batches.close()

    def fill(self) -> None:
        """Read on until there are rows below the last key, or no more rows."""
        while self.last is not None and (len(self._rows) < BATCH_ROWS or self._rows.key(0) == self.last):
            batch = next(self._batches, None)
            if batch is None:
                self.last = None
                return
            self._rows = self._in_order(batch)
            self.last = self._rows.key(len(self._rows) - 1)
            if len(self._rows) > SAME_KEY_MAX:
                raise DataProblem(
                    f"{self._pair.name}: more than {SAME_KEY_MAX:,} rows of the {self._role} share one key"
                )

    def _in_order(self, batch: Batch) -> Batch:
        rows = self._rows + batch
        keys = rows.keys[0] if len(rows.keys) == 1 else list(zip(*rows.keys, strict=True))
        try:
            ascending = keys == sorted(keys)
        except TypeError:
            named = zip(self._pair.binding.projection.key, rows.keys, strict=True)
            types = {name: sorted({_type_of(one) for one in held if one is not None}) for name, held in named}
            mixed = "; ".join(f"{name!r} holds {' and '.join(held)}" for name, held in types.items() if len(held) > 1)
            raise DesignProblem(
                f"{self._pair.name}: key values of the {self._role} are of different types and have no order: {mixed}. "
                f"Mend these rows, or cast the key in a query on both sides"
            ) from None
        if not ascending:
            at = next(at for at, (a, b) in enumerate(pairwise(keys)) if a > b)
            raise BrokenRead(
                f"{self._pair.name}: the {self._role} delivered key {keys[at + 1]!r} after {keys[at]!r}: its order is "
                f"not the binary order that comparing needs (that of an SQLite file in UTF-16 is another; "
                f"`sqlite3 old.db .dump | sqlite3 new.db` makes it UTF-8)"
            )
        return rows

    def take(self, border: Key | None) -> Batch:
        """Rows below `border` (None: all), and forget them."""
        end = len(self._rows) if border is None else bisect_left(range(len(self._rows)), border, key=self._rows.key)
        taken = self._rows.slice(0, end)
        self._rows = self._rows.slice(end, len(self._rows))
        return taken
