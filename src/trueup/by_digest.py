"""Two databases that hash rows alike: each digests its leaves, and only what differs is looked at closer.

    digests of leaves -> hashes of the rows in leaves that differ -> the rows whose hashes differ -> values

Both databases are asked at the same time, and for digests before they are wanted. Each step reads the segment once
more, and moves only what the step before could not rule out. Where hardly a leaf is equal, the segments that follow
begin with the second step, which is then what is asked for before it is wanted; where hardly a row is, rows are read
side by side. What is digested in one pass is gone through by key range where that is too much at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeGuard, TypeVar

from trueup.access import cuts_that_pay, hashing_of
from trueup.ahead import Ahead, Following, Question
from trueup.core.compare import Counts, Suspect
from trueup.core.digest import (
    LEAVES,
    LEAVES_OF_ALL,
    PRINTS_MAX,
    Digests,
    Hashing,
    Prints,
    differing,
    keys_that_differ,
    rows_in,
)
from trueup.core.plan import (
    KEYS_AT_ONCE,
    KeyHashes,
    Keys,
    Leaves,
    Part,
    Range,
    Ranges,
    Segment,
    cut_at,
    joined,
    slices,
    within,
)
from trueup.side_by_side import Covered, Pair, both, of_part, side_by_side

#: Beyond this share of leaves that differ the next segments do without digests: row hashes of everything cost little
#: more than they do.
SCATTERED = 0.25
#: Beyond this share of rows that differ, reading them all is less work than picking them out.
ROWS_SHARE = 0.2
#: So many explicit keys are worth a statement more where some of their rows differ: fewer are read at once.
KEYS_MIN = 500
#: Segments whose row hashes are asked for before they are wanted, at most: some megabytes each.
PRINTS_AHEAD = 1

Answer = TypeVar("Answer")


def by_digest(pair: Pair, segment: Range | Keys, hashing: Hashing) -> Iterator[Covered]:
    """Compare a key range by digests, or explicit keys by the hashes of their rows, at a first look."""
    keys, counts = _sought(pair, segment, hashing)
    if keys == []:
        yield Covered(span=segment, counts=counts, suspects=[])
    elif keys is None and _may_be_cut(segment, pair):
        yield from _by_range(pair, segment, hashing)
    else:
        with _closer(pair):
            if keys is None:
                yield from side_by_side(pair, segment)
            else:
                yield _by_value(pair, segment, hashing, keys, counts)


def _may_be_cut(segment: Range | Keys, pair: Pair) -> TypeGuard[Range]:
    """Is it less work to go through it by key range? It is not known of a partition, which may have an index."""
    if isinstance(segment, Keys) or segment.partition is not None:
        return False
    with _closer(pair):
        return any(within(segment, cut) for cut in cuts_that_pay(pair))


def _by_range(pair: Pair, segment: Range, hashing: Hashing) -> Iterator[Covered]:
    """A segment too many of whose leaves differ, part by part: each has leaves of its own."""
    for part in cut_at(segment, cuts_that_pay(pair)):
        for piece in by_digest(pair, part, hashing):
            left = piece.rest.lower if isinstance(piece.rest, Range) else part.upper
            yield replace(piece, rest=None if left == segment.upper else replace(segment, lower=left))


def worth_hashing(segment: Segment, *, first: bool) -> TypeGuard[Range | Keys]:
    """Are these rows that `by_digest` takes, and so many that it pays? `first`: at a first look, for explicit keys."""
    many = first and isinstance(segment, Keys) and len(segment.keys) >= KEYS_MIN
    return many or isinstance(segment, Range)


def digests(pair: Pair, segment: Range, hashing: Hashing) -> tuple[Digests, Digests]:
    """What the leaves of a segment amount to, in both databases."""
    if pair.learned.ahead is not None and pair.learned.ahead.expects(segment):
        return pair.learned.ahead.digests(segment)
    return _of_both(pair, lambda role: _digests(pair, role, segment, hashing))


def prints(pair: Pair, segment: Range | Keys, hashing: Hashing) -> tuple[Prints, Prints]:
    """The hashes of all rows of a segment, in both databases."""
    if isinstance(segment, Range) and pair.learned.ahead is not None and pair.learned.ahead.expects(segment):
        return pair.learned.ahead.prints(segment)
    return _of_both(pair, lambda role: _prints(pair, role, segment, hashing))


def _digests(pair: Pair, role: str, segment: Range, hashing: Hashing) -> Digests:
    reader, side = pair.side(role)
    return reader.digests(side, *_whole(pair, segment, hashing))


def _prints(pair: Pair, role: str, part: Part, hashing: Hashing) -> Prints:
    reader, side = pair.side(role)
    return reader.prints(side, part, hashing)


def _of_both(pair: Pair, ask: Callable[[str], Answer]) -> tuple[Answer, Answer]:
    """What source and target answer; both are asked now."""
    with _closer(pair):
        return both(lambda: ask("source"), lambda: ask("target"))


@contextmanager
def asking_ahead(
    pair: Pair, segments: Sequence[Segment], now: Callable[[], datetime], *, together: bool = False
) -> Iterator[None]:
    """Around comparing these, one after the other: digests, or row hashes, are asked for before they are wanted.

    `together`: what is equal need not have been so at a later moment than that at which its statement began.
    """
    hashing = None if pair.binding.one_database else hashing_of(pair)[0]
    spans = [segment for segment in segments if isinstance(segment, Range)]
    if hashing is None or len(spans) < 2:
        yield
        return
    roles = ("source", "target")
    source, target = (
        _followed(pair, role, hashing, spans) if together else _asked(pair, role, hashing) for role in roles
    )
    of_leaves = Question(source.digests, target.digests)
    of_rows = Question(source.prints, target.prints, PRINTS_AHEAD)
    allowed = pair.source.connections, pair.target.connections
    with closing(Ahead(spans, of_leaves, of_rows, allowed, now, learn=together)) as ahead:
        pair.learned.ahead = ahead
        try:
            yield
        finally:
            pair.learned.ahead = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Who asks one database for the digests of a segment, and who for the hashes of its rows."""

    digests: Callable[[Range], Digests]
    prints: Callable[[Range], Prints]


def _asked(pair: Pair, role: str, hashing: Hashing) -> Asked:
    """Each segment by a statement of its own."""
    return Asked(
        digests=lambda segment: _digests(pair, role, segment, hashing),
        prints=lambda segment: _prints(pair, role, segment, hashing),
    )


def _followed(pair: Pair, role: str, hashing: Hashing, spans: Sequence[Range]) -> Asked:
    """Many segments by one statement, where that pays."""
    reader, side = pair.side(role)
    each = _asked(pair, role, hashing)
    one = reader.one_statement
    able = [span for span in spans if len(slices(span, 2)) > 1] if hashing.ranged else []
    if one is None or reader.connections() == 1 or len({span.partition for span in able}) != 1:
        return each

    def digests_together(some: Sequence[Range]) -> Generator[Digests]:
        parts = [part for part, _ in (_whole(pair, span, hashing) for span in some) if isinstance(part, Ranges)]
        assert len(parts) == len(some), "a segment without ranges would get those of the next one"
        return one.digests_of(side, parts, hashing)

    def prints_together(some: Sequence[Range]) -> Generator[Prints]:
        return one.prints_of(side, some, hashing)

    return Asked(
        # The first is asked alone: it tells whether the others will be asked for digests, and compiling is dear.
        digests=Following(able[1:], each.digests, digests_together, one.most),
        prints=Following(able, each.prints, prints_together, one.most),
    )


def _closer(pair: Pair) -> AbstractContextManager[None]:
    return nullcontext() if pair.learned.ahead is None else pair.learned.ahead.closer()


def _whole(pair: Pair, segment: Range, hashing: Hashing) -> tuple[Range | Ranges, Hashing]:
    """A segment as it is digested, and by how many leaves: ranges of it are leaves of their own.

    Always the same of a segment: the databases are not asked at one moment, and the answers are compared by number.
    """
    if segment.lower is None and segment.upper is None:
        hashing = replace(hashing, leaves=LEAVES_OF_ALL)
    cut = slices(segment, _slices(pair)) if hashing.ranged else [segment]
    return (segment if len(cut) == 1 else Ranges(within=segment, ranges=tuple(cut))), hashing


def _slices(pair: Pair) -> int:
    """Ranges that one segment is cut into, which both databases have to take."""
    return min(pair.source.capabilities.slices, pair.target.capabilities.slices)


#: Hashes of the keys whose rows differ, None where they are so many that rows had better be read side by side; and how
#: many rows there are.
Found = tuple[list[bytes] | None, Counts]


def _sought(pair: Pair, segment: Range | Keys, hashing: Hashing) -> Found:
    if isinstance(segment, Keys):
        source, target = prints(pair, segment, hashing)
        counts = Counts(source_rows=len(source), target_rows=len(target))
        return keys_that_differ(source, target), counts
    bounded = segment.lower is not None and segment.upper is not None
    return (_by_prints if pair.learned.scattered and bounded else _by_leaves)(pair, segment, hashing)


def _by_leaves(pair: Pair, segment: Range, hashing: Hashing) -> Found:
    """Compare the leaves of a segment, then the hashes of the rows in those that differ."""
    source, target = digests(pair, segment, hashing)
    counts = Counts(source_rows=rows_in(source), target_rows=rows_in(target))
    leaves = set(differing(source, target))
    pair.learned.scattered = len(leaves) > SCATTERED * max(len(source), len(target))
    if not leaves:
        return [], counts
    if max(rows_in(source, leaves), rows_in(target, leaves)) > PRINTS_MAX:
        return None, counts
    whole, dealt = _whole(pair, segment, hashing)
    part: Leaves | Ranges = Leaves(within=segment, hashing=dealt, leaves=tuple(leaves))
    if isinstance(whole, Ranges):
        part = Ranges(within=segment, ranges=joined([s for at, s in enumerate(whole.ranges) if at in leaves]))
    found = _of_both(pair, lambda role: _prints(pair, role, part, dealt))
    return _that_differ(*found, max(counts.source_rows, counts.target_rows)), counts


def _by_prints(pair: Pair, segment: Range, hashing: Hashing) -> Found:
    """Compare the hashes of all rows of a segment."""
    source, target = prints(pair, segment, hashing)
    keys = _that_differ(source, target)
    if keys is not None:
        pair.learned.scattered = len(keys) > SCATTERED * (_slices(pair) if hashing.ranged else LEAVES)
    return keys, Counts(source_rows=len(source), target_rows=len(target))


def _that_differ(source: Prints, target: Prints, whole: int = 0) -> list[bytes] | None:
    """Hashes of the keys whose rows differ, of at least `whole` rows; None: too many, or not all of them are known."""
    rows = max(len(source), len(target))
    if rows > PRINTS_MAX:
        return None
    keys = keys_that_differ(source, target)
    return None if len(keys) > ROWS_SHARE * max(rows, whole) + KEYS_AT_ONCE else keys


def _by_value(pair: Pair, segment: Range | Keys, hashing: Hashing, keys: Sequence[bytes], counts: Counts) -> Covered:
    """Read the rows of these keys, and compare their values."""
    suspects: list[Suspect] = []
    for at in range(0, len(keys), KEYS_AT_ONCE):
        some = KeyHashes(within=segment, hashing=hashing, hashes=tuple(keys[at : at + KEYS_AT_ONCE]))
        found, differ = of_part(pair, some)
        counts += found
        suspects += differ
    return Covered(span=segment, counts=counts, suspects=suspects)
