"""Events: which keys one is about, whatever it is; and how many of them become one request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trueup.core.events import EVENT_MAX, VALUE_MAX, Gathered, UnreadableError, keys_in
from trueup.core.queue import KEYS_MAX
from trueup.core.triggers import Event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
PLAIN = Event()


def keys(payload: Any, *key: str, **declared: Any) -> Any:
    return keys_in(payload, Event(**declared), key or ("id",))


@pytest.mark.parametrize(
    ("payload", "declared", "found"),
    [
        (b'{"id": 7, "more": {}}', {}, [{"id": 7}]),
        ('{"data": {"post": "7"}}', {"keys": {"id": "data.post"}}, [{"id": "7"}]),
        ('[{"id": 1}, {"id": 2}]', {}, [{"id": 1}, {"id": 2}]),
        ("7", {}, [{"id": 7}]),
        ('["a", "b"]', {}, [{"id": "a"}, {"id": "b"}]),
        ("a b", {"format": "text"}, [{"id": "a b"}]),
        ({"id": b"7"}, {}, [{"id": "7"}]),
        ("", {"keys": "all"}, None),
        (b"\xff", {"keys": "all"}, None),
    ],
)
def test_what_an_event_is_about(payload: Any, declared: Any, found: Any) -> None:
    assert keys(payload, **declared) == found


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"\xff", b"{", b"{}", b"[]", b'{"id": null}', b'{"id": {}}', b'{"id": [1]}', b'{"ID": 1}', b"NaN"),
        *(b'{"id": "a\\u0000"}', b"[" * 100_000, b" " * (EVENT_MAX + 1) + b"1", {"id": b"\xff"}, {}),
        json.dumps({"id": "x" * (VALUE_MAX + 1)}),
    ],
)
def test_what_no_key_is_found_in(payload: Any) -> None:
    with pytest.raises(UnreadableError) as why:
        keys(payload)
    assert len(str(why.value)) < 100, "nothing of the event is in the message"


def test_a_key_of_several_columns() -> None:
    assert keys('{"tenant": 7, "id": 42}', "tenant", "id") == [{"tenant": 7, "id": 42}]
    for payload in ("7", '{"id": 42}', "[1, 2]"):
        with pytest.raises(UnreadableError):
            keys(payload, "tenant", "id")


@given(st.binary() | st.text() | JSON.map(json.dumps))
def test_anything_is_read_or_put_off(payload: Any) -> None:
    try:
        found = keys_in(payload, PLAIN, ("id",))
    except UnreadableError:
        return
    assert found is not None
    json.dumps(found, allow_nan=False)


@given(st.lists(st.lists(st.integers(0, 50), min_size=1), max_size=50))
def test_each_key_once_whatever_the_number_and_order_of_events(events: list[list[int]]) -> None:
    gathered = Gathered()
    for event in events:
        gathered.add([{"id": n} for n in event])
    assert gathered.asked is not None
    assert [key["id"] for key in gathered.asked] == list(dict.fromkeys(n for event in events for n in event))
    assert (gathered.events, gathered.asks) == (len(events), bool(events))


def test_a_storm_takes_no_more_memory_than_a_queue() -> None:
    gathered = Gathered()
    for n in range(100_000):
        gathered.add([{"id": n}])
        assert len(gathered.keys) <= KEYS_MAX
    assert gathered.asked is None
    assert (gathered.events, gathered.over_all) == (
        100_000,
        "events about more than 5,000 keys at a time, so all are looked at",
    )
    one = Gathered()
    for _ in range(100_000):
        one.add([{"id": 1}])
    assert (one.asked, one.events) == ([{"id": 1}], 100_000)


def test_what_an_event_asks_for_that_cannot_be_read() -> None:
    for declared, asked in (("skip", False), ("all", True)):
        gathered = Gathered()
        gathered.put_off(Event(unreadable=declared), UnreadableError("it is no JSON"))  # type: ignore[arg-type]
        assert (gathered.asks, gathered.unreadable) == (asked, 1)


def test_a_declaration_says_what_is_wrong_with_it() -> None:
    for wrong in ({"window": -1}, {"keys": "some"}, {"format": "xml"}, {"colour": 1}):
        with pytest.raises(ValidationError):
            Event(**wrong)  # type: ignore[arg-type]
