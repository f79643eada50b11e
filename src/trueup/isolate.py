"""A segment that cannot be read is cut until the row that is to blame is alone; everything else is compared.

Where the keys themselves can be read, the cut is at the middle one, so that one bad row among a million costs about
twenty cuts, and each healthy half is compared on the way. Where they cannot (the query fails whatever is asked of it),
the databases' own cut points are used, and what is left over has no key that could be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from trueup.access import cuts_of
from trueup.adapters import delivered
from trueup.core.plan import Everything, Keys, NullKeys, Range, Segment, cut_at, halves, within
from trueup.core.row import Key
from trueup.errors import DataProblem, DesignProblem
from trueup.side_by_side import Pair

#: Keys kept while looking for the middle one; of more, every second is forgotten, again and again.
KEYS_KEPT = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """What became of a segment that cannot be read."""

    #: Smaller segments that together are exactly it; empty: it cannot be cut any further.
    parts: Sequence[Segment] = ()
    #: The one key in it, where it cannot be cut; None: no key can be told.
    culprit: Key | None = None


def isolate(pair: Pair, span: Segment, known: Sequence[Key]) -> Cut:
    """Cut a segment in which some row cannot be read. `known`: borders at which it was cut before, in earlier runs."""
    match span:
        case NullKeys():
            return Cut()
        case Keys(keys=(key,)):
            return Cut(culprit=key)
        case Keys(keys=keys):
            middle = len(keys) // 2
            return Cut(parts=[Keys(keys=keys[:middle]), Keys(keys=keys[middle:])])
        case Everything():
            of = span.partition
            return Cut(parts=[*cut_at(Range(partition=of), known), NullKeys(partition=of)])
        case Range():
            return _of_range(pair, span, known)


def _of_range(pair: Pair, span: Range, known: Sequence[Key]) -> Cut:
    parts = cut_at(span, known)
    if len(parts) > 1:
        return Cut(parts=parts)
    try:
        keys = spread(_keys_in(pair, span))
    except (DataProblem, DesignProblem, TypeError):  # the last: keys of several types, which have no order
        inside = [cut for cut in cuts_of(pair) if within(span, cut)]
        return Cut(parts=halves(span, inside[len(inside) // 2])) if inside else Cut()
    if len(keys) < 2:
        return Cut(culprit=keys[0] if keys else None)
    return Cut(parts=halves(span, keys[len(keys) // 2]))


def _keys_in(pair: Pair, span: Range) -> Iterator[Key]:
    """The keys of both sides: a key of both comes twice."""
    for role in ("source", "target"):
        yield from keys_of(pair, role, span)


def keys_of(pair: Pair, role: str, span: Range) -> Iterator[Key]:
    """The keys of one side in order, read without the values."""
    reader, side = pair.side(role)
    bare = replace(pair.binding, columns=(), value_kinds=(), rules=(), absent=None)
    stream = reader.stream(bare, replace(side, values=()), span, tokens=False)
    for batch in delivered(stream, f"{pair.name}: the {role}"):
        yield from (batch.key(at) for at in range(len(batch)))


def spread(keys: Iterator[Key]) -> list[Key]:
    """The distinct keys in order, or, of many, some that are spread evenly over them."""
    kept: set[Key] = set()
    step = 1
    for at, key in enumerate(keys):
        if at % step == 0:
            kept.add(key)
            if len(kept) > KEYS_KEPT:
                kept = set(sorted(kept)[::2])
                step *= 2
    return sorted(kept)
