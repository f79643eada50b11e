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

from collections.abc import Iterator
from dataclasses import dataclass

from trueup.adapters import Survey
from trueup.by_digest import by_digest, hashing_of
from trueup.core.plan import Everything, NullKeys, Range, Segment, merge_by_work, ranges
from trueup.core.row import Key
from trueup.side_by_side import Covered, Pair, all_at_once, both, side_by_side


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
        return
    hashing = hashing_of(pair)[0] if isinstance(segment, Range) else None
    if hashing is not None and isinstance(segment, Range):
        yield from by_digest(pair, segment, hashing)
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
    return _route_of_two(pair)


def _route_of_two(pair: Pair) -> Route:
    """Both sides are asked for their access path, at the same time."""
    binding = pair.binding
    source, target = both(
        lambda: pair.source.survey(binding, (binding.source,)),
        lambda: pair.target.survey(binding, (binding.target,)),
    )
    seekable = source.seekable and target.seekable
    cuts = _cuts(max(source, target, key=lambda survey: len(survey.cuts))) if seekable else []
    null_keys: list[Segment] = [NullKeys()] if binding.source.null_keys or binding.target.null_keys else []
    hashing, why = hashing_of(pair)
    how = f"in {len(cuts) + 1} key ranges" if cuts else "in one pass a side"
    what = "rows read side by side in key order" if hashing is None else "digests of leaves, then the rows that differ"
    return Route(
        strategy=f"{what}, {how}",
        segments=[*ranges(cuts), *null_keys],
        reasons=[why, f"source: {source.reason}", f"target: {target.reason}"],
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
        nulls = all_at_once(pair, NullKeys())
        suspects = [*suspects, *nulls.suspects]
        nulls.counts.source_rows = nulls.counts.target_rows = 0
        nulls.counts.null_keys_source = nulls.counts.null_keys_target = 0
        counts += nulls.counts
    yield Covered(span=segment, counts=counts, suspects=suspects)
