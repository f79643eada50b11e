"""Digests: which leaves of a segment cannot be equal, found without moving a row.

Each side makes one hash of all rows of a leaf. Leaves whose count and digest agree were compared by content: two that
differ pass for equal by chance (2**-63 at most; docs/comparing.md, "How sure is equal?"), never because changes cancel,
as they do under XOR or a linear checksum. Leaves that differ are looked at row by row: by a hash of each row first, by
values in the end. *Digests filter; values decide.*

What a row hash is made of has to be the same on both sides, so a pair of columns is hashed only where both databases
hold the same kind. A difference of spelling then costs a closer look, and no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from trueup.core.binding import Binding, Column
from trueup.core.row import Kind

#: Leaves of one segment. With some 100,000 rows in a segment a leaf has about 200. It is a prime, since keys may go in
#: steps of any power of two: what many numbers are made of ends in a dozen zeros.
LEAVES = 509
#: Leaves of a range that is everything there is, since no index serves smaller ones; a prime, too.
LEAVES_OF_ALL = 4_093
#: Leaves of one segment that are ranges of the key, each read along the index: one statement names them all. The fewer
#: there are, the less they cost; the more, the less there is to be read again where some differ. So many any database
#: takes, see `Capabilities`.
SLICES = 64
#: Rows of a segment, about.
SEGMENT_ROWS = 100_000
#: Row hashes that are fetched at a time, at most; bounds the memory of the client.
PRINTS_MAX = 400_000
#: Row hashes that are compared at once where both sides are in one order; a power of two.
RUN = 64
#: Beyond this share of rows without their like in place, the rest is not expected to be in one order.
UNMATCHED_SHARE = 1 / 16
#: Row hashes of each side among which the next equal ones are sought, at first; twice as many each time there are none.
SEEK_ROWS = 2

#: Kinds that every way of hashing can spell.
_HASHABLE = frozenset(
    {
        Kind.INTEGER,
        Kind.DECIMAL,
        Kind.BOOLEAN,
        Kind.TEXT,
        Kind.BYTES,
        Kind.UUID,
        Kind.DATE,
        Kind.TIMESTAMP,
        Kind.INSTANT,
    }
)
#: Further kinds that two columns of one type are hashed alike in. Documents are hashed as they are spelt: what is spelt
#: alike means the same, and of the rest the values decide.
_HASHABLE_ALIKE = _HASHABLE | {Kind.JSON}
#: The same, of two servers of one product that hash values as they are stored.
_HASHABLE_AS_STORED = _HASHABLE_ALIKE | {Kind.FLOAT, Kind.TIME}
#: Kinds that may meet: numbers are spelt as the wider of the two.
_MAY_MEET = ({Kind.INTEGER, Kind.DECIMAL}, {Kind.INTEGER, Kind.BOOLEAN})
#: A decimal type with its scale, as databases print it.
_SCALED = re.compile(r"(?:numeric|decimal)\(\d+,\s*(\d+)\)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowHash:
    """A way to hash rows that a database has."""

    #: Two databases hash alike if name and `proof` are equal.
    name: str
    #: What it makes of a fixed set of values.
    proof: str
    #: Does it take values as they are stored, or as a text that other products can spell too?
    portable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Hashing:
    """How both sides of a projection hash their rows."""

    name: str
    #: In which kind each key part and each compared column is hashed.
    key: tuple[Kind, ...]
    values: tuple[Kind, ...]
    #: Columns (key first) that need no canonical spelling, since both sides have the same scale.
    as_they_are: tuple[bool, ...]
    #: Leaves that the keys of one segment are dealt to, about.
    leaves: int = LEAVES
    #: Leaves of a segment between two keys are ranges: nothing is grouped or sorted, and a closer look reads little.
    ranged: bool = False
    #: The rows of a leaf are hashed in key order.
    ordered: bool = True

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return (*self.key, *self.values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Digest:
    """What one leaf of one side amounts to."""

    rows: int
    #: The sum of row hashes, or one hash of all rows in key order; None: there are no rows, or it is not known.
    content: object


@dataclass(frozen=True, kw_only=True, slots=True)
class Prints:
    """Rows as hashes: of the key, then of the whole row; `width` bytes together. More than PRINTS_MAX are cut off."""

    width: int
    packed: bytes
    #: The hash of a row stands before that of its key, and the first row has none: it counts as different.
    headless: bool = False

    def __len__(self) -> int:
        return (len(self.packed) + self.width // 2 * self.headless) // self.width

    def without_head(self) -> Prints:
        """The same rows, but for the hash of the first."""
        if self.headless:
            return self
        half = self.width // 2
        turned = b"".join(row[half:] + row[:half] for row in _rows(self.packed, self.width))
        return replace(self, packed=turned[half:], headless=True)


#: A leaf's name (a number, or a few digits of a hash) -> its digest.
Digests = Mapping[object, Digest]


def agree(binding: Binding, source: Sequence[RowHash], target: Sequence[RowHash]) -> tuple[Hashing | None, str]:
    """The hash that both sides will use, and why; None where there is none. The first that both have is taken."""
    theirs = {(offer.name, offer.proof) for offer in target}
    common = [offer for offer in source if (offer.name, offer.proof) in theirs]
    if not common:
        return None, "the two databases have no row hash in common"
    if not (binding.source.unique and binding.target.unique):
        return None, "a key that may repeat is compared row by row"
    if binding.rules:
        return None, "a tolerance, and a NULL that means something else, are asked of values and not of hashes"
    why = ""
    for offer in common:
        why = _unfit(binding, portable=offer.portable)
        if not why:
            pairs = list(zip(binding.source.columns, binding.target.columns, strict=True))
            hashing = Hashing(
                name=offer.name,
                key=binding.key_kinds,
                values=binding.value_kinds,
                as_they_are=tuple(_same_scale(*pair) for pair in pairs),
                ranged=binding.key_kinds == (Kind.INTEGER,),
                ordered=offer.portable,
            )
            return hashing, f"rows are hashed by {offer.name}"
    return None, why


def _unfit(binding: Binding, *, portable: bool) -> str:
    """Why these columns cannot be hashed alike on both sides; empty if they can."""
    names = (*binding.projection.key, *binding.columns)
    sides = zip(names, binding.source.columns, binding.target.columns, strict=True)
    for name, source, target in sides:
        if source.kind is target.kind:
            alike = _HASHABLE_ALIKE if portable else _HASHABLE_AS_STORED
            hashable = source.kind in (alike if source.type_name == target.type_name else _HASHABLE)
        else:
            hashable = {source.kind, target.kind} in _MAY_MEET and name not in binding.projection.key
        if not hashable:
            return (
                f"column {name!r} ({source.type_name or source.kind} and {target.type_name or target.kind}) has no "
                f"spelling that both databases hash alike"
            )
    return ""


def _same_scale(source: Column, target: Column) -> bool:
    one, other = _SCALED.fullmatch(source.type_name), _SCALED.fullmatch(target.type_name)
    return one is not None and other is not None and one[1] == other[1]


def differing(source: Digests, target: Digests) -> list[object]:
    """Leaves that are not the same on both sides, or cannot be told to be."""

    def same(leaf: object) -> bool:
        one, other = source.get(leaf), target.get(leaf)
        return one is not None and one == other and (not one.rows or one.content is not None)

    return [leaf for leaf in {**source, **target} if not same(leaf)]


def rows_in(digests: Digests, leaves: Iterable[object] | None = None) -> int:
    """Rows in `leaves` of one side; None: in all of them."""
    if leaves is None:
        return sum(digest.rows for digest in digests.values())
    return sum(digests[leaf].rows for leaf in leaves if leaf in digests)


def keys_that_differ(source: Prints, target: Prints) -> list[bytes]:
    """Hashes of the keys whose rows are not the same on both sides."""
    half = source.width // 2
    if source.headless or target.headless:
        one, other = source.without_head().packed, target.without_head().packed
        firsts = {packed[:half] for packed in (one, other) if packed}
        return sorted(firsts.union(row[half:] for row in _unmatched(one, other, source.width, half)))
    return sorted({row[:half] for row in _unmatched(source.packed, target.packed, source.width)})


def _unmatched(source: bytes, target: bytes, width: int, start: int = 0) -> set[bytes]:
    """Rows of `width` bytes, from `start` on, that only one side has.

    Whatever their order; but mostly both sides come in one order, and then runs of equal rows are passed over whole.
    """
    left: list[bytes] = []
    right: list[bytes] = []
    at, to, ahead = start, start, SEEK_ROWS
    while at < len(source) and to < len(target) and len(left) < len(source) // width * UNMATCHED_SHARE:
        if same := _alike(source, at, target, to, width):
            at, to, ahead = at + same, to + same, SEEK_ROWS
        here, there = _passed(source, at, target, to, width, ahead)
        left += here
        right += there
        at, to, ahead = at + len(here) * width, to + len(there) * width, ahead * 2
    return {*left, *_rows(source[at:], width)} ^ {*right, *_rows(target[to:], width)}


def _passed(
    source: bytes, at: int, target: bytes, to: int, width: int, ahead: int
) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """Rows of both sides before the next equal ones, which are sought among so many; mostly one is in the way."""
    here, there = source[at : at + width], target[to : to + width]
    here_next, there_next = source[at + width : at + 2 * width], target[to + width : to + 2 * width]
    if here_next == there_next:
        return (here,) if here else (), (there,) if there else ()
    if here_next == there:
        return (here,), ()
    if here == there_next:
        return (), (there,)
    rows, others = _rows(source[at : at + ahead * width], width), _rows(target[to : to + ahead * width], width)
    places = {row: place for place, row in enumerate(others)}
    for place, row in enumerate(rows):
        if row in places:
            return rows[:place], others[: places[row]]
    return rows, others


def _rows(packed: bytes, width: int) -> list[bytes]:
    return [packed[at : at + width] for at in range(0, len(packed), width)]


def _alike(source: bytes, at: int, target: bytes, to: int, width: int) -> int:
    """How many bytes are the same from these places on, in whole rows."""
    begun, size = at, RUN * width
    while (piece := source[at : at + size]) and target.startswith(piece, to):
        at += len(piece)
        to += len(piece)
    while size > width:  # within so many bytes there is one that is not the same, or an end
        size //= 2
        piece = source[at : at + size]
        if target.startswith(piece, to):
            at += len(piece)
            to += len(piece)
    return at - begun
