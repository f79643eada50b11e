"""Where to look: segments -> suspects, with proof of what was covered.

Narrowing is cheap and may cover millions of rows; reconciling (`reconcile.py`) is exact and runs on what it found.
There are two strategies, one function each:

* `inside`: source and target are in one database. It compares; only differences leave it.
* `side_by_side`: two databases. Both are read in the same binary key order and compared batch by batch, in bounded
  memory, whatever the size of the segment.

Each yields `Covered` pieces that together are exactly the segment. A piece is yielded only after both sides proved that
they delivered all of it, so a broken or short read never looks like an empty one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from trueup.adapters import BATCH_ROWS, DIFFERENCES_MAX, Reader, Stream, Survey
from trueup.core.binding import Binding, BoundSide
from trueup.core.compare import Counts, Suspect, compare
from trueup.core.plan import Everything, Keys, NullKeys, Range, Segment, merge_by_work, ranges
from trueup.core.row import Batch, Key, batch_of
from trueup.errors import BrokenRead, DataProblem

#: Rows of both sides in one piece of a stream: how much is read again after a crash.
PIECE_ROWS = 200_000
#: Rows with one and the same key, or with a NULL in the key, that are compared at most.
SAME_KEY_MAX = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Both sides of a bound projection, and who reads them."""

    binding: Binding
    source: Reader
    target: Reader

    @property
    def name(self) -> str:
        return self.binding.projection.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Covered:
    """A part of a segment that was compared completely."""

    span: Segment
    counts: Counts
    suspects: list[Suspect]
    #: What remains of the segment; None: this was the last piece.
    rest: Segment | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """How a projection will be narrowed, and why."""

    strategy: str
    segments: list[Segment]
    reasons: list[str]


def narrow(pair: Pair, segment: Segment) -> Iterator[Covered]:
    """Compare one segment by the strategy that fits."""
    if pair.binding.one_database:
        yield from inside(pair, segment)
    else:
        yield from side_by_side(pair, segment)


def route(pair: Pair) -> Route:
    """Ask the databases for access paths, and cut the keys into segments of about equal work."""
    binding = pair.binding
    if binding.one_database:
        survey = pair.source.survey(binding, (binding.source, binding.target))
        cuts = _cuts(survey)
        how = f"in {len(cuts) + 1} key ranges" if cuts else "in one pass"
        whole: Segment = Everything()
        return Route(
            strategy=f"compared inside the database, {how}",
            segments=[*ranges(cuts), NullKeys()] if cuts else [whole],
            reasons=[survey.reason],
        )
    surveys = {
        "source": pair.source.survey(binding, (binding.source,)),
        "target": pair.target.survey(binding, (binding.target,)),
    }
    seekable = all(survey.seekable for survey in surveys.values())
    longer = max(surveys.values(), key=lambda survey: len(survey.cuts))
    cuts = _cuts(longer) if seekable else []
    null_keys: list[Segment] = [NullKeys()] if binding.source.null_keys or binding.target.null_keys else []
    how = f"in {len(cuts) + 1} key ranges" if cuts else "in one ordered pass a side"
    return Route(
        strategy=f"read side by side in key order, {how}",
        segments=[*ranges(cuts), *null_keys],
        reasons=[f"{side}: {survey.reason}" for side, survey in surveys.items()],
    )


def _cuts(survey: Survey) -> list[Key]:
    if not survey.seekable:
        return []
    return merge_by_work(survey.cuts, survey.work, max(round(sum(survey.work) / survey.per_segment), 1))


def inside(pair: Pair, segment: Segment) -> Iterator[Covered]:
    """Let the database compare; only differences leave it."""
    look = None if isinstance(segment, NullKeys) else pair.source.differences(pair.binding, segment)
    if look is None:
        yield from side_by_side(pair, segment)
        return
    counts, suspects = look.counts, look.suspects
    if counts.null_keys_source or counts.null_keys_target:
        # A NULL matches nothing in a join, so such rows are compared by themselves. They are in the totals already.
        nulls = _all_at_once(pair, NullKeys())
        suspects = [*suspects, *nulls.suspects]
        nulls.counts.source_rows = nulls.counts.target_rows = 0
        nulls.counts.null_keys_source = nulls.counts.null_keys_target = 0
        counts += nulls.counts
    yield Covered(span=segment, counts=counts, suspects=suspects)


def side_by_side(pair: Pair, segment: Segment) -> Iterator[Covered]:
    """Read both sides in key order and compare what is aligned, batch by batch."""
    match segment:
        case Keys() | NullKeys():
            yield _all_at_once(pair, segment)
        case Everything():
            whole = _all_at_once(pair, NullKeys())
            counts, suspects = whole.counts, whole.suspects
            for covered in _aligned(pair, Range()):
                counts += covered.counts
                suspects = (suspects + covered.suspects)[:DIFFERENCES_MAX]
            yield Covered(span=segment, counts=counts, suspects=suspects)
        case Range():
            yield from _aligned(pair, segment)


def _all_at_once(pair: Pair, segment: Segment) -> Covered:
    """A segment that fits into memory: explicit keys, or keys with a NULL part. The target is read first, so that a
    write between the two reads makes the target look stale, never the source.
    """
    binding = pair.binding
    target = _whole(pair, pair.target.stream(binding, binding.target, segment, tokens=True), "target")
    source = _whole(pair, pair.source.stream(binding, binding.source, segment, tokens=False), "source")
    counts, suspects = compare(
        source, target, columns=binding.columns, absent=binding.absent, kinds=binding.value_kinds
    )
    return Covered(span=segment, counts=counts, suspects=suspects)


def _whole(pair: Pair, stream: Stream, side: str) -> Batch:
    rows = _nothing(pair.binding, tokens=side == "target")
    for batch in stream:
        rows = rows + batch
        if len(rows) > SAME_KEY_MAX:
            raise DataProblem(
                f"{pair.name}: more than {SAME_KEY_MAX:,} rows of the {side} have a NULL in the key, or share one key; "
                f"such rows can only be compared all at once"
            )
    _proven(pair, stream, side)
    return rows


def _proven(pair: Pair, stream: Stream, side: str) -> None:
    if not stream.ended:
        raise BrokenRead(
            f"{pair.name}: reading the {side} stopped before its end, so what it returned counts for nothing. "
            f"Nothing was written; run again"
        )


def _nothing(binding: Binding, *, tokens: bool) -> Batch:
    return batch_of((), binding.kinds, len(binding.key_kinds), tokens=tokens)


def _aligned(pair: Pair, segment: Range) -> Iterator[Covered]:
    """Cut both streams at keys below which both are complete, and compare what lies between two cuts."""
    binding = pair.binding
    target = _Side(pair, binding.target, segment, "target")
    source = _Side(pair, binding.source, segment, "source")
    counts, suspects, rows = Counts(), list[Suspect](), 0
    lower = segment.lower
    while True:
        target.fill()
        source.fill()
        border = _border(pair, [side.last for side in (source, target) if side.last is not None])
        expected, observed = source.take(border), target.take(border)
        found, different = compare(
            expected, observed, columns=binding.columns, absent=binding.absent, kinds=binding.value_kinds
        )
        counts += found
        suspects += different
        rows += len(expected) + len(observed)
        if border is None:
            yield Covered(span=Range(lower=lower, upper=segment.upper), counts=counts, suspects=suspects)
            return
        if rows >= PIECE_ROWS:
            rest = Range(lower=border, upper=segment.upper)
            yield Covered(span=Range(lower=lower, upper=border), counts=counts, suspects=suspects, rest=rest)
            counts, suspects, rows, lower = Counts(), [], 0, border


def _border(pair: Pair, last: list[Key]) -> Key | None:
    """The least of the sides' last keys: below it both are complete. None: both are at their end."""
    try:
        return min(last, default=None)
    except TypeError:
        raise DataProblem(
            f"{pair.name}: key values of source and target are of different types and have no common order: "
            f"{last[0]} and {last[1]}. Cast the key in the source query"
        ) from None


class _Side:
    """One stream with the rows that were read and not yet compared."""

    def __init__(self, pair: Pair, side: BoundSide, segment: Range, name: str) -> None:
        reader = pair.target if name == "target" else pair.source
        self._pair = pair
        self._name = name
        self._stream = reader.stream(pair.binding, side, segment, tokens=name == "target")
        self._batches = iter(self._stream)
        self._rows = _nothing(pair.binding, tokens=name == "target")
        #: Greatest key read, which may go on in the next batch; None: the stream is at its end.
        self.last: Key | None = ()

    def fill(self) -> None:
        """Read on until there are rows below the last key, or no more rows."""
        while self.last is not None and (len(self._rows) < BATCH_ROWS or self._rows.key(0) == self.last):
            batch = next(self._batches, None)
            if batch is None:
                _proven(self._pair, self._stream, self._name)
                self.last = None
                return
            self._rows = self._in_order(batch)
            self.last = self._rows.key(len(self._rows) - 1)
            if len(self._rows) > SAME_KEY_MAX:
                raise DataProblem(
                    f"{self._pair.name}: more than {SAME_KEY_MAX:,} rows of the {self._name} share one key"
                )

    def _in_order(self, batch: Batch) -> Batch:
        rows = self._rows + batch
        keys = rows.keys[0] if len(rows.keys) == 1 else list(zip(*rows.keys, strict=True))
        try:
            ascending = keys == sorted(keys)
        except TypeError as mixed:
            raise DataProblem(
                f"{self._pair.name}: key values of the {self._name} are of different types and have no order: {mixed}"
            ) from None
        if not ascending:
            at = next(at for at, (a, b) in enumerate(pairwise(keys)) if a > b)
            raise BrokenRead(
                f"{self._pair.name}: the {self._name} delivered key {keys[at + 1]!r} after {keys[at]!r}: its order is "
                f"not the binary order that comparing needs"
            )
        return rows

    def take(self, border: Key | None) -> Batch:
        """Rows below `border` (None: all), and forget them."""
        end = len(self._rows) if border is None else bisect_left(range(len(self._rows)), border, key=self._rows.key)
        taken = self._rows.slice(0, end)
        self._rows = self._rows.slice(end, len(self._rows))
        return taken
