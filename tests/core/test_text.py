"""Values and keys as text: read exactly or left as they stand, and named in one way only."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.kinds import Kind, canonical
from trueup.core.text import Pattern, namesakes, part_of_key, spelt, texts_of, understood


@pytest.mark.parametrize(
    ("kind", "stored", "value"),
    [
        (Kind.INTEGER, b"7", 7),
        (Kind.INTEGER, b"-7", -7),
        (Kind.INTEGER, b"0", 0),
        (Kind.INTEGER, b"9223372036854775808", 9223372036854775808),
        (Kind.DECIMAL, b"5.00", Decimal(5)),
        (Kind.DECIMAL, b"1e-7", Decimal("1e-7")),
        (Kind.FLOAT, b"0.10000000000000001", 0.1),
        (Kind.FLOAT, b"3", 3.0),
        (Kind.BOOLEAN, b"1", True),
        (Kind.BOOLEAN, b"false", False),
        (Kind.TEXT, b"007", "007"),
        (Kind.BYTES, b"\xff", b"\xff"),
        (Kind.DATE, b"2026-11-28", date(2026, 11, 28)),
        (Kind.INSTANT, b"2026-11-28T12:00:00+00:00", datetime(2026, 11, 28, 12, tzinfo=UTC)),
        (Kind.UUID, b"00000000-0000-0000-0000-000000000001", UUID(int=1)),
        (Kind.INTEGER, None, None),
    ],
)
def test_what_is_spelt_as_its_kind_is_read_as_such(kind: Kind, stored: bytes | None, value: Any) -> None:
    assert understood(kind, stored) == value


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        *(
            (Kind.INTEGER, text)
            for text in (b"007", b"+7", b" 7", b"7.0", b"1_0", b"-0", b"", b"7 ", "\u0667".encode())
        ),
        *((Kind.DECIMAL, text) for text in (b"1,5", b"0x1", b"1_0", b" 5", b"")),
        *((Kind.BOOLEAN, text) for text in (b"yes", b"TRUE", b"2", b"")),
        (Kind.FLOAT, b"1.5f"),
        (Kind.DATE, b"28.11.2026"),
    ],
)
def test_what_is_not_stays_the_text_that_it_is_and_equals_no_value(kind: Kind, stored: bytes) -> None:
    assert understood(kind, stored) == stored.decode()


def test_bytes_that_are_no_text_stay_bytes() -> None:
    assert understood(Kind.TEXT, b"\xff\x00") == b"\xff\x00"


VALUES = {
    Kind.INTEGER: st.integers(),
    Kind.DECIMAL: st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=6),
    Kind.FLOAT: st.floats(),
    Kind.BOOLEAN: st.booleans(),
    Kind.TEXT: st.text(),
    Kind.BYTES: st.binary(),
    Kind.UUID: st.uuids(),
    Kind.DATE: st.dates(),
    Kind.TIMESTAMP: st.datetimes(),
    Kind.INSTANT: st.datetimes(timezones=st.just(UTC)),
}


@given(st.sampled_from(sorted(VALUES)).flatmap(lambda kind: VALUES[kind].map(lambda value: (kind, value))))
def test_what_is_written_is_read_back(case: tuple[Kind, Any]) -> None:
    kind, value = case
    value = canonical(kind, [value])[0]
    assert canonical(kind, [understood(kind, spelt(kind, value))]) == [value]


def test_what_would_not_be_is_refused() -> None:
    for kind, value in ((Kind.BOOLEAN, 2), (Kind.INTEGER, Decimal("1.5")), (Kind.DATE, datetime(2026, 1, 1, 5))):
        with pytest.raises(ValueError, match="does not fit"):
            spelt(kind, value)


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_pattern_names_its_columns() -> None:
    pattern = Pattern.parse("post:{post_id}:likes:{day}")
    assert (pattern.names, pattern.glob) == (("post_id", "day"), "post:*:likes:*")
    assert pattern.parts("post:7:likes:2026-11-28") == ("7", "2026-11-28")
    assert pattern.name(("7", "2026-11-28")) == "post:7:likes:2026-11-28"


@pytest.mark.parametrize(
    "text", ["post:{}", "{a}{b}", "{a}:{a}", "post:{a", "post:a}", "{a!r}", "{a:3}", "{a.b}", "{a b}", "{0}"]
)
def test_a_pattern_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Pattern.parse(text)


def test_characters_of_a_glob_are_meant_as_they_are() -> None:
    pattern = Pattern.parse("a*[b]?\\^-:{x}")
    assert pattern.glob == r"a\*\[b\]\?\\\^\-:*"
    assert pattern.parts("a*[b]?\\^-:1") == ("1",)
    assert Pattern.parse("user:{{{id}}}:n").name(("1",)) == "user:{1}:n"  # a hash tag


@given(st.lists(st.text(alphabet=":ab", max_size=4), min_size=2, max_size=2))
def test_a_name_is_made_only_where_it_is_read_as_the_same_columns(parts: list[str]) -> None:
    pattern = Pattern.parse("x:{a}:{b}:y")
    name = pattern.name(parts)
    if name is not None:
        assert pattern.parts(name) == tuple(parts)
    else:
        assert pattern.parts(f"x:{parts[0]}:{parts[1]}:y") != tuple(parts)


@given(st.text(alphabet="x:yab", max_size=12))
def test_a_name_that_is_read_is_the_one_that_is_made(name: str) -> None:
    pattern = Pattern.parse("x:{a}:{b}:y")
    parts = pattern.parts(name)
    assert parts is None or pattern.name(parts) == name


def test_a_part_of_a_key_is_read_in_its_one_spelling_only() -> None:
    assert part_of_key(Kind.INTEGER, "7") == 7
    assert part_of_key(Kind.TEXT, "007") == "007"
    assert texts_of([Kind.INTEGER, Kind.DATE], (7, date(2026, 1, 2))) == ("7", "2026-01-02")
    for kind, text in ((Kind.INTEGER, "007"), (Kind.INTEGER, "x"), (Kind.UUID, UUID(int=1).hex), (Kind.DATE, "2026")):
        with pytest.raises(ValueError, match=f"no {kind}, or in a spelling of its own"):
            part_of_key(kind, text)


@given(st.text("ab:", min_size=1, max_size=9))
def test_every_way_to_read_a_name_makes_that_name(text: str) -> None:
    pattern = Pattern.parse("r:{x}:{y}:{z}!")
    name = f"r:{text}!"
    found = list(pattern.readings(name))
    assert all("r:" + ":".join(parts) + "!" == name and all(parts) for parts in found)
    assert len(set(found)) == len(found)
    assert (pattern.parts(name) in found) if pattern.parts(name) else not found


def test_names_that_two_rows_have() -> None:
    pattern = Pattern.parse("t:{a}:{b}")
    texts = {"b": Kind.TEXT, "a": Kind.TEXT}  # in the order of the key, which is not the name's
    assert list(namesakes(pattern, texts, ("y:z", "x"))) == [("z", "x:y")]
    assert list(namesakes(pattern, {"a": Kind.TEXT, "b": Kind.INTEGER}, ("x", 7))) == []
    assert list(namesakes(Pattern.parse("t:{a}:n"), {"a": Kind.TEXT}, ("x:n",))) == []
    with_member = {"a": Kind.TEXT, "b": Kind.TEXT, "m": Kind.TEXT}
    assert list(namesakes(pattern, with_member, ("x", "y:z", ""))) == [("x:y", "z", "")]
