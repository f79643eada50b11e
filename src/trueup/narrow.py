"""Where to look: segments -> suspects, with proof of what was covered.

Narrowing is cheap and may cover millions of rows; reconciling (`reconcile.py`) is exact and runs on what it found.
There are three strategies, one function each:

* `inside`: source and target are in one database. It compares; only differences leave it.
* `by_digest`: two databases that hash rows alike. Each digests its leaves; only those that differ are looked at closer.
* `side_by_side`: two databases. Both are read in the same binary key order and compared batch by batch, in bounded
  memory, whatever the size of the segment.

Each yields `Covered` pieces that together are exactly the segment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from trueup.access import finer, hashing_of, paying, surveys_of
from trueup.adapters import Look, Survey
from trueup.by_digest import by_digest, worth_hashing
from trueup.core.compare import DriftKind
from trueup.core.plan import (
    KEYS_AT_ONCE,
    Everything,
    NullKeys,
    Range,
    Segment,
    by_keys,
    merge_by_work,
    partition_of,
    ranges,
)
from trueup.core.row import Key
from trueup.side_by_side import Covered, Pair, all_at_once, all_of, side_by_side

if TYPE_CHECKING:
    from trueup.by_partition import Cut
    from trueup.core.binding import Binding
    from trueup.core.lot import Lot
    from trueup.core.partition import Open, Slice

#: The strategies in words.
INSIDE = "compared inside the database"
IN_DUCKDB = "compared by DuckDB, which reads the files"
BY_DIGEST = "digests of leaves, then the rows that differ"
SIDE_BY_SIDE = "rows read side by side in key order"


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """How a projection will be narrowed, and why."""

    strategy: str
    segments: list[Segment]
    reasons: list[str]
    #: Are these all rows?
    whole: bool = True
    #: Partitions that are not compared yet.
    open: list[Open] = field(default_factory=list)


def narrow(pair: Pair, segment: Segment, *, first: bool = False, lots: bool = False) -> Iterator[Covered]:
    """Compare one segment by the strategy that fits; of a partition, rows that moved out of it are found as such.

    `first`: what is found will be looked at once more, so that both databases may be asked at the same time. `lots`:
    many differences of one kind may be kept together.
    """
    if lots and isinstance(segment, Range | Everything):
        yield from inside(pair, segment, lots=True)
        return
    if partition_of(segment) is None or not pair.binding.movable:
        yield from _compared(pair, segment, first=first)
        return
    from trueup.by_partition import exactly

    for piece in _compared(pair, segment, first=first):
        # What is not handed out cannot be looked at by its key: a row that moved would stay a difference.
        for whole in [piece] if piece.complete else all_of(pair, piece.span, first=first):
            yield exactly(pair, whole, partial(_by_key, pair))


def _by_key(pair: Pair, keys: Sequence[Key]) -> Iterator[Covered]:
    """The rows of `keys`, in whatever partition they are."""
    for part in by_keys(keys, KEYS_AT_ONCE):
        yield from _compared(pair, part)


def _compared(pair: Pair, segment: Segment, *, first: bool = False) -> Iterator[Covered]:
    if pair.binding.one_database:
        yield from inside(pair, segment)
        return
    if worth_hashing(segment, first=first) and (hashing := hashing_of(pair)[0]):
        yield from by_digest(pair, segment, hashing)
    else:
        yield from side_by_side(pair, segment, first=first)


def route(pair: Pair, now: datetime, asked: Sequence[Slice] | None = None) -> Route:
    """Ask the databases for access paths, and cut the keys into segments of about equal work; or take the declared
    partitions, of them only those in `asked` where that is given.
    """
    binding = pair.binding
    if binding.cut_kind is not None:
        from trueup.by_partition import cut

        return _route_of_partitions(pair, cut(pair, asked, now))
    if binding.one_database:
        (survey,) = surveys_of(pair)
        cuts = _cuts(survey)
        how = f"in {len(cuts) + 1} key ranges" if cuts else "in one pass"
        whole: Segment = Everything()
        return Route(
            strategy=f"{_inside(binding)}, {how}",
            segments=[*ranges(cuts), NullKeys()] if cuts else [whole],
            reasons=[survey.reason],
        )
    return _route_of_two(pair)


def _inside(binding: Binding) -> str:
    return IN_DUCKDB if binding.source.side.file else INSIDE


def _route_of_partitions(pair: Pair, found: Cut) -> Route:
    binding = pair.binding
    what, reasons = _inside(binding), ["declared"]
    if not binding.one_database:
        what, why = _way_of_two(pair)
        reasons.append(why)
    return Route(
        strategy=f"{what}, in {found.words(binding)}",
        segments=found.segments(binding),
        reasons=reasons,
        whole=found.all and not found.open,
        open=found.open,
    )


def _route_of_two(pair: Pair) -> Route:
    """Key ranges where an index serves them on both sides, else one pass over each."""
    binding = pair.binding
    source, target = surveys_of(pair)
    pair.learned.cuts = paying(source, target)
    seekable = source.seekable and target.seekable
    cuts = _cuts(finer(source, target)) if seekable else []
    null_keys: list[Segment] = [NullKeys()] if binding.source.null_keys or binding.target.null_keys else []
    what, why = _way_of_two(pair)
    how = f"in {len(cuts) + 1} key ranges" if cuts else "in one pass a side"
    return Route(
        strategy=f"{what}, {how}",
        segments=[*ranges(cuts), *null_keys],
        reasons=[
            why,
            *(_connections(pair) if what == BY_DIGEST and cuts else []),
            f"source: {source.reason}",
            f"target: {target.reason}",
        ],
    )


def _way_of_two(pair: Pair) -> tuple[str, str]:
    """How two databases are compared, and why."""
    hashing, why = hashing_of(pair)
    return SIDE_BY_SIDE if hashing is None else BY_DIGEST, why


def _connections(pair: Pair) -> list[str]:
    """How many statements digest a side at a time."""
    most = {"source": pair.source.connections(), "target": pair.target.connections()}
    if max(most.values()) == 1:
        return []
    told = ", ".join(f"{role} {many}" for role, many in most.items())
    return [f"each side is digested by one connection; one that falls behind gets more, at most: {told} (`readers`)"]


def _cuts(survey: Survey) -> list[Key]:
    if not survey.seekable:
        return []
    return merge_by_work(survey.cuts, survey.work, max(round(sum(survey.work) / survey.per_segment), 1))


def inside(pair: Pair, segment: Segment, *, lots: bool = False) -> Iterator[Covered]:
    """Let the database compare; only differences leave it."""
    look = None if isinstance(segment, NullKeys) else _look(pair, segment, lots=lots)
    if look is None:
        yield from side_by_side(pair, segment)
        return
    counts, suspects = look.counts, look.suspects
    if counts.null_keys_source or counts.null_keys_target:
        # A NULL matches nothing in a join, so such rows are compared by themselves. They are in the totals already.
        nulls = all_at_once(pair, NullKeys(partition=partition_of(segment)))
        suspects = [*suspects, *nulls.suspects]
        nulls.counts.source_rows = nulls.counts.target_rows = 0
        nulls.counts.null_keys_source = nulls.counts.null_keys_target = 0
        counts += nulls.counts
    yield Covered(span=segment, counts=counts, suspects=suspects, lots=look.lots, unchanged=look.unchanged)


def _look(pair: Pair, segment: Segment, *, lots: bool) -> Look | None:
    """Where `lots` are wanted, those that are worth it; the rows of the others are suspects like any."""
    packer = pair.source.packer if lots else None
    if packer is None:
        return pair.source.differences(pair.binding, segment)
    from trueup.core.decide import WRITES, action_for
    from trueup.core.lot import LOT_MIN

    look = packer.compared(pair.binding, segment)
    if look is None:
        return None

    sizes: Counter[DriftKind] = Counter()
    for lot in look.lots:
        sizes[lot.kind] += lot.count

    def worth_it(lot: Lot) -> bool:
        return sizes[lot.kind] >= LOT_MIN and action_for(lot.kind, pair.binding.projection) in WRITES

    kept = [lot for lot in look.lots if worth_it(lot)]
    suspects = [row for lot in look.lots if not worth_it(lot) for row in lot.rows()]
    return replace(look, lots=kept, suspects=[*look.suspects, *suspects])
