"""Segments: every key in exactly one, nothing lost on the way through the ledger."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.values import key_kinds, keys_of, values
from trueup.core.plan import (
    HOLD_S,
    KEYS_AT_ONCE,
    KEYS_PER_SEGMENT,
    Everything,
    Keys,
    NullKeys,
    Range,
    Segment,
    UnitSize,
    by_keys,
    describe,
    from_json,
    joined,
    merge_by_work,
    ranges,
    slices,
    to_json,
)

Key = tuple[Any, ...]


def holds(segment: Range, key: Key) -> bool:
    """What a range means, spelled out: lower <= key < upper."""
    above = segment.lower is None or key >= segment.lower
    below = segment.upper is None or key < segment.upper
    return above and below


@st.composite
def cuts_and_keys(draw: st.DrawFn) -> tuple[list[Key], list[Key]]:
    kinds = draw(key_kinds)
    cuts = sorted(set(draw(st.lists(keys_of(kinds), max_size=6))))
    keys = draw(st.lists(keys_of(kinds), min_size=1, max_size=6))
    return cuts, keys


@given(cuts_and_keys())
def test_every_key_is_in_exactly_one_range(drawn: tuple[list[Key], list[Key]]) -> None:
    cuts, keys = drawn
    spans = ranges(cuts)
    assert len(spans) == len(cuts) + 1
    for key in [*keys, *cuts]:  # the borders themselves are the ones to lose or to double
        assert [holds(span, key) for span in spans].count(True) == 1


@given(st.lists(st.integers(), min_size=1, unique=True).map(sorted))
def test_keys_below_the_first_cut_and_above_the_last_are_covered(points: list[int]) -> None:
    spans = ranges([(point,) for point in points])
    assert holds(spans[0], (points[0] - 1,))
    assert holds(spans[-1], (points[-1] + 1,))
    assert not holds(spans[0], (points[0],))
    assert holds(spans[-1], (points[-1],))


def test_without_cuts_there_is_one_range_over_everything() -> None:
    assert ranges([]) == [Range(lower=None, upper=None)]


@given(st.lists(st.integers(0, 50).map(lambda n: (n,))), st.integers(1, 7))
def test_by_keys_partitions_in_the_order_given(keys: list[Key], size: int) -> None:
    segments = by_keys(keys, size)
    flat = [key for segment in segments for key in segment.keys]
    assert flat == list(dict.fromkeys(keys))
    assert all(1 <= len(segment.keys) <= size for segment in segments)
    assert all(len(segment.keys) == size for segment in segments[:-1])


def test_by_keys_keeps_to_what_a_statement_may_name() -> None:
    sizes = [len(segment.keys) for segment in by_keys([(n, n, n, n) for n in range(5_000)], KEYS_AT_ONCE)]
    assert sizes == [2_000, 2_000, 1_000]


def test_by_keys_keeps_to_the_size_of_a_segment() -> None:
    sizes = [len(segment.keys) for segment in by_keys([(n,) for n in range(KEYS_PER_SEGMENT + 1)])]
    assert sizes == [KEYS_PER_SEGMENT, 1]


@st.composite
def cuts_and_work(draw: st.DrawFn) -> tuple[list[Key], list[float], int]:
    cuts = [(n,) for n in sorted(draw(st.sets(st.integers(), max_size=30)))]
    amount = st.floats(min_value=0, max_value=1e6)
    work = draw(st.lists(amount, min_size=len(cuts) + 1, max_size=len(cuts) + 1))
    return cuts, work, draw(st.integers(0, 40))


@given(cuts_and_work())
def test_merging_only_drops_cuts(drawn: tuple[list[Key], list[float], int]) -> None:
    cuts, work, segments = drawn
    kept = merge_by_work(cuts, work, segments)
    assert set(kept) <= set(cuts)
    assert kept == sorted(kept)
    assert len(set(kept)) == len(kept)


@given(cuts_and_work())
def test_merging_leaves_about_equal_work(drawn: tuple[list[Key], list[float], int]) -> None:
    cuts, work, segments = drawn
    kept = set(merge_by_work(cuts, work, segments))
    merged, filled = [], 0.0
    for amount, cut in zip(work, [*cuts, None], strict=True):
        filled += amount
        if cut is None or cut in kept:
            merged.append(filled)
            filled = 0.0
    share = sum(work) / max(segments, 1)
    # No segment is more than one interval over its share; all but the last have reached theirs.
    assert all(amount <= share + max(work) + 1e-6 for amount in merged)
    assert all(amount >= share for amount in merged[:-1])
    if sum(work) > 0:
        assert len(merged) <= max(segments, 1) + 1


def test_merging_equal_work_halves_it() -> None:
    cuts = [(n,) for n in range(10, 80, 10)]
    assert merge_by_work(cuts, [1.0] * 8, 4) == [(20,), (40,), (60,)]
    assert merge_by_work(cuts, [1.0] * 8, 8) == cuts
    assert merge_by_work(cuts, [1.0] * 8, 1) == []


@st.composite
def segments_of_all_kinds(draw: st.DrawFn) -> Segment:
    kinds = draw(key_kinds)
    key = keys_of(kinds)
    any_key = st.lists(values, min_size=1, max_size=3).map(tuple)
    return draw(
        st.one_of(
            st.just(Everything()),
            st.just(NullKeys()),
            st.builds(Range, lower=st.none() | key, upper=st.none() | key),
            st.builds(Keys, keys=st.lists(any_key, max_size=4).map(tuple)),
        )
    )


@given(segments_of_all_kinds())
def test_a_segment_survives_the_ledger(segment: Segment) -> None:
    read = from_json(json.loads(json.dumps(to_json(segment))))
    # repr tells 1 from True and 1.0, and takes NaN for NaN.
    assert repr(read) == repr(segment)


def test_a_key_with_a_null_part_survives_the_ledger() -> None:
    segment = Keys(keys=((None, "a"), (1, None), (None, None)))
    assert from_json(to_json(segment)) == segment


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        (Everything(), "all keys"),
        (NullKeys(), "keys with a NULL part"),
        (Keys(keys=((1,), (2,))), "2 keys"),
        (Range(), "all keys"),
        (Range(lower=(1,)), "[1 … +∞)"),
        (Range(lower=(1, "a"), upper=(2, "b")), "[1, a … 2, b)"),
    ],
)
def test_a_segment_in_words(segment: Segment, words: str) -> None:
    assert describe(segment) == words


# --- UnitSize --------------------------------------------------------------------------------------------------------


def fed(*taken: float) -> UnitSize:
    """A size that learned from full units of these seconds."""
    size = UnitSize()
    for seconds in taken:
        size.took(size.rows, seconds)
    return size


def test_a_unit_begins_at_the_size_of_a_segment_and_never_grows_beyond() -> None:
    assert fed().rows == KEYS_PER_SEGMENT
    assert fed(0.001, 0.001).rows == KEYS_PER_SEGMENT


def test_cost_by_row_settles_within_the_time_to_hold() -> None:
    size, per_row = UnitSize(), 0.001
    for _ in range(30):
        size.took(size.rows, size.rows * per_row)
    assert size.rows * per_row <= HOLD_S
    assert size.rows * per_row * 4 > HOLD_S  # and is not needlessly small


def test_a_fixed_cost_is_found_and_paid_seldom() -> None:
    # Whatever the size, 0.4 s: halving does not help, so few large units are better.
    size = fed(0.4, 0.39)
    assert size.rows == KEYS_PER_SEGMENT
    size.took(KEYS_PER_SEGMENT, 5.0)
    assert size.rows == KEYS_PER_SEGMENT  # for good


def test_halving_that_helps_is_no_fixed_cost() -> None:
    assert fed(0.4).rows == KEYS_PER_SEGMENT // 2
    assert fed(0.4, 0.2).rows == KEYS_PER_SEGMENT // 4
    assert fed(0.4, 0.4 * 0.75).rows == KEYS_PER_SEGMENT // 4  # exactly three quarters is still help
    assert fed(0.4, 0.4 * 0.76).rows == KEYS_PER_SEGMENT


def test_a_quick_unit_in_between_forgets_the_slow_one() -> None:
    # Slow, quick, slow again: two slow ones that are not in a row are no proof of a fixed cost.
    assert fed(0.4, 0.03, 0.4).rows == KEYS_PER_SEGMENT // 4


def test_a_remainder_teaches_nothing() -> None:
    size = UnitSize()
    size.took(size.rows // 2 - 1, 10.0)
    assert size.rows == KEYS_PER_SEGMENT


def test_the_time_to_hold_may_change_while_it_is_at_work() -> None:
    hold_s = 1.0
    size = UnitSize(lambda: hold_s)
    size.took(size.rows, 0.4)
    assert size.rows == KEYS_PER_SEGMENT
    hold_s = 0.02
    size.took(size.rows, 0.4)
    assert size.rows == KEYS_PER_SEGMENT // 2


def test_a_unit_has_at_least_one_row() -> None:
    size = UnitSize()
    seconds = 1e6
    for _ in range(12):
        size.took(size.rows, seconds)
        seconds /= 2  # so that it never looks like a fixed cost
    assert size.rows == 1


def test_quick_units_grow_again() -> None:
    size = fed(0.4, 0.2)
    small = size.rows
    size.took(small, 0.01)
    assert size.rows == small * 2
    size.took(size.rows, HOLD_S)  # within, but not by half: stays
    assert size.rows == small * 2


@given(st.integers(), st.integers(min_value=1), st.integers(1, 40), st.data())
def test_each_key_of_a_range_is_in_exactly_one_slice(low: int, width: int, many: int, data: st.DataObject) -> None:
    whole = Range(lower=(low,), upper=(low + width,))
    parts = slices(whole, many)
    assert len(parts) <= many
    key = (data.draw(st.integers(low - 2, low + width + 2)),)
    assert [holds(part, key) for part in parts].count(True) == holds(whole, key)
    chosen = [part for part in parts if data.draw(st.booleans())]
    together = joined(chosen)
    assert [holds(part, key) for part in together].count(True) == any(holds(part, key) for part in chosen)
    assert all(a.upper != b.lower for a, b in pairwise(together)), "what touches is one"
    assert joined(parts) == (whole,)


@pytest.mark.parametrize(
    ("lower", "upper"), [(None, (5,)), ((5,), None), (("a",), ("b",)), ((1, 2), (3, 4)), ((5,), (6,))]
)
def test_what_cannot_be_cut_in_slices_stays_whole(lower: Key | None, upper: Key | None) -> None:
    whole = Range(lower=lower, upper=upper)
    assert slices(whole, 8) == [whole]
