"""What both databases say before a row is read: how they hash rows, and where keys can be cut."""

from __future__ import annotations

from collections.abc import Sequence

from trueup.adapters import Survey
from trueup.core.digest import Hashing, agree
from trueup.core.row import Key
from trueup.side_by_side import Pair, both

#: Passes over a side that cost no more than to hand out all of its rows in key order, at least.
IN_ORDER = 16


def hashing_of(pair: Pair) -> tuple[Hashing | None, str]:
    """How both sides hash rows, and why; asked once."""
    if pair.learned.hashing is None:
        if pair.binding.projection.exact:
            pair.learned.hashing = None, "exact: every value is compared"
        else:
            offers = both(pair.source.hashes, pair.target.hashes)
            pair.learned.hashing = agree(pair.binding, *offers)
    return pair.learned.hashing


def cuts_of(pair: Pair) -> list[Key]:
    """Keys at which a segment can be cut in two, ascending."""
    return finer(*surveys_of(pair)).cuts


def surveys_of(pair: Pair) -> tuple[Survey, ...]:
    """What a database says of both sides, or each of two of its own side; both are asked at the same time."""
    binding = pair.binding
    if binding.one_database:
        return (pair.source.survey(binding, (binding.source, binding.target), ordered=True),)
    hashing, _ = hashing_of(pair)
    ordered = hashing is None or hashing.ordered
    return both(
        lambda: pair.source.survey(binding, (binding.source,), ordered=ordered),
        lambda: pair.target.survey(binding, (binding.target,), ordered=ordered),
    )


def finer(*surveys: Survey) -> Survey:
    """The survey with most cut points."""
    return max(surveys, key=lambda survey: len(survey.cuts))


def cuts_that_pay(pair: Pair) -> Sequence[Key]:
    """The same, where `paying` has some; asked once."""
    if pair.learned.cuts is None:
        pair.learned.cuts = paying(*surveys_of(pair))
    return pair.learned.cuts


def paying(*surveys: Survey) -> Sequence[Key]:
    """Keys to cut at where reading range by range is less work than to hand out all rows in key order; else none."""
    ranged = all(of.cuts and of.work and sum(of.work) <= IN_ORDER * of.whole for of in surveys)
    return finer(*surveys).cuts if ranged else []
