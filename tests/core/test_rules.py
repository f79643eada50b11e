"""Tolerances and NULL policies on values, against an oracle in exact fractions."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.test_binding import bound, refusal, shape
from tests.core.values import decimals, integers, naive_datetimes, projection, values
from trueup.core import digest
from trueup.core.compare import Counts, DriftKind, classify, compare
from trueup.core.decide import Action, decide_now
from trueup.core.digest import RowHash
from trueup.core.row import Kind, batch_of, canonical
from trueup.core.rules import Nulls, Rule, Tolerance, agree, differing, kept

K = Kind
NAN, INF = float("nan"), float("inf")
NOON = datetime(2026, 3, 1, 12)


def rule(kind: Kind = K.INTEGER, tolerance: str = "", nulls: Nulls = Nulls.EXACT) -> Rule:
    return Rule(kind=kind, nulls=nulls, tolerance=Tolerance.parse(tolerance) if tolerance else None)


# --- how it is written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "amount", "share", "duration"),
    [
        ("0", Decimal(0), None, None),
        ("0.01", Decimal("0.01"), None, None),
        ("1e-3", Decimal("0.001"), None, None),
        ("1%", None, Decimal("0.01"), None),
        ("0.5 %", None, Decimal("0.005"), None),
        ("1s", None, None, timedelta(seconds=1)),
        ("1.5 ms", None, None, timedelta(microseconds=1500)),
        ("7us", None, None, timedelta(microseconds=7)),
        ("2d", None, None, timedelta(days=2)),
    ],
)
def test_a_tolerance_is_a_number_a_share_or_a_duration(
    text: str, amount: Decimal | None, share: Decimal | None, duration: timedelta | None
) -> None:
    parsed = Tolerance.parse(text)
    assert (parsed.amount, parsed.share, parsed.duration, parsed.text) == (amount, share, duration, text)


NOT_TOLERANCES = ["", "-1", "1 %s", "x", "1month", "nan", "inf", "%", "1,5", "0.5us", "1e20d", "\uff11"]


@pytest.mark.parametrize("text", NOT_TOLERANCES)
def test_what_is_no_tolerance(text: str) -> None:
    with pytest.raises(ValueError, match=r"tolerance|microsecond|longer"):
        Tolerance.parse(text)


def test_the_declaration_keeps_what_was_written_and_refuses_the_rest() -> None:
    declared = projection(tolerance={"a": "1%", "b": 0.01, "c": 2, "d": "1s"}, nulls={"a": "zero"})
    assert declared.tolerance == {"a": "1%", "b": "0.01", "c": "2", "d": "1s"}
    assert declared.nulls == {"a": Nulls.ZERO}
    for wrong in ({"tolerance": {"a": True}}, {"tolerance": {"a": "x"}}, {"nulls": {"a": "null"}}):
        with pytest.raises(ValueError, match=r"tolerance|Input should be"):
            projection(**wrong)


# --- how far apart ---------------------------------------------------------------------------------------------------


def fraction(value: Any) -> Fraction:
    """What a number means: a whole float is the 64-bit integer it is, any other float its shortest spelling."""
    if isinstance(value, float) and not (value.is_integer() and -(2**63) <= value < 2**63):
        return Fraction(repr(value))
    return Fraction(value)


numbers = st.one_of(integers, decimals, st.floats(allow_nan=False, allow_infinity=False))
amounts = st.decimals(min_value=0, max_value=10**6, places=4).map(lambda amount: f"{amount:f}")


@given(numbers, numbers, amounts)
@example(1.1, 1.0, "0.1")
@example(Decimal("1E+5000"), Decimal("1E-5000"), "1")
@example(2**63, 2.0**63, "0")
@example(-(2**63) + 1, -(2.0**63), "1")
@example(Decimal("1E+30"), Decimal("1E+30") + 1, "1")
def test_an_amount_is_exact(a: Any, b: Any, amount: str) -> None:
    tolerated = Tolerance.parse(amount).covers(a, b)
    assert tolerated == (abs(fraction(a) - fraction(b)) <= Fraction(amount))
    assert tolerated == Tolerance.parse(amount).covers(b, a)


@given(numbers, numbers, st.integers(0, 300))
@example(100, 110, 10)
@example(0, 1, 100)
def test_a_share_is_of_what_is_expected(expected: Any, observed: Any, percent: int) -> None:
    tolerated = Tolerance.parse(f"{percent}%").covers(expected, observed)
    allowed = abs(fraction(expected)) * Fraction(percent, 100)
    assert tolerated == (abs(fraction(expected) - fraction(observed)) <= allowed)


@given(naive_datetimes, naive_datetimes, st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=9)))
def test_a_duration_is_exact(a: datetime, b: datetime, duration: timedelta) -> None:
    tolerance = Tolerance.parse(f"{duration // timedelta(microseconds=1)}us")
    assert tolerance.covers(a, b) == tolerance.covers(b, a) == (abs(a - b) <= duration)


@pytest.mark.parametrize(
    ("tolerance", "a", "b"),
    [
        ("1000", NAN, 1.0),
        ("1000", INF, 1e308),
        ("1000", Decimal("NaN"), Decimal(1)),
        ("1000", "nan", Decimal(1)),
        ("1000", "5", 5),
        ("1000", True, 0),
        ("1000%", 1, "x"),
        ("1d", NOON, NOON.replace(tzinfo=UTC)),
        ("1d", NOON, "yesterday"),
        ("1d", NOON, 5),
        ("1d", NOON.date(), NOON),
        ("1d", time(1), time(1, 0, 1, tzinfo=UTC)),
        ("1", Decimal("1E+300000"), Decimal("1E-300000")),  # no exact difference within reason
    ],
)
def test_what_has_no_distance_is_not_tolerated(tolerance: str, a: Any, b: Any) -> None:
    assert not Tolerance.parse(tolerance).covers(a, b)
    assert not Tolerance.parse(tolerance).covers(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (NOON, NOON + timedelta(seconds=1)),
        ("2026-03-01 12:00:00", NOON + timedelta(seconds=1)),
        (date(2026, 3, 1), date(2026, 3, 1)),
        (time(12), "12:00:01"),
        ("2026-03-01T12:00:00", "2026-03-01 12:00:01"),
    ],
)
def test_times_a_second_apart_also_as_sqlite_spells_them(a: Any, b: Any) -> None:
    assert Tolerance.parse("1s").covers(a, b)


# --- rules -----------------------------------------------------------------------------------------------------------

rules = st.builds(
    Rule,
    kind=st.just(K.DECIMAL),
    nulls=st.sampled_from(list(Nulls)),
    tolerance=st.none() | amounts.map(Tolerance.parse),
)


@given(rules, values, values)
def test_agreeing_is_symmetric_and_equal_values_always_agree(of: Rule, a: Any, b: Any) -> None:
    one, other = canonical(of.kind, [a, b])
    assert of.agree(one, other) == of.agree(other, one)
    assert of.agree(one, one)


@given(values, values)
def test_without_a_policy_it_is_equality(a: Any, b: Any) -> None:
    one, other = canonical(K.DECIMAL, [a, b])
    plain = rule(K.DECIMAL)
    assert plain.exact
    assert plain.agree(one, other) == (one == other)
    assert agree((), (one,), (other,)) == (one == other)
    assert differing((), (one,), (other,)) == [one != other]


@given(st.none() | integers, st.none() | integers)
def test_each_policy_against_the_oracle(a: int | None, b: int | None) -> None:
    assert rule().agree(a, b) == (a == b)
    assert rule(nulls=Nulls.UNKNOWN).agree(a, b) == (a is None or b is None or a == b)
    assert rule(nulls=Nulls.ZERO).agree(a, b) == ((a or 0) == (b or 0))
    assert rule(tolerance="3").agree(a, b) == (a == b or (a is not None and b is not None and abs(a - b) <= 3))


def test_a_null_is_no_distance_from_anything() -> None:
    assert not rule(tolerance="100").agree(None, 0)
    assert not rule(tolerance="100%").agree(0, None)
    assert rule(tolerance="1", nulls=Nulls.ZERO).agree(None, 1)


# --- in a comparison -------------------------------------------------------------------------------------------------

UNKNOWN_A = (rule(nulls=Nulls.UNKNOWN), rule(tolerance="1"))


def compared(source: list[Any], target: list[Any]) -> tuple[Counts, list[Any]]:
    kinds = (K.INTEGER, K.INTEGER, K.INTEGER)
    sides = [batch_of(rows, kinds, 1, tokens=False) for rows in (source, target)]
    counts, suspects = compare(
        *sides, columns=("a", "b"), absent=(None, 0), kinds=(K.INTEGER, K.INTEGER), rules=UNKNOWN_A
    )
    return counts, [(suspect.kind, suspect.key) for suspect in suspects]


def test_what_was_not_compared_is_counted() -> None:
    counts, suspects = compared([(1, None, 5), (2, 3, 5), (3, 3, 5)], [(1, 7, 6), (2, None, 9), (3, 3, 5)])
    assert suspects == [(DriftKind.DIFFERENT, (2,))]
    assert counts.not_compared == {"a": 2}
    assert counts.different_by_column == {"b": 1}


def test_counts_add_up_by_column() -> None:
    one, other = Counts(not_compared={"a": 2}), Counts(not_compared={"a": 1, "b": 4})
    one += other
    assert one.not_compared == {"a": 3, "b": 4}


def test_absent_is_held_against_the_row_by_the_same_rules() -> None:
    _, suspects = compared([], [(1, 9, 1), (2, None, 2)])
    assert suspects == [(DriftKind.EXTRA, (2,))]
    assert classify(None, (9, 1), (None, 0), UNKNOWN_A) is None
    assert classify(None, (9, 2), None, UNKNOWN_A) is DriftKind.EXTRA


def test_repeated_keys_find_partners_whatever_their_order() -> None:
    """A greedy pairing of 10 with 11 would leave 12 without a partner."""
    assert compared([(1, 0, 12), (1, 0, 10)], [(1, 0, 11), (1, 0, 9)])[1] == []
    assert compared([(1, 0, 10), (1, 0, 12)], [(1, 0, 11), (1, 0, 9)])[1] == []
    assert compared([(1, 0, 10), (1, 0, 12)], [(1, 0, 9), (1, 0, 9)])[1] == [(DriftKind.DIFFERENT, (1,))]


def test_what_a_repair_writes() -> None:
    declared = projection()
    action, after = decide_now((None, 5), (7, 9), None, declared, UNKNOWN_A)
    assert (action, after) == (Action.UPDATE, (7, 5))  # 7 is not overwritten with what is not known
    assert decide_now((None, 5), (7, 6), None, declared, UNKNOWN_A) == (None, None)
    assert kept(UNKNOWN_A, (None, 5), None) == (None, 5)


# --- in a declaration ------------------------------------------------------------------------------------------------

EVERY = {"id": K.INTEGER, "n": K.INTEGER, "name": K.TEXT, "at": K.TIMESTAMP, "v": K.ANY, "doc": K.JSON, "no": K.BOOLEAN}
BOTH = {"source": shape(EVERY), "target": shape(EVERY, unique=[{"id"}])}


def test_columns_without_a_policy_have_no_rules() -> None:
    assert bound(**BOTH).rules == ()
    assert bound(**BOTH, nulls={"n": "exact"}).rules == ()


def test_a_rule_for_every_column_where_one_has_one() -> None:
    made = bound(**BOTH, tolerance={"n": "1", "at": "1s", "v": "1s"}, nulls={"name": "zero"})
    assert {name: of.exact for name, of in zip(made.columns, made.rules, strict=True)} == {
        "n": False,
        "name": False,
        "at": False,
        "v": False,
        "doc": True,
        "no": True,
    }


def test_digests_are_not_asked_about_distances() -> None:
    way = RowHash(name="md5", proof="same", portable=True)
    unique = {side: shape({"id": K.INTEGER, "n": K.INTEGER}, unique=[{"id"}]) for side in ("source", "target")}
    assert digest.agree(bound(**unique), [way], [way])[0] is not None  # the control
    chosen, why = digest.agree(bound(**unique, tolerance={"n": "1"}), [way], [way])
    assert (chosen, "tolerance" in why) == (None, True)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"tolerance": {"nn": "1"}}, r"projections\.p\.tolerance: 'nn' is not a compared column; did you mean 'n'\?"),
        ({"nulls": {"nam": "zero"}}, r"projections\.p\.nulls: 'nam' is not a compared column; did you mean 'name'\?"),
        ({"tolerance": {"id": "1"}}, "tolerance: 'id' is in the key"),
        ({"tolerance": {"name": "1"}}, "'name' cannot have '1': two values of kind text have no distance"),
        ({"tolerance": {"doc": "1%"}}, "two values of kind json have no distance"),
        ({"tolerance": {"no": "1"}}, "two values of kind boolean have no distance"),
        ({"tolerance": {"n": "1s"}}, "'n' cannot have '1s': it holds numbers; write a number '0.01' or a share '1%'"),
        ({"tolerance": {"at": "1"}}, "it holds times; write a duration like '1s'"),
        ({"tolerance": {"at": "1%"}}, "it holds times"),
        ({"nulls": {"at": "zero"}}, "kind timestamp has neither a zero nor an empty value"),
        ({"nulls": {"v": "zero"}}, "kind any has neither"),
    ],
)
def test_a_policy_that_does_not_fit_its_column(declared: dict[str, Any], words: str) -> None:
    told = refusal(**BOTH, **declared)
    assert re.search(words, told), told


@pytest.mark.parametrize("kind", [Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT])
def test_a_boolean_beside_a_number_is_one(kind: Kind) -> None:
    rule = Rule(kind=kind, tolerance=Tolerance.parse("1"))
    assert rule.agree(True, 2)
    assert rule.agree(1, False)
    assert not rule.agree(True, 3)
    assert not replace(rule, kind=Kind.ANY).agree(True, 2), "nobody says that it is a number"
