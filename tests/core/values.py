"""Strategies for values, keys and rows, and builders for the parts of a declaration."""

from __future__ import annotations

import json
from datetime import timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from trueup.core.projection import Limits, Projection, Side
from trueup.core.values import Interval, Json

#: Zones with a fixed offset: what a database driver hands out.
zones = st.timedeltas(min_value=timedelta(hours=-15), max_value=timedelta(hours=15)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)
integers = st.one_of(st.integers(-5, 5), st.integers(), st.integers(min_value=-(10**40), max_value=10**40))
decimals = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False),
    st.decimals(min_value=-10, max_value=10, places=2),
)
texts = st.one_of(st.text(max_size=8), st.sampled_from(["", "5", "NULL", "nan", "A", "a", "É", "é", "'", ",", "\x00"]))
#: No database holds Python's `fold`.
naive_datetimes = st.datetimes().map(lambda moment: moment.replace(fold=0))
aware_datetimes = st.datetimes(timezones=zones).map(lambda moment: moment.replace(fold=0))
times = st.one_of(st.times(), st.times(timezones=zones)).map(lambda time: time.replace(fold=0))
#: JSON documents as Python writes them, floats as they are spelt.
documents = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
jsons = documents.map(lambda document: Json(json.dumps(document)))
intervals = st.builds(Interval, st.integers(-9999, 9999), st.integers(-99999, 99999), st.integers(-(10**12), 10**12))
arrays = st.recursive(
    st.lists(st.none() | integers, max_size=4).map(tuple), lambda inner: st.lists(inner, max_size=3).map(tuple)
)
#: Every type that a value of Trueup may have.
values = st.one_of(
    jsons,
    intervals,
    arrays,
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    st.decimals(),
    texts,
    st.binary(max_size=8),
    st.uuids(),
    st.dates(),
    times,
    naive_datetimes,
    aware_datetimes,
)
#: One strategy for each kind of key part: values of one kind have an order.
KEY_PARTS: dict[str, st.SearchStrategy[Any]] = {
    "integer": integers,
    "text": texts,
    "uuid": st.uuids(),
    "date": st.dates(),
    "timestamp": naive_datetimes,
    "instant": aware_datetimes,
}
key_kinds = st.lists(st.sampled_from(sorted(KEY_PARTS)), min_size=1, max_size=3)


def keys_of(kinds: list[str]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*(KEY_PARTS[kind] for kind in kinds))


def projection(**changes: Any) -> Projection:
    """A declaration with every default, in one database."""
    declared: dict[str, Any] = {
        "name": "p",
        "source": Side(database="app", table="src"),
        "target": Side(database="app", table="tgt"),
        "key": ["id"],
    }
    return Projection.model_validate(declared | changes)


def limits(**changes: Any) -> Limits:
    return Limits.model_validate(changes)
