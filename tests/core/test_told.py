"""Lines are canonical, small, and give back the rows that were put into them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.core.told import LINE_MAX, checked, commitment, line_of, lines_of, moment, numbered, rows_of, sha256

CELL = st.none() | st.text(max_size=30) | st.text(min_size=300, max_size=9_000)


def test_a_line_is_its_bytes() -> None:
    line = line_of({"b": "2", "a": "\u00e9\ud800", "c": {"y": True, "x": None}}, {})
    assert line == '{"a":"\\u00e9\\ud800","b":"2","c":{"x":null,"y":true}}'
    assert numbered(7, line) == b'{"seq":7,"a":"\\u00e9\\ud800","b":"2","c":{"x":null,"y":true}}'


def test_times_are_in_utc_to_the_microsecond() -> None:
    assert moment(datetime(2026, 3, 1, 1, 2, 3, 4, tzinfo=UTC)) == "2026-03-01T01:02:03.000004Z"


@pytest.mark.parametrize("fact", [1, 0.5, {"in": 2}])
def test_numbers_are_refused(fact: Any) -> None:
    with pytest.raises(TypeError, match="strings"):
        checked({"n": fact})
    assert checked({"n": True, "t": "1"}) == {"n": True, "t": "1"}


def test_what_has_no_spelling_is_refused() -> None:
    with pytest.raises(TypeError, match="datetime"):
        line_of({"at": datetime(2026, 1, 1)}, {})  # type: ignore[dict-item]


def test_what_is_too_long_is_put_aside() -> None:
    aside: dict[str, str] = {}
    line = line_of({"act": "a", "reason": "r" * 20_000}, aside)
    assert json.loads(line) == {"act": "a", "reason": {"bytes": "20000", "sha256": sha256("r" * 20_000)}}
    assert aside == {sha256("r" * 20_000): "r" * 20_000}


@settings(max_examples=30, deadline=None)  # texts of kilobytes are slow to make
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=60))
def test_rows_come_back_in_order_and_no_line_is_too_long(rows: list[tuple[str | None, str | None]]) -> None:
    aside: dict[str, str] = {}
    columns = {"key": [key for key, _ in rows], "before": [before for _, before in rows]}
    lines = lines_of({"act": "rows"}, columns, aside)
    assert all(len(numbered(10**18, line)) <= LINE_MAX for line in lines)
    found: list[tuple[Any, Any]] = []
    for at, line in enumerate(lines, 1):
        told = json.loads(line)
        assert told["part"] == f"{at}/{len(lines)}"
        part = rows_of(told["rows"])
        found += zip(part["key"], part["before"], strict=True)
    spelt = [tuple(aside[cell["sha256"]] if isinstance(cell, dict) else cell for cell in row) for row in found]
    assert spelt == rows


def test_a_commitment_depends_on_its_salt() -> None:
    assert commitment(b"a" * 16, "1") != commitment(b"b" * 16, "1") != commitment(b"b" * 16, "2")
