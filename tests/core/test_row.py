"""Values: what is the same, what differs, and nothing lost on the way to JSON and back."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.values import aware_datetimes, decimals, integers, naive_datetimes, texts, times, values
from trueup.core.row import (
    JSON_SAFE_INTEGER,
    KEY_KINDS,
    Batch,
    Kind,
    batch_of,
    canonical,
    decode,
    decode_row,
    decode_rows,
    encode,
    encode_row,
    encode_rows,
    fit,
    meeting,
    parse_value,
    present,
    same_as_they_are,
)
from trueup.core.values import Interval, Json

NAN, INF = math.nan, math.inf
ID = UUID("12345678-1234-5678-1234-567812345678")
NOON = datetime(2024, 2, 29, 12, 0)
PLUS_TWO = timezone(timedelta(hours=2))


def same_value(a: object, b: object) -> bool:
    """Equal and of one type, NaN equal to itself, zeroes by sign, an instant with its offset."""
    if isinstance(a, datetime | time) and isinstance(b, datetime | time) and a.utcoffset() != b.utcoffset():
        return False
    return type(a) is type(b) and (repr(a) == repr(b) or (a == b and not isinstance(a, float)))


# --- encode and decode: our own records ------------------------------------------------------------------------------


@given(values)
@example(NAN)
@example(INF)
@example(-INF)
@example(-0.0)
@example(10**400)
@example(-(2**63) - 1)
@example(Decimal("NaN"))
@example(Decimal("-Infinity"))
@example(Decimal("sNaN"))
@example(Decimal("1E+400"))
@example(Decimal("5.00"))
@example("\ud800")
@example("\x00")
@example(b"\x00\xff")
@example(datetime(1, 1, 1, tzinfo=UTC))
@example(datetime(9999, 12, 31, 23, 59, 59, 999999))
@example(date.min)
def test_a_value_survives_the_ledger(value: Any) -> None:
    read = decode(json.loads(json.dumps(encode(value), allow_nan=False)))  # NaN is no JSON
    assert same_value(read, value)


@given(st.none() | st.lists(values, max_size=4).map(tuple))
def test_a_row_survives_the_ledger(row: tuple[Any, ...] | None) -> None:
    read = decode_row(json.loads(json.dumps(encode_row(row))))
    if row is None or read is None:
        assert row is read
        return
    assert len(read) == len(row)
    assert all(map(same_value, read, row))


@given(st.lists(st.tuples(values, values) | st.tuples(integers, texts), max_size=5))
def test_many_rows_are_written_as_each_is(rows: list[tuple[Any, Any]]) -> None:
    written = json.dumps(encode_rows(rows))
    assert written == json.dumps([encode_row(row) for row in rows])
    assert repr(decode_rows(json.loads(written))) == repr(tuple(decode_row(row) for row in json.loads(written)))


@given(values, values)
def test_two_values_have_one_record_only_if_they_are_one_value(a: Any, b: Any) -> None:
    """Injective: the ledger's drift table and the plan's hash know rows by their records."""
    if json.dumps(encode(a)) == json.dumps(encode(b)):
        assert same_value(a, b)


def test_what_has_no_record_is_refused_and_not_guessed() -> None:
    with pytest.raises(TypeError, match="timedelta"):
        encode(timedelta(1))
    with pytest.raises(TypeError, match="list"):
        encode([1])
    with pytest.raises(TypeError, match="dict"):
        encode({"float": "1.5"})


# --- present: for people and programs --------------------------------------------------------------------------------


@given(values)
@example(NAN)
@example(10**400)
@example(Decimal("1E-30"))
@example(Decimal("sNaN"))
def test_what_is_shown_is_json(value: Any) -> None:
    shown = present(value)
    text = json.dumps(shown, allow_nan=False)  # NaN and Infinity are no JSON
    assert json.loads(text) == shown


@given(integers)
@example(2**53)
@example(2**53 + 1)
@example(-(2**53) - 1)
def test_integers_are_shown_exactly(value: int) -> None:
    shown = present(value)
    assert int(shown) == value
    # A reader that has only doubles must not lose anything either.
    assert isinstance(shown, str) or int(float(shown)) == value
    assert isinstance(shown, str) == (abs(value) > JSON_SAFE_INTEGER)


@given(decimals)
@example(Decimal("0.10"))
@example(Decimal("1E+5"))
@example(Decimal("-1E-20"))
def test_decimals_are_shown_exactly_and_as_people_write_them(value: Decimal) -> None:
    shown = present(value)
    assert isinstance(shown, str)
    assert Decimal(shown) == value
    assert "E" not in shown


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_shown_exactly(value: float) -> None:
    assert json.loads(json.dumps(present(value))) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, True),
        (None, None),
        ("", ""),
        (NAN, "nan"),
        (-INF, "-inf"),
        (Decimal("Infinity"), "Infinity"),
        (NOON, "2024-02-29 12:00:00"),
        (NOON.replace(tzinfo=PLUS_TWO), "2024-02-29 12:00:00+02:00"),
        (NOON.date(), "2024-02-29"),
        (time(1, 2, 3), "01:02:03"),
        (b"\x00\xff", "\\x00ff"),
        (ID, str(ID)),
    ],
)
def test_how_values_are_shown(value: Any, shown: Any) -> None:
    assert present(value) == shown
    assert type(present(value)) is type(shown)


# --- meeting: is there an exact rule? --------------------------------------------------------------------------------

K = Kind
#: Every pair of different kinds that has a rule, and the kind in which it is compared. All others are refused.
MEETINGS = {
    frozenset({K.INTEGER, K.BOOLEAN}): K.INTEGER,
    frozenset({K.INTEGER, K.DECIMAL}): K.DECIMAL,
    frozenset({K.DECIMAL, K.BOOLEAN}): K.DECIMAL,
    frozenset({K.DECIMAL, K.FLOAT}): K.DECIMAL,
    frozenset({K.INTEGER, K.FLOAT}): K.FLOAT,
    frozenset({K.BOOLEAN, K.FLOAT}): K.FLOAT,
    frozenset({K.DATE, K.TIMESTAMP}): K.TIMESTAMP,
    frozenset({K.UUID, K.BYTES}): K.UUID,
    **{frozenset({K.TEXT, kind}): kind for kind in (K.UUID, K.JSON, K.DATE, K.TIME, K.TIMESTAMP, K.INSTANT)},
    **{frozenset({K.ANY, kind}): kind for kind in K if kind not in (K.ANY, K.OPAQUE, K.INCOMPARABLE, K.ARRAY)},
}


def expected_meeting(one: Kind, other: Kind) -> Kind | None:
    if one is other:
        return None if one in (K.OPAQUE, K.INCOMPARABLE) else one
    return MEETINGS.get(frozenset({one, other}))


@pytest.mark.parametrize(("one", "other"), list(product(K, K)), ids=lambda kind: kind.value)
def test_every_pair_of_kinds(one: Kind, other: Kind) -> None:
    assert meeting(one, other) == expected_meeting(one, other)
    assert meeting(one, other) == meeting(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (K.TEXT, K.INTEGER),  # '5' and 5: whose spelling is it?
        (K.TEXT, K.BYTES),
        (K.TEXT, K.DECIMAL),
        (K.TIMESTAMP, K.INSTANT),  # which zone?
        (K.DATE, K.INSTANT),
        (K.INTERVAL, K.TEXT),  # whose spelling?
        (K.INTERVAL, K.TIME),
        (K.ARRAY, K.TEXT),
        (K.ARRAY, K.ANY),
        (K.JSON, K.ARRAY),
        (K.OPAQUE, K.OPAQUE),
        (K.OPAQUE, K.ANY),
        (K.INCOMPARABLE, K.INCOMPARABLE),
    ],
)
def test_a_pair_without_an_exact_rule_is_not_guessed(one: Kind, other: Kind) -> None:
    assert meeting(one, other) is None


def test_floats_decimals_and_bytes_are_no_keys() -> None:
    none = {K.FLOAT, K.DECIMAL, K.BYTES, K.BOOLEAN, K.TIME, K.OPAQUE, K.JSON, K.ARRAY, K.INTERVAL}
    assert none.isdisjoint(KEY_KINDS)


# --- canonical: the same by meaning ----------------------------------------------------------------------------------


def alike(kind: Kind, a: Any, b: Any) -> bool:
    ((x,), (y,)) = canonical(kind, [a]), canonical(kind, [b])
    assert (x == y) <= (hash(x) == hash(y))  # rows are compared as members of sets
    return bool(x == y)


SAME = [
    (K.DECIMAL, 5, Decimal("5.00")),
    (K.DECIMAL, 5.0, 5),
    (K.DECIMAL, 0.1, Decimal("0.1")),  # a float is meant as the shortest decimal that spells it
    (K.DECIMAL, "5.00", 5),  # exact decimals live as text in a database that has none
    (K.DECIMAL, True, 1),
    (K.DECIMAL, NAN, NAN),
    (K.DECIMAL, NAN, Decimal("NaN")),
    (K.DECIMAL, INF, Decimal("Infinity")),
    (K.DECIMAL, -INF, Decimal("-Infinity")),
    (K.DECIMAL, 2**53, float(2**53)),
    (K.DECIMAL, 1e22, 10**22),
    (K.DECIMAL, 1e23, Decimal("1e23")),  # by its spelling; its binary value is 99999999999999991611392
    (K.FLOAT, 2.0**60, 2**60),  # by its value; its spelling is 1.152921504606847e+18
    (K.FLOAT, 1e300, int(1e300)),
    (K.FLOAT, INF, INF),
    (K.FLOAT, 1.0, True),
    (K.JSON, '{"a": 1, "b": [1.0, null]}', '{"b":[1.00,null],"a":10e-1}'),
    (K.JSON, "-0.0", "0"),
    (K.JSON, "1E400", "10e399"),
    (K.JSON, '"\\u00e9"', '"é"'),
    (K.JSON, 1, "1.0"),
    (K.JSON, 0.1, "0.10"),
    (K.JSON, {"a": [1, None]}, '{"a":[1,null]}'),
    (K.ARRAY, [1, None, [2]], (1, None, (2,))),
    (K.ARRAY, [Decimal("1.0"), NAN], [1, NAN]),
    (K.INTERVAL, "P1Y2M3DT4H5M6.5S", "P14M3DT14706.5S"),
    (K.INTERVAL, "PT-90S", "PT-1M-30S"),
    (K.INTERVAL, "P1W", "P7D"),
    (K.FLOAT, NAN, NAN),
    (K.FLOAT, 0.0, -0.0),
    (K.FLOAT, 5, 5.0),
    (K.INTEGER, True, 1),
    (K.BOOLEAN, 0, False),
    (K.UUID, str(ID), ID),
    (K.UUID, str(ID).upper(), ID),
    (K.UUID, ID.bytes, ID),
    (K.UUID, ID.hex, ID),
    (K.DATE, "2024-02-29", date(2024, 2, 29)),
    (K.TIME, "01:02:03", time(1, 2, 3)),
    (K.TIME, "01:02:03.123456000", time(1, 2, 3, 123456)),
    (K.TIMESTAMP, "2024-02-29 12:00:00", NOON),
    (K.TIMESTAMP, "2024-02-29T12:00:00.000000", NOON),
    (K.TIMESTAMP, date(2024, 2, 29), datetime(2024, 2, 29)),
    (K.INSTANT, "2024-02-29T12:00:00Z", NOON.replace(tzinfo=UTC)),
    (K.INSTANT, "2024-02-29 12:00:00", NOON.replace(tzinfo=UTC)),
    (K.INSTANT, NOON.replace(tzinfo=UTC), datetime(2024, 2, 29, 14, tzinfo=PLUS_TWO)),
    (K.BYTES, memoryview(b"a"), b"a"),
    (K.BYTES, bytearray(b"a"), b"a"),
    *((kind, None, None) for kind in K),
]
DIFFERENT = [
    (K.INTEGER, "5", 5),
    (K.TEXT, "5", 5),
    (K.ANY, "5", 5),
    (K.TEXT, "", None),
    (K.TEXT, "NULL", None),
    (K.TEXT, "a", "A"),
    (K.TEXT, "é", "e\u0301"),  # one letter to the reader, two spellings to a database
    (K.TEXT, "a", "a "),
    (K.DECIMAL, 0, None),
    (K.DECIMAL, 0.1, Decimal("0.10000000000000000555")),
    (K.DECIMAL, 2**53 + 1, float(2**53)),
    (K.DECIMAL, NAN, None),
    (K.DECIMAL, NAN, INF),
    (K.DECIMAL, INF, -INF),
    (K.DECIMAL, "x", 0),
    (K.DECIMAL, "", None),
    (K.FLOAT, 0.1, 0.1 + 2**-56),
    (K.FLOAT, NAN, None),
    (K.FLOAT, 2**53 + 1, float(2**53)),
    (K.FLOAT, 2**60 + 1, 2.0**60),
    (K.FLOAT, 10**23, 1e23),
    (K.DECIMAL, 0.1, Decimal.from_float(0.1)),  # Python holds these two for equal
    (K.JSON, '{"a":1,"a":2}', '{"a":2}'),
    (K.JSON, '{"a":1,"a":2}', '{"a":2,"a":1}'),
    (K.JSON, "null", None),
    (K.JSON, "[1, 2]", "[2, 1]"),
    (K.JSON, "1", "true"),
    (K.JSON, "1", '"1"'),
    (K.JSON, 1, '"1"'),
    (K.JSON, True, "1"),
    (K.JSON, INF, "null"),
    (K.JSON, '{"a":null}', "{}"),
    (K.JSON, "9007199254740993", "9007199254740992"),
    (K.JSON, "0.1", "0.10000000000000000555"),
    (K.JSON, "NaN", "null"),
    (K.JSON, "{", "[]"),
    (K.ARRAY, [1, 2], [2, 1]),
    (K.ARRAY, [], None),
    (K.ARRAY, [None], []),
    (K.ARRAY, [[1]], [1]),
    (K.INTERVAL, "P1M", "P30D"),
    (K.INTERVAL, "P1D", "PT24H"),
    (K.INTERVAL, "PT0S", None),
    (K.INTERVAL, "1 month", "P1M"),
    (K.BOOLEAN, None, False),
    (K.BOOLEAN, 2, True),
    (K.UUID, "x", ID),
    (K.UUID, ID.bytes[:-1], ID),
    (K.DATE, "2024-02-30", date(2024, 2, 29)),
    (K.TIMESTAMP, NOON, NOON.replace(microsecond=1)),
    # Python's parsers cut off what is beyond microseconds.
    (K.TIME, "01:02:03.1234567", time(1, 2, 3, 123456)),
    (K.TIME, "01:02:03.1234567", "01:02:03.1234568"),
    (K.TIMESTAMP, "2024-02-29 12:00:00.000000001", NOON),
    (K.INSTANT, "2024-02-29 12:00:00,0000001+00:00", NOON.replace(tzinfo=UTC)),
    (K.INSTANT, NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=PLUS_TWO)),
    (K.BYTES, b"", None),
    (K.BYTES, b"a", "a"),
]


@pytest.mark.parametrize(("kind", "a", "b"), SAME)
def test_the_same_by_meaning(kind: Kind, a: Any, b: Any) -> None:
    assert alike(kind, a, b)


@pytest.mark.parametrize(("kind", "a", "b"), DIFFERENT)
def test_must_differ(kind: Kind, a: Any, b: Any) -> None:
    assert not alike(kind, a, b)


@pytest.mark.parametrize("text", ["1_000", "\uff11\uff10\uff10\uff10", " 1000", "1000\n", "sNaN", "sNaN123"])
def test_python_reads_more_as_a_number_than_a_database_does(text: str) -> None:
    """What only Python takes for a number stays text, and so differs; nothing raises."""
    assert not alike(K.DECIMAL, text, 1000)
    assert alike(K.DECIMAL, text, text)


@pytest.mark.parametrize("begin", [" 0", "+0", "0x", "0_", "\u0660\u0660", "{00", "00-", "urn:uuid:00"])
def test_python_reads_more_as_a_uuid_than_a_database_does(begin: str) -> None:
    rest = "1c2d3e-0000-4000-8000-00000000abcd"
    assert alike(K.UUID, f"00{rest}", UUID(f"00{rest}")), "the control"
    assert not alike(K.UUID, begin + rest, UUID(f"00{rest}"))


@pytest.mark.parametrize("between", ["x", "2", "?", "\u00a0", "\n", "_"])
def test_python_takes_any_letter_for_what_stands_between_a_day_and_a_time(between: str) -> None:
    text = f"2024-02-29{between}12:00:00"
    assert not alike(K.TIMESTAMP, text, NOON)
    assert not alike(K.INSTANT, text, NOON.replace(tzinfo=UTC))


@given(st.sampled_from(list(K)), values)
@example(K.DECIMAL, Decimal("sNaN"))
@example(K.INSTANT, datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))))
@example(K.INSTANT, datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14))))
def test_any_value_has_a_spelling_of_any_kind(kind: Kind, value: Any) -> None:
    """A value that a kind cannot read stays as it is; nothing raises, and twice is once."""
    once = canonical(kind, [value])
    assert repr(canonical(kind, once)) == repr(once)
    assert (value is None) == (once[0] is None)


@given(integers, integers)
def test_integers_meet_exactly(a: int, b: int) -> None:
    assert alike(K.INTEGER, a, b) == alike(K.DECIMAL, a, b) == (a == b)


@given(decimals, decimals)
def test_decimals_meet_exactly(a: Decimal, b: Decimal) -> None:
    assert alike(K.DECIMAL, a, b) == (a == b)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_floats_meet_exactly(a: float, b: float) -> None:
    assert alike(K.FLOAT, a, b) == alike(K.DECIMAL, a, b) == (a == b)


@given(st.floats(allow_nan=False, allow_infinity=False), integers)
@example(2.0**60, 2**60)
@example(2.0**60, 2**60 + 1)
@example(1e23, 10**23)
def test_floats_and_integers_meet_by_their_values(a: float, b: int) -> None:
    assert alike(K.FLOAT, a, b) == (Fraction(a) == b)
    assert alike(K.FLOAT, a, int(a)) == (Fraction(a) == int(a))


@given(st.lists(st.floats() | decimals | integers, max_size=4), st.lists(st.floats() | decimals | integers, max_size=4))
@example([0.1], [Decimal.from_float(0.1)])
@example([2.0**60], [2**60])
@example([1e23], [Decimal.from_float(1e23)])
def test_equal_as_they_are_means_equal_when_they_are_canonical(a: list[Any], b: list[Any]) -> None:
    """The shortcut must not know better than the rule."""
    for kind in (K.DECIMAL, K.FLOAT, K.INTEGER):
        if same_as_they_are(kind, a, b):
            assert canonical(kind, a) == canonical(kind, b)
    assert same_as_they_are(K.DECIMAL, a, a) or any(value != value for value in a)  # NaN


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_and_the_decimal_that_spells_it_are_the_same(value: float) -> None:
    assert alike(K.DECIMAL, value, Decimal(repr(value)))
    assert alike(K.DECIMAL, value, repr(value))


@given(texts, texts)
def test_text_is_the_same_only_by_its_bytes(a: str, b: str) -> None:
    assert alike(K.TEXT, a, b) == (a == b)


@given(aware_datetimes, aware_datetimes)
def test_instants_are_the_same_in_any_zone(a: datetime, b: datetime) -> None:
    assert alike(K.INSTANT, a, b) == (a == b)


# --- fit: what a repair writes ---------------------------------------------------------------------------------------


@given(st.sampled_from(list(K)), values)
@example(K.INTEGER, INF)
@example(K.INTEGER, NAN)
@example(K.INTEGER, Decimal("NaN"))
@example(K.INTEGER, Decimal("Infinity"))
@example(K.FLOAT, 10**400)
@example(K.FLOAT, Decimal("1E+400"))
@example(K.FLOAT, Decimal("sNaN"))
@example(K.FLOAT, 2**53 + 1)
@example(K.BOOLEAN, "false")
@example(K.BOOLEAN, Decimal("sNaN"))
@example(K.BOOLEAN, NAN)
@example(K.DATE, NOON)
def test_fit_never_loses(kind: Kind, value: Any) -> None:
    """Either a ValueError, or what is written reads back as the value it stands for."""
    try:
        fitted = fit(kind, value)
    except ValueError:
        return
    if isinstance(value, Json | Interval):
        assert canonical(K.JSON if isinstance(value, Json) else K.INTERVAL, [fitted]) == [value]
        return
    if kind is K.TEXT and not isinstance(value, str) and value is not None:
        assert fitted == str(present(value))
        return
    if kind is K.FLOAT:
        assert fitted == value or canonical(K.DECIMAL, [fitted]) == canonical(K.DECIMAL, [value])
        return
    # As Python compares exactly, or in the spelling in which the two columns meet.
    back, meant = canonical(meeting_of(kind), [fitted, value])
    assert repr(back) == repr(meant) or fitted == value or back == meant


def meeting_of(kind: Kind) -> Kind:
    """The kind in which a value that was fitted is compared with where it came from."""
    meet = {K.INTEGER: K.DECIMAL, K.BOOLEAN: K.DECIMAL, K.DATE: K.TIMESTAMP, K.BYTES: K.UUID, K.ANY: K.JSON}
    return meet.get(kind, kind)


FITS = [
    (K.INTEGER, Decimal("5.00"), 5),
    (K.INTEGER, 5.0, 5),
    (K.INTEGER, True, 1),
    (K.BOOLEAN, 1, True),
    (K.BOOLEAN, Decimal(0), False),
    (K.FLOAT, Decimal("0.1"), 0.1),
    (K.FLOAT, 2**53, float(2**53)),
    (K.FLOAT, 2**60, 2.0**60),
    (K.BYTES, ID, ID.bytes),
    (K.JSON, Json('{"b": 1.50}'), '{"b": 1.50}'),  # as it was spelt
    (K.TEXT, Json("[1]"), "[1]"),
    (K.ANY, Json("[1]"), "[1]"),
    (K.INTERVAL, Interval(1, 0, -1_500_000), "P1MT-1.5S"),
    (K.ARRAY, (1, 2), (1, 2)),
    (K.TEXT, 5, "5"),
    (K.TEXT, ID, str(ID)),
    (K.TEXT, NOON, "2024-02-29 12:00:00"),
    (K.DATE, datetime(2024, 2, 29), date(2024, 2, 29)),
    (K.DECIMAL, Decimal("0.30"), Decimal("0.30")),
    (K.DECIMAL, True, 1),
    (K.ANY, "x", "x"),
    *((kind, None, None) for kind in K),
]


@pytest.mark.parametrize(("kind", "value", "stored"), FITS)
def test_what_fits(kind: Kind, value: Any, stored: Any) -> None:
    assert fit(kind, value) == stored
    assert type(fit(kind, value)) is type(stored)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (K.INTEGER, Decimal("5.5")),
        (K.INTEGER, 0.5),
        (K.INTEGER, INF),
        (K.INTEGER, NAN),
        (K.BOOLEAN, 2),
        (K.BOOLEAN, "false"),
        (K.FLOAT, Decimal("0.10000000000000000555")),
        (K.FLOAT, 2**53 + 1),
        (K.FLOAT, 10**23),
        (K.FLOAT, 10**400),
        (K.FLOAT, Decimal("1E+400")),
        (K.DATE, NOON),
        (K.DATE, datetime(2024, 2, 29, tzinfo=UTC)),
    ],
)
def test_what_would_lose_is_refused(kind: Kind, value: Any) -> None:
    with pytest.raises(ValueError, match=r"does not fit|convert"):
        fit(kind, value)


# --- parse_value: what a person types --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (K.INTEGER, "-42", -42),
        (K.INTEGER, str(10**30), 10**30),
        (K.TEXT, "42", "42"),
        (K.TEXT, "", ""),
        (K.ANY, "42", 42),
        (K.ANY, "-42", -42),
        (K.ANY, "x", "x"),
        (K.ANY, "--5", "--5"),
        (K.ANY, "²", "²"),
        (K.ANY, "-", "-"),
        (K.UUID, str(ID), ID),
        (K.DATE, "2024-02-29", date(2024, 2, 29)),
        (K.TIMESTAMP, "2024-02-29 12:00", NOON),
        (K.INSTANT, "2024-02-29T12:00Z", NOON.replace(tzinfo=UTC)),
    ],
)
def test_a_key_part_as_a_person_types_it(kind: Kind, text: str, value: Any) -> None:
    assert parse_value(kind, text) == value
    assert type(parse_value(kind, text)) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (K.INTEGER, "x"),
        (K.INTEGER, "9" * 5000),
        (K.INTEGER, ""),
        (K.INTEGER, "1.5"),
        (K.UUID, "x"),
        (K.DATE, "2024-02-30"),
        (K.INSTANT, "now"),
    ],
)
def test_a_key_part_of_another_kind_is_refused(kind: Kind, text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_value(kind, text)


# --- batches ---------------------------------------------------------------------------------------------------------

rows = st.lists(st.tuples(integers, st.uuids().map(str), texts, st.text(max_size=3)), max_size=6)
BATCH_KINDS = (K.INTEGER, K.UUID, K.TEXT)


@given(rows)
def test_a_batch_holds_its_rows_in_order_with_canonical_keys(given_rows: list[tuple[Any, ...]]) -> None:
    batch = batch_of(given_rows, BATCH_KINDS, 2, tokens=True)
    assert len(batch) == len(given_rows)
    assert [batch.key(at) for at in range(len(batch))] == [(row[0], UUID(row[1])) for row in given_rows]
    assert batch.values == ([row[2] for row in given_rows],)
    assert batch.tokens == [row[3] for row in given_rows]


@given(rows, st.integers(0, 6))
def test_a_batch_cut_in_two_and_put_together_is_the_batch(given_rows: list[tuple[Any, ...]], at: int) -> None:
    batch = batch_of(given_rows, BATCH_KINDS, 2, tokens=True)
    assert batch.slice(0, at) + batch.slice(at, len(batch)) == batch


def test_a_batch_without_tokens_has_none() -> None:
    with_tokens = batch_of([(1, str(ID), "a", "7")], BATCH_KINDS, 2, tokens=True)
    without = batch_of([(1, str(ID), "a")], BATCH_KINDS, 2, tokens=False)
    assert without.tokens is None
    assert (with_tokens + without).tokens is None
    assert isinstance(without, Batch)


@given(naive_datetimes, times)
def test_moments_are_recorded_as_what_they_are(moment: datetime, clock: time) -> None:
    assert encode(moment) != encode(moment.date())
    assert type(decode(encode(clock))) is time
