"""Compare against an oracle that is slow and obviously right: rows by key, as multisets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.compare import Counts, DriftKind, Suspect, classify, compare, mask
from trueup.core.row import Batch, Kind, batch_of, canonical

Row = tuple[Any, ...]
#: Key parts and values from small domains, so that keys meet, repeat and lack parts.
key_part = st.none() | st.integers(0, 3) | st.sampled_from(["a", "b"])
number = st.sampled_from([None, 0, 1, 2, 0.5, 2.0, True, Decimal("1.00"), Decimal("0.5"), float("nan"), Decimal("NaN")])
word = st.sampled_from([None, "", "x", "NULL", "5"])
VALUE_KINDS = (Kind.DECIMAL, Kind.TEXT)
COLUMNS = ("n", "w")


@st.composite
def both_sides(draw: st.DrawFn) -> tuple[int, list[Row], list[Row]]:
    """Key width, and rows of two sides that have much in common."""
    width = draw(st.integers(1, 2))
    row = st.tuples(*[key_part] * width, number, word)
    common = draw(st.lists(row, max_size=6))
    source = common + draw(st.lists(row, max_size=4))
    target = common + draw(st.lists(row, max_size=4))
    return width, draw(st.permutations(source)), draw(st.permutations(target))


def batch(rows: Sequence[Row], width: int, *, tokens: bool = False) -> Batch:
    """Rows as a reader delivers them: keys canonical, values as the driver gave them."""
    given_rows = [(*row, f"v{at}") for at, row in enumerate(rows)] if tokens else rows
    return batch_of(given_rows, (*[Kind.ANY] * width, *VALUE_KINDS), width, tokens=tokens)


def grouped(rows: Sequence[Row], width: int) -> dict[Row, Counter[Row]]:
    groups: dict[Row, Counter[Row]] = {}
    for row in rows:
        values = tuple(canonical(kind, [value])[0] for kind, value in zip(VALUE_KINDS, row[width:], strict=True))
        groups.setdefault(row[:width], Counter())[values] += 1
    return groups


def oracle(source: Sequence[Row], target: Sequence[Row], width: int, absent: Row | None) -> dict[Row, DriftKind]:
    """Every key that is wrong, and how."""
    wanted, held = grouped(source, width), grouped(target, width)
    wrong = {}
    for key in [*wanted, *held]:
        expected, observed = wanted.get(key, Counter()), held.get(key, Counter())
        if expected == observed:
            continue
        if not expected and observed == Counter([absent]):
            continue  # one row that says nothing, for a key that is not there
        wrong[key] = DriftKind.EXTRA if not expected else DriftKind.MISSING if not observed else DriftKind.DIFFERENT
    return wrong


def compared(
    source: Sequence[Row], target: Sequence[Row], width: int, absent: Row | None = None
) -> tuple[Counts, list[Suspect]]:
    return compare(
        batch(source, width), batch(target, width, tokens=True), columns=COLUMNS, absent=absent, kinds=VALUE_KINDS
    )


@given(both_sides(), st.sampled_from([None, (0, ""), (0, None), (None, None)]))
def test_against_the_oracle(drawn: tuple[int, list[Row], list[Row]], absent: Row | None) -> None:
    width, source, target = drawn
    counts, suspects = compared(source, target, width, absent)
    wrong = oracle(source, target, width, absent)
    assert {suspect.key: suspect.kind for suspect in suspects} == wrong
    assert len(suspects) == len(wrong)  # each key once
    by_kind = Counter(wrong.values())
    assert (counts.missing, counts.extra, counts.different) == tuple(by_kind[kind] for kind in DriftKind)
    assert counts.differing == len(wrong)


@given(both_sides())
def test_totals_duplicates_and_null_keys_are_counted(drawn: tuple[int, list[Row], list[Row]]) -> None:
    width, source, target = drawn
    counts, _ = compared(source, target, width)
    keys = [[row[:width] for row in rows] for rows in (source, target)]
    assert (counts.source_rows, counts.target_rows) == (len(source), len(target))
    assert [counts.null_keys_source, counts.null_keys_target] == [sum(None in key for key in side) for side in keys]
    repeated = [sum(count > 1 for count in Counter(side).values()) for side in keys]
    assert [counts.duplicate_keys_source, counts.duplicate_keys_target] == repeated


@given(both_sides())
def test_both_directions(drawn: tuple[int, list[Row], list[Row]]) -> None:
    """Seen from the other side, missing is extra and nothing else changes."""
    width, source, target = drawn
    there, back = compared(source, target, width)[0], compared(target, source, width)[0]
    assert (there.missing, there.extra, there.different) == (back.extra, back.missing, back.different)
    assert there.different_by_column == back.different_by_column


@given(both_sides())
def test_suspects_carry_what_both_sides_hold(drawn: tuple[int, list[Row], list[Row]]) -> None:
    width, source, target = drawn
    wanted, held = grouped(source, width), grouped(target, width)
    _, suspects = compared(source, target, width)
    for suspect in suspects:
        copies = (wanted.get(suspect.key, Counter()).total(), held.get(suspect.key, Counter()).total())
        assert suspect.copies == (copies if max(copies) > 1 else None)
        assert (suspect.expected is None) == (copies[0] == 0)
        assert (suspect.observed is None) == (copies[1] == 0)
        assert suspect.expected is None or suspect.expected in wanted[suspect.key]
        assert suspect.observed is None or suspect.observed in held[suspect.key]
        if suspect.copies is not None and max(copies) != min(copies) == 0:
            continue  # all of them are told by any
        if suspect.copies is not None:  # of many rows those without their like on the other side
            lacking, surplus = wanted[suspect.key] - held[suspect.key], held[suspect.key] - wanted[suspect.key]
            assert not lacking or suspect.expected in lacking
            assert not surplus or suspect.observed in surplus
        if suspect.copies is None and suspect.observed is not None:
            # The version is that of this row and no other: the repair will demand it.
            assert target[int(suspect.token[1:])][:width] == suspect.key
        assert bool(suspect.unrepairable) == (suspect.copies is not None or None in suspect.key)


@given(both_sides(), st.randoms(use_true_random=False))
def test_two_looks_at_the_same_rows_show_the_same_pairs(drawn: tuple[int, list[Row], list[Row]], random: Any) -> None:
    """Else a difference would never be confirmed, only because the database delivered rows in another order."""
    width, source, target = drawn
    first = {suspect.key: suspect.pair for suspect in compared(source, target, width)[1]}
    for rows in (source, target):
        random.shuffle(rows)
    assert {suspect.key: suspect.pair for suspect in compared(source, target, width)[1]} == first


@given(both_sides())
def test_columns_that_differ_are_counted(drawn: tuple[int, list[Row], list[Row]]) -> None:
    width, source, target = drawn
    counts, suspects = compared(source, target, width)
    expected: Counter[str] = Counter()
    for suspect in suspects:
        if suspect.expected is not None and suspect.observed is not None:
            expected.update(c for c, a, b in zip(COLUMNS, suspect.expected, suspect.observed, strict=True) if a != b)
    assert counts.different_by_column == dict(expected)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        # Differences that cancel in an XOR or a linear sum of the rows.
        ([(1, 1, "x"), (2, 2, "x")], [(1, 2, "x"), (2, 1, "x")]),
        ([(1, 1, "x"), (1, 1, "x")], []),
        ([], [(1, 1, "x"), (1, 1, "x")]),
        ([(1, 1, "x")], [(1, 1, "x"), (1, 1, "x"), (1, 1, "x")]),
        ([(1, 1, "x"), (1, 2, "x")], [(1, 1, "x"), (1, 1, "x")]),
        ([(1, 1, "x"), (1, 1, "x"), (1, 2, "x")], [(1, 1, "x"), (1, 2, "x"), (1, 2, "x")]),
        # A value that moved to the neighbouring column or row.
        ([(1, None, "5")], [(1, 5, None)]),
        ([(1, 1, "x"), (2, 2, "y")], [(1, 1, "y"), (2, 2, "x")]),
        # NULL, empty and the word.
        ([(1, 1, None)], [(1, 1, "")]),
        ([(1, 1, None)], [(1, 1, "NULL")]),
        ([(1, 0, "x")], [(1, None, "x")]),
        ([(None, 1, "x")], []),
        ([(None, 1, "x"), (None, 2, "x")], [(None, 1, "x")]),
    ],
)
def test_never_equal_when_different(source: list[Row], target: list[Row]) -> None:
    counts, suspects = compared(source, target, 1)
    assert counts.differing > 0
    assert suspects


@given(both_sides())
def test_the_same_rows_twice_on_both_sides_are_no_drift(drawn: tuple[int, list[Row], list[Row]]) -> None:
    width, source, _ = drawn
    assert compared(source, list(reversed(source)), width)[1] == []


def test_spellings_of_one_value_are_no_difference() -> None:
    assert compared([(1, Decimal("1.00"), "x")], [(1, 1.0, "x")], 1)[1] == []
    assert compared([(1, float("nan"), "x")], [(1, Decimal("NaN"), "x")], 1)[1] == []
    # Also where a neighbour does differ.
    (only,) = compared([(1, Decimal("1.00"), "x"), (2, 1, "x")], [(1, 1.0, "x"), (2, 2, "x")], 1)[1]
    assert only.key == (2,)


def test_only_keys() -> None:
    """No compared column: existence is all there is to compare."""
    source = batch_of([(1,), (2,)], (Kind.INTEGER,), 1, tokens=False)
    target = batch_of([(2, "t"), (3, "t")], (Kind.INTEGER,), 1, tokens=True)
    counts, suspects = compare(source, target, columns=(), absent=None)
    assert (counts.missing, counts.extra, counts.different) == (1, 1, 0)
    assert [(suspect.key, suspect.expected, suspect.observed) for suspect in suspects] == [
        ((1,), (), None),
        ((3,), None, ()),
    ]


# --- absent ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "observed", "absent", "kind"),
    [
        (None, None, None, None),
        (None, (1,), None, DriftKind.EXTRA),
        (None, (0,), (0,), None),
        (None, (1,), (0,), DriftKind.EXTRA),
        (None, None, (0,), None),
        # `absent` is what a key *without* a source row means; with one it means nothing.
        ((1,), (0,), (0,), DriftKind.DIFFERENT),
        ((0,), None, (0,), DriftKind.MISSING),
        ((0,), (0,), None, None),
        ((None,), (None,), None, None),
        ((None,), (0,), (0,), DriftKind.DIFFERENT),
        ((), None, None, DriftKind.MISSING),
        (None, (), None, DriftKind.EXTRA),
    ],
)
def test_one_row_against_one_row(
    expected: Row | None, observed: Row | None, absent: Row | None, kind: DriftKind | None
) -> None:
    assert classify(expected, observed, absent) is kind


def test_an_extra_row_is_expected_to_be_absent() -> None:
    (suspect,) = compared([], [(1, 5, "x")], 1, (0, ""))[1]
    assert suspect.expected == (0, "")
    assert suspect.observed == (5, "x")
    (suspect,) = compared([], [(1, 5, "x")], 1)[1]
    assert suspect.expected is None


# --- Counts ----------------------------------------------------------------------------------------------------------

some_counts = st.builds(
    Counts,
    **{name: st.integers(0, 9) for name in Counts.__slots__ if name != "different_by_column"},
    different_by_column=st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)),
)


@given(some_counts, some_counts)
def test_counts_add_up_field_by_field(one: Counts, other: Counts) -> None:
    before = replace(one, different_by_column=dict(one.different_by_column))
    total = replace(one, different_by_column=dict(one.different_by_column))
    total += other
    for name in Counts.__slots__:
        a, b = getattr(before, name), getattr(other, name)
        wanted = dict(Counter(a) + Counter(b)) if name == "different_by_column" else a + b
        assert getattr(total, name) == wanted


# --- mask ------------------------------------------------------------------------------------------------------------


def test_masked_values_are_gone_and_the_others_stay() -> None:
    suspect = Suspect(kind=DriftKind.DIFFERENT, key=(1,), expected=("secret", 1), observed=(None, 2))
    masked = mask(suspect, (True, False))
    assert "secret" not in repr(masked)
    assert masked.expected is not None
    assert masked.observed is not None
    assert (masked.expected[1], masked.observed[1]) == (1, 2)
    # Not even whether it was NULL, or whether it was this that differed.
    assert masked.observed[0] == masked.expected[0]
    assert masked.key == suspect.key


def test_a_row_that_is_not_there_stays_not_there() -> None:
    suspect = Suspect(kind=DriftKind.MISSING, key=(1,), expected=("secret",), observed=None)
    assert mask(suspect, (True,)).observed is None
