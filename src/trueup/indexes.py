"""Indexes that would make comparing cheaper, and by how much; nothing here makes one.

The shares of time were measured, on a million rows a side in random order, and on 20 million for a query
(decision 5, docs/BENCHMARKS.md). They say what to expect, and promise nothing.
"""

from __future__ import annotations

from dataclasses import replace

from trueup.access import surveys_of
from trueup.adapters import Reader, Survey
from trueup.core import query
from trueup.core.binding import Binding, BoundSide
from trueup.core.digest import agree
from trueup.core.kinds import Kind
from trueup.core.side import Side
from trueup.errors import ConfigError
from trueup.side_by_side import Pair, both


def that_pay(pair: Pair) -> list[str]:
    """The statements that make them, each behind what it is good for; none where reading is short, or well served."""
    if pair.binding.cut_kind is not None:  # where to cut is declared
        return []
    told = _in_one(pair) if pair.binding.one_database else _in_two(pair)
    return list(dict.fromkeys(told))


def _in_one(pair: Pair) -> list[str]:
    """A query whose keys can be read in ranges without touching its table; tables without a look for repeats."""
    (survey,) = surveys_of(pair)
    if survey.seekable or not _long(survey):
        return []
    sides = _sides(pair.binding)
    covering = "an index that covers the query lets key ranges be read, in about half the time"
    unique = "a unique index on the key spares a look for keys that repeat, about a third of the time"
    return [
        *(f"{covering}: {index}" for side in sides.values() if survey.cuts and (index := _covering(pair.source, side))),
        *(f"{unique}: {index}" for side in sides.values() if (index := _unique(side))),
    ]


def _in_two(pair: Pair) -> list[str]:
    """Rows need not move where both sides can be digested; of a key that may repeat they cannot."""
    repeating = {role: side for role, side in _sides(pair.binding).items() if not side.unique}
    wanted = {role: index for role, side in repeating.items() if (index := _unique(side))}
    if pair.binding.projection.exact or not wanted or len(wanted) < len(repeating):
        return []
    offers = both(pair.source.hashes, pair.target.hashes)
    hashing, _ = agree(_with_unique_keys(pair.binding), *offers)
    if hashing is None or not any(map(_long, surveys_of(pair))):
        return []
    share = "a third" if any(way.portable for way in offers[0] if way.name == hashing.name) else "a tenth"
    return [
        f"{role}: a unique index on the key lets digests be compared and not rows, in about {share} of the time: {one}"
        for role, one in wanted.items()
    ]


def _long(survey: Survey) -> bool:
    return bool(survey.cuts) or survey.whole > survey.per_segment


def _sides(binding: Binding) -> dict[str, BoundSide]:
    return {"source": binding.source, "target": binding.target}


def _with_unique_keys(binding: Binding) -> Binding:
    return replace(binding, source=replace(binding.source, unique=True), target=replace(binding.target, unique=True))


def _unique(side: BoundSide) -> str:
    """What makes the key of a table unique; empty where it is known to be, or no such index can be made."""
    if side.unique or side.side.table is None or not side.shape.table:
        return ""
    key = tuple(column.name for column in side.key)
    if not {*side.shape.divided_by} <= {*key}:
        return ""
    return query.Index(table=side.side.table, key=key, unique=True).statement(side.shape.dialect)


def _covering(reader: Reader, side: BoundSide) -> str:
    """What covers a query; empty where there is such an index, which is not taken, or an order of texts decides."""
    if side.side.query is None or any(column.kind is Kind.TEXT for column in side.key):
        return ""
    index = query.index_for(side.side.query, side.shape.dialect, tuple(column.name for column in side.key))
    if index is None:
        return ""
    try:
        there = reader.describe(Side(database=side.side.database, table=index.table)).indexes
    except ConfigError:  # what the query calls so is no table
        return ""
    return "" if index.is_one_of(there) else index.statement(side.shape.dialect)
