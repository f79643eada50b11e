"""Partition -> segments: which keys are looked at together.

Segments of one partition are half-open, disjoint, and cover everything from minus to plus infinity, so that every key
is in exactly one of them (a key above the target's largest is the classic one to lose).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from trueup.core.digest import Hashing
from trueup.core.partition import Slice, slice_from_json, slice_to_json
from trueup.core.row import Key, Value, decode_row, decode_rows, encode_row, encode_rows

#: Keys in one explicit-key segment: bounds a statement's parameters and what one repair transaction holds.
KEYS_PER_SEGMENT = 500
#: Keys, or hashes of keys, that one statement of the first stage looks at.
KEYS_AT_ONCE = 5_000
#: Parts of keys in one explicit-key segment: a statement may name each four times (two sides, plainly and exactly), and
#: SQLite takes 32,766 parameters, PostgreSQL 65,535.
PARTS_AT_ONCE = 8_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Everything:
    """All rows, those with a NULL in the key too."""

    #: Only rows of this partition.
    partition: Slice | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Rows with `lower` <= key < `upper`, compared part by part in binary order; no NULL in the key."""

    #: None: from minus infinity.
    lower: Key | None = None
    #: None: to plus infinity.
    upper: Key | None = None
    #: Only rows of this partition.
    partition: Slice | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class NullKeys:
    """Rows with a NULL in at least one key part: no range contains them, so they are looked at by themselves."""

    #: Only rows of this partition.
    partition: Slice | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """Rows with exactly these keys, in whatever partition they are."""

    keys: tuple[Key, ...]


Segment = Everything | Range | NullKeys | Keys


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaves:
    """Rows of a range that fall into some of the leaves that their keys are dealt to."""

    within: Range
    hashing: Hashing
    leaves: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranges:
    """Rows of a range that lie in some of the ranges that it was cut into."""

    within: Range
    ranges: tuple[Range, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyHashes:
    """Rows of a segment whose keys have one of these hashes."""

    within: Range | Keys
    hashing: Hashing
    hashes: tuple[bytes, ...]


#: Parts of a segment that a closer look is taken at; never written down.
Part = Segment | Leaves | Ranges | KeyHashes


def ranges(cuts: Sequence[Key]) -> list[Range]:
    """Segments between ascending, distinct cut points; none gives one range over everything."""
    bounds = [None, *cuts, None]
    return [Range(lower=low, upper=high) for low, high in pairwise(bounds)]


def slices(span: Range, many: int) -> list[Range]:
    """`span` in about `many` ranges of equal width; only itself where its ends are not two integers.

    Keys that lie close together in one place make some of them fuller than others, never wrong.
    """
    if span.lower is None or span.upper is None or len(span.lower) != 1 or len(span.upper) != 1:
        return [span]
    (low,), (high,) = span.lower, span.upper
    if not isinstance(low, int) or not isinstance(high, int):
        return [span]
    cuts = dict.fromkeys(low + (high - low) * at // many for at in range(1, many))
    inner = [(cut,) for cut in cuts if low < cut < high]
    bounds = pairwise([span.lower, *inner, span.upper])
    return [Range(lower=a, upper=b, partition=span.partition) for a, b in bounds]


def joined(spans: Sequence[Range]) -> tuple[Range, ...]:
    """The same keys in as few ranges as possible; `spans` are ascending."""
    found: list[Range] = []
    for span in spans:
        if found and found[-1].upper == span.lower:
            found[-1] = replace(found[-1], upper=span.upper)
        else:
            found.append(span)
    return tuple(found)


def within(span: Range, cut: Key) -> bool:
    """Does this key cut the range in two?"""
    return (span.lower is None or span.lower < cut) and (span.upper is None or cut < span.upper)


def cut_at(span: Range, cuts: Iterable[Key]) -> list[Range]:
    """A range cut at each of these keys that is inside it."""
    parts: list[Range] = []
    rest = span
    for cut in sorted({cut for cut in cuts if within(span, cut)}):
        parts.append(replace(rest, upper=cut))
        rest = replace(rest, lower=cut)
    return [*parts, rest]


def halves(span: Everything | Range, cut: Key) -> list[Segment]:
    """A segment in two at `cut`, and a third for the keys with a NULL part if it had them."""
    if isinstance(span, Range):
        return [replace(span, upper=cut), replace(span, lower=cut)]
    of = span.partition
    return [Range(upper=cut, partition=of), Range(lower=cut, partition=of), NullKeys(partition=of)]


def covered_by(span: Segment, pieces: Sequence[Segment]) -> list[int]:
    """Which of these pieces, of the same partition, together are exactly `span`; empty: they are not."""
    if span in pieces:
        return [pieces.index(span)]
    if isinstance(span, Everything):
        nulls = NullKeys(partition=span.partition)
        ranged = covered_by(Range(partition=span.partition), pieces)
        return [*ranged, pieces.index(nulls)] if ranged and nulls in pieces else []
    if not isinstance(span, Range):
        return []
    begins = {piece.lower: at for at, piece in enumerate(pieces) if isinstance(piece, Range)}
    found: list[int] = []
    lower = span.lower
    while lower in begins:
        found.append(begins.pop(lower))
        piece = pieces[found[-1]]
        assert isinstance(piece, Range)
        if piece.upper == span.upper:
            return found
        lower = piece.upper
        if lower is None:  # beyond the end of the span
            break
    return []


def by_keys(keys: Sequence[Key], size: int = KEYS_PER_SEGMENT) -> list[Keys]:
    """Explicit keys in segments of at most `size`, less where keys have many parts; in the order given, each once."""
    distinct = list(dict.fromkeys(keys))
    if distinct:
        size = min(size, PARTS_AT_ONCE // len(distinct[0]))
    return [Keys(keys=tuple(distinct[at : at + size])) for at in range(0, len(distinct), size)]


def merge_by_work(cuts: Sequence[Key], work: Sequence[float], segments: int) -> list[Key]:
    """Those of `cuts` that leave about `segments` segments of equal work.

    `work` holds one figure for each interval between neighbouring cuts, ends included: len(cuts) + 1 of them.
    """
    share = sum(work) / max(segments, 1) * (1 - 1e-9)  # a sum of floats may come out above its parts
    kept: list[Key] = []
    filled = 0.0
    for cut, amount in zip(cuts, work, strict=False):
        filled += amount
        if filled >= share:
            kept.append(cut)
            filled = 0.0
    return kept


def to_json(segment: Segment) -> dict[str, Any]:
    match segment:
        case Everything():
            data: dict[str, Any] = {"everything": True}
        case NullKeys():
            data = {"null_keys": True}
        case Range():
            data = {"lower": encode_row(segment.lower), "upper": encode_row(segment.upper)}
        case Keys():
            return {"keys": encode_rows(segment.keys)}
    return data if segment.partition is None else data | {"partition": slice_to_json(segment.partition)}


def from_json(data: dict[str, Any]) -> Segment:
    partition = slice_from_json(data.get("partition"))
    if "everything" in data:
        return Everything(partition=partition)
    if "null_keys" in data:
        return NullKeys(partition=partition)
    if "keys" in data:
        return Keys(keys=decode_rows(data["keys"]))
    return Range(lower=decode_row(data["lower"]), upper=decode_row(data["upper"]), partition=partition)


def partition_of(segment: Segment) -> Slice | None:
    """The partition that a segment is a part of; None where rows are not cut, or asked for by key."""
    return None if isinstance(segment, Keys) else segment.partition


def holds(segment: Segment, key: Key) -> bool:
    """May a row with this key be in the segment? Of a partition, only its keys are asked."""
    match segment:
        case Everything():
            return True
        case NullKeys():
            return None in key
        case Keys():
            return key in segment.keys
        case Range():
            below = segment.lower is not None and key < segment.lower
            return None not in key and not below and (segment.upper is None or key < segment.upper)


def overlap(one: Segment, other: Segment) -> bool:
    """May a row be in both? True also where that cannot be told."""
    try:
        if isinstance(one, Keys):
            return any(holds(other, key) for key in one.keys)
        if isinstance(other, Keys):
            return any(holds(one, key) for key in other.keys)
        if isinstance(one, Range) and isinstance(other, Range):
            before = one.upper is not None and other.lower is not None and one.upper <= other.lower
            return not before and not (other.upper is not None and one.lower is not None and other.upper <= one.lower)
    except TypeError:  # keys of two types have no order
        return True
    return not (isinstance(one, NullKeys) ^ isinstance(other, NullKeys) and Range in (type(one), type(other)))


def describe(segment: Segment) -> str:
    """A segment in words, for messages and logs."""
    partition = partition_of(segment)
    where = "" if partition is None else f" of partition {partition.label}"
    match segment:
        case Everything():
            return f"all keys{where}"
        case NullKeys():
            return f"keys with a NULL part{where}"
        case Keys():
            return f"{len(segment.keys)} keys"
        case Range(lower=None, upper=None):
            return f"all keys{where}"
        case Range():
            low = "-∞" if segment.lower is None else ", ".join(map(str, segment.lower))
            high = "+∞" if segment.upper is None else ", ".join(map(str, segment.upper))
            return f"[{low} … {high}){where}"


#: What one repair transaction aims at, seconds: so long the application may wait for a row.
HOLD_S = 0.05


class UnitSize:
    """How many rows one repair transaction takes: as many as it can within `hold_s` (where that is None: HOLD_S), which
    may change while it is at work.

    Where halving does not make it shorter, the time goes into something that each transaction pays once (a source query
    that has to read everything): then few large units hold rows for less time altogether than many small ones.
    """

    def __init__(self, hold_s: Callable[[], float | None] = lambda: None) -> None:
        self.rows = KEYS_PER_SEGMENT
        self._hold_s = hold_s
        self._slow_s: float | None = None
        self._fixed_cost = False

    def took(self, rows: int, seconds: float) -> None:
        """Learn from a unit of `rows` rows that took `seconds`."""
        asked_s = self._hold_s()
        hold_s = HOLD_S if asked_s is None else asked_s
        if self._fixed_cost or rows < self.rows // 2:
            return
        if seconds <= hold_s:
            self._slow_s = None
            if seconds < hold_s / 2:
                self.rows = min(self.rows * 2, KEYS_PER_SEGMENT)
        elif self._slow_s is not None and seconds > self._slow_s * 0.75:
            self._fixed_cost = True
            self.rows = KEYS_PER_SEGMENT
        else:
            self._slow_s = seconds
            self.rows = max(self.rows // 2, 1)
