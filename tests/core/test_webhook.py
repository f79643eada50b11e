"""Signed requests: what is genuine and of this moment is read, and everything else is refused alike."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trueup import Projection, Side
from trueup.core.webhook import received, signed
from trueup.errors import Refused, UsageError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT = int(NOW.timestamp())
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
BODY = b'{"id": 42}'


def projection(*hooks: dict[str, Any]) -> Projection:
    sides = {side: Side(database="app", table=side) for side in ("source", "target")}
    triggers: Any = [{"kind": "webhook", "secret": SECRET, **hook} for hook in hooks or ({},)]
    return Projection(name="p", key=("id",), triggers=triggers, **sides)


def headers(body: bytes = BODY, at: int = AT, secret: bytes = b"k" * 32, **changes: str) -> dict[str, str]:
    told = {"webhook-id": "m", "webhook-timestamp": str(at), "webhook-signature": signed(secret, "m", str(at), body)}
    return told | {f"webhook-{name}": value for name, value in changes.items()}


def test_a_genuine_request() -> None:
    found = received(projection(), headers(), BODY, NOW)
    assert (found.asked, found.events) == ([{"id": 42}], 1)
    right = headers()["webhook-signature"]
    assert received(projection(), headers(signature=f"v1,xx v2,yy {right}"), BODY, NOW).asked == [{"id": 42}]
    assert received(projection({"secret": "s" * 24}, {}), headers(), BODY, NOW).asked == [{"id": 42}]


def test_the_example_of_the_specification() -> None:
    """As github.com/standard-webhooks has it, so that what others send is understood."""
    secret, body = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    told = signed(base64.b64decode(secret[6:]), "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "wrong",
    [
        {"signature": ""},
        {"signature": "v1,"},
        {"signature": "v1,AAAA"},
        {"id": "other"},
        {"timestamp": str(AT + 1)},
        {"timestamp": ""},
        {"timestamp": "-1"},
        {"timestamp": "1e9"},
        {"timestamp": "٣"},
        {"signature": headers(secret=b"another secret that is long")["webhook-signature"]},
        {"signature": headers(body=b"{}")["webhook-signature"]},
        {"signature": "é"},
    ],
)
def test_whatever_else_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(Refused, match="does not fit"):
        received(projection(), headers(**wrong), BODY, NOW)


def test_a_request_of_another_moment_is_refused() -> None:
    for late in (-301, 301):
        with pytest.raises(Refused):
            received(projection(), headers(at=AT + late), BODY, NOW)
        assert received(projection({"tolerance": "302s"}), headers(at=AT + late), BODY, NOW).asks
    with pytest.raises(Refused):
        received(projection().model_copy(update={"triggers": ()}), headers(), BODY, NOW)


@given(st.binary(max_size=30))
def test_a_body_that_was_changed_is_refused(body: bytes) -> None:
    if body != BODY:
        with pytest.raises(Refused):
            received(projection(), headers(), body, NOW)


def test_a_genuine_request_that_cannot_be_read() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        received(projection(), headers(b"{}"), b"{}", NOW)
    assert received(projection({"unreadable": "all"}), headers(b"{}"), b"{}", NOW).over_all


def test_a_secret_is_long_and_never_shown() -> None:
    for short in ("", "s" * 23, "whsec_" + base64.b64encode(b"k" * 23).decode(), "whsec_!"):
        with pytest.raises(ValidationError) as why:
            projection({"secret": short})
        assert not short or short not in str(why.value)
    assert SECRET not in repr(projection())
