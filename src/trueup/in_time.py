"""A segment whose statement takes longer than one may is cut in two, again and again, until its parts are read in time.

A database's own cut points come first. Where none of them is inside (a small table with a costly query, one interval
that is slow today) the cut is at the middle one of its keys, which are read without the values.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trueup.access import cuts_of
from trueup.core.plan import Everything, Keys, Range, Segment, halves, within
from trueup.core.row import Key
from trueup.errors import DataProblem, DesignProblem, StatementTimeout
from trueup.isolate import keys_of, spread
from trueup.narrow import narrow
from trueup.side_by_side import Covered, Pair, all_of

#: Segments that are cut in two in one run because their statement took too long; each cost as much as is allowed.
SPLITS_MAX = 20


def in_two(pair: Pair, span: Segment) -> list[Segment]:
    """Smaller segments that together are exactly one whose statement took too long; empty: it cannot be cut."""
    match span:
        case Keys(keys=keys) if len(keys) > 1:
            middle = len(keys) // 2
            return [Keys(keys=keys[:middle]), Keys(keys=keys[middle:])]
        case Range() | Everything():
            cut = _middle(pair, span)
            return [] if cut is None else halves(span, cut)
    return []


def _middle(pair: Pair, span: Range | Everything) -> Key | None:
    """A key to cut at; None: there is none, or finding one takes too long as well."""
    reach = span if isinstance(span, Range) else Range(partition=span.partition)
    inside = [cut for cut in cuts_of(pair) if within(reach, cut)]
    if inside:
        return inside[len(inside) // 2]
    # The keys of a table are had without computing anything, those of a query perhaps not.
    sides = sorted(("source", "target"), key=lambda name: getattr(pair.binding, name).side.query is not None)
    for name in sides:
        try:
            keys = spread(keys_of(pair, name, reach))
        except (StatementTimeout, DataProblem, DesignProblem, TypeError):  # the last: keys that have no order
            continue
        if len(keys) > 1:
            return keys[len(keys) // 2]
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Something that was compared completely, and how far that is."""

    covered: Covered
    #: Segments that were begun, of those that there are by now.
    done: int
    planned: int


def pieces(pair: Pair, segments: Sequence[Segment]) -> Iterator[Piece]:
    """Compare all segments, with all of their differences, however many there are.

    A database that compares itself hands out only so many: beyond them its rows are read side by side.
    """
    todo: deque[tuple[Segment, Callable[[Pair, Segment], Iterator[Covered]]]]
    todo = deque((segment, narrow) for segment in segments)
    done = splits = 0
    while todo:
        segment, read = todo.popleft()
        done, rest = done + 1, segment
        try:
            for covered in read(pair, segment):
                if not covered.complete:
                    todo.appendleft((segment, all_of))
                    done -= 1
                    break
                yield Piece(covered=covered, done=done, planned=done + len(todo))
                rest = covered.rest or rest
        except StatementTimeout:
            parts = [rest]
            if rest == segment:  # else some of it was read in time, and the rest is tried anew
                splits += 1
                parts = in_two(pair, segment)
                if splits > SPLITS_MAX or not parts:
                    raise
            todo.extendleft((part, read) for part in reversed(parts))
            done -= 1
