"""Two databases that hash rows alike: each digests its leaves, and only what differs is looked at closer.

    digests of leaves -> hashes of the rows in leaves that differ -> the rows whose hashes differ -> values

Both databases are asked at the same time, and for digests before they are wanted. Each step reads the segment once
more, and moves only what the step before could not rule out. Where hardly a leaf is equal, the segments that follow
begin with the second step; where hardly a row is, rows are read side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime

from trueup.ahead import Ahead, Asked, Following
from trueup.core.compare import Counts, Suspect
from trueup.core.digest import (
    LEAVES,
    LEAVES_OF_ALL,
    PRINTS_MAX,
    Digests,
    Hashing,
    agree,
    differing,
    keys_that_differ,
    rows_in,
)
from trueup.core.plan import KEYS_AT_ONCE, KeyHashes, Leaves, Range, Ranges, Segment, joined, slices
from trueup.side_by_side import Covered, Pair, both, of_part, side_by_side

#: Beyond this share of leaves that differ the next segments do without digests: row hashes of everything cost little
#: more than they do.
SCATTERED = 0.25
#: Beyond this share of rows that differ, reading them all is less work than picking them out.
ROWS_SHARE = 0.2


def hashing_of(pair: Pair) -> tuple[Hashing | None, str]:
    """How both sides hash rows, and why; asked once."""
    if pair.learned.hashing is None:
        if pair.binding.projection.exact:
            pair.learned.hashing = None, "exact: every value is compared"
        else:
            offers = both(pair.source.hashes, pair.target.hashes)
            pair.learned.hashing = agree(pair.binding, *offers)
    return pair.learned.hashing


def by_digest(pair: Pair, segment: Range, hashing: Hashing) -> Iterator[Covered]:
    """Compare a key range by digests."""
    bounded = segment.lower is not None and segment.upper is not None
    whole, dealt = _whole(pair, segment, hashing)
    part: Range | Leaves | Ranges = segment
    counts = Counts()
    if not (pair.learned.scattered and bounded):
        source, target = digests(pair, segment, hashing)
        counts.source_rows, counts.target_rows = rows_in(source), rows_in(target)
        leaves = set(differing(source, target))
        pair.learned.scattered = len(leaves) > SCATTERED * max(len(source), len(target))
        if not leaves:
            yield Covered(span=segment, counts=counts, suspects=[])
            return
        if max(rows_in(source, leaves), rows_in(target, leaves)) > PRINTS_MAX:
            with _closer(pair):
                yield from side_by_side(pair, segment)
            return
        if isinstance(whole, Ranges):
            part = Ranges(within=segment, ranges=joined([s for at, s in enumerate(whole.ranges) if at in leaves]))
        else:
            part = Leaves(within=segment, hashing=dealt, leaves=tuple(leaves))
    elif pair.learned.ahead is not None:
        pair.learned.ahead.pass_over(segment)
    with _closer(pair):
        yield from _row_by_row(pair, segment, part, dealt, counts)


def digests(pair: Pair, segment: Range, hashing: Hashing) -> tuple[Digests, Digests]:
    """What the leaves of a segment amount to, in both databases."""
    if pair.learned.ahead is not None and pair.learned.ahead.expects(segment):
        return pair.learned.ahead.digests(segment)
    source, target = _asking(pair, hashing)
    with _closer(pair):
        return both(lambda: source(segment), lambda: target(segment))


@contextmanager
def asking_ahead(
    pair: Pair, segments: Sequence[Segment], now: Callable[[], datetime], *, together: bool = False
) -> Iterator[None]:
    """Around comparing these, one after the other: digests are asked for before they are wanted.

    `together`: what is equal need not have been so at a later moment than that at which its statement began.
    """
    hashing = None if pair.binding.one_database else hashing_of(pair)[0]
    spans = [segment for segment in segments if isinstance(segment, Range)]
    if hashing is None or len(spans) < 2:
        yield
        return
    sides = [_asked(pair, role, spans, hashing, together=together) for role in ("source", "target")]
    with closing(Ahead(spans, sides[0], sides[1], now)) as ahead:
        pair.learned.ahead = ahead
        try:
            yield
        finally:
            pair.learned.ahead = None


def _asking(pair: Pair, hashing: Hashing) -> tuple[Callable[[Range], Digests], Callable[[Range], Digests]]:
    """Who asks the two databases for digests of a segment."""
    binding = pair.binding
    return (
        lambda segment: pair.source.digests(binding.source, *_whole(pair, segment, hashing)),
        lambda segment: pair.target.digests(binding.target, *_whole(pair, segment, hashing)),
    )


def _asked(pair: Pair, role: str, spans: Sequence[Range], hashing: Hashing, *, together: bool) -> Asked:
    """Who asks one database for digests of these segments; many by one statement, where that pays."""
    reader, side = (pair.source, pair.binding.source) if role == "source" else (pair.target, pair.binding.target)
    alone = _asking(pair, hashing)[role == "target"]
    most = reader.capabilities.together
    able = [span for span in spans if len(slices(span, 2)) > 1] if hashing.ranged else []
    if not together or most == 1 or reader.connections() == 1 or len({span.partition for span in able}) != 1:
        return Asked(alone, reader.connections)

    def all_of(some: Sequence[Range]) -> Generator[Digests]:
        parts = [part for part, _ in (_whole(pair, span, hashing) for span in some) if isinstance(part, Ranges)]
        assert len(parts) == len(some), "a segment without ranges would get those of the next one"
        return reader.digests_of(side, parts, hashing)

    following = Following(able, alone, all_of, most)
    return Asked(following, reader.connections, following)


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


def _row_by_row(
    pair: Pair, segment: Range, part: Range | Leaves | Ranges, hashing: Hashing, counts: Counts
) -> Iterator[Covered]:
    """Compare the hashes of rows, then the rows whose hashes differ."""
    binding = pair.binding
    source, target = both(
        lambda: pair.source.prints(binding.source, part, hashing),
        lambda: pair.target.prints(binding.target, part, hashing),
    )
    rows = max(len(source), len(target))
    whole = max(rows, counts.source_rows, counts.target_rows)
    hashes = [] if rows > PRINTS_MAX else keys_that_differ(source, target)
    if rows > PRINTS_MAX or len(hashes) > ROWS_SHARE * whole + KEYS_AT_ONCE:
        yield from side_by_side(pair, segment)
        return
    if part == segment:
        counts.source_rows, counts.target_rows = len(source), len(target)
        pair.learned.scattered = len(hashes) > SCATTERED * (_slices(pair) if hashing.ranged else LEAVES)
    suspects: list[Suspect] = []
    for at in range(0, len(hashes), KEYS_AT_ONCE):
        some = KeyHashes(within=segment, hashing=hashing, hashes=tuple(hashes[at : at + KEYS_AT_ONCE]))
        found, differ = of_part(pair, some)
        counts += found
        suspects += differ
    yield Covered(span=segment, counts=counts, suspects=suspects)
