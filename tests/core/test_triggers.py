"""Declared triggers: what names what, who shares what, and errors that name the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trueup import ConfigError
from trueup.config import parse
from trueup.core.triggers import consumer

SIDES = {side: {"database": "app", "table": side} for side in ("source", "target")}


def declared(*triggers: dict[str, Any], more: tuple[dict[str, Any], ...] = (), **changes: Any) -> Any:
    data: dict[str, Any] = {
        "databases": {"app": {"url": "postgresql://h/d"}, "redis": {"url": "redis://h"}},
        "brokers": {"bus": {"url": "redis://:hush@h/0"}, "mq": {"url": "amqp://h"}, "nats": {"url": "nats://h"}},
        "projections": {
            "p": {**SIDES, "key": "id", "triggers": list(triggers), **changes},
            "q": {**SIDES, "key": "id", "triggers": list(more)},
        },
    }
    return parse(data, path=Path("trueup.toml"))


LISTEN = {"kind": "listen", "database": "app", "channel": "c"}
STREAM = {"kind": "redis_stream", "broker": "bus", "stream": "s"}
QUEUE = {"kind": "rabbitmq", "broker": "mq", "queue": "q"}
NATS = {"kind": "nats", "broker": "nats", "stream": "s"}
OUTBOX = {"kind": "outbox", "database": "app", "table": "t"}
HOOK = {"kind": "webhook", "secret": "x" * 32}


def test_all_kinds() -> None:
    config = declared(LISTEN, STREAM, QUEUE, NATS, OUTBOX, HOOK, more=(LISTEN, STREAM, NATS, OUTBOX, HOOK))
    assert [trigger.kind for trigger in config.projections["p"].triggers] == [
        *("listen", "redis_stream", "rabbitmq", "nats", "outbox", "webhook")
    ]
    assert "hush" not in repr(config)
    assert config.projections["p"].webhooks == list(config.projections["p"].triggers[-1:])


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        ({"kind": "lissten"}, r"projections\.p\.triggers\.0: .*'lissten'.*'listen'"),
        ({**LISTEN, "chanel": 1}, r"triggers\.0\.listen\.chanel: unknown key 'chanel'; did you mean 'channel'"),
        ({"kind": "listen", "database": "app"}, r"triggers\.0\.listen\.channel: is missing"),
        ({**LISTEN, "database": "ap"}, r"triggers\.0\.database: 'ap' is not declared in \[databases\]; .*'app'"),
        ({**LISTEN, "database": "redis"}, "is not for redis://"),
        ({**STREAM, "broker": "mq"}, r'kind = "redis_stream" is not for amqp://'),
        ({**STREAM, "broker": "no"}, r"'no' is not declared in \[brokers\]"),
        ({**LISTEN, "keys": {"post": "x"}}, "`triggers` 1: `keys` says where id are"),
        ({**LISTEN, "gap": "schedule"}, "needs a `schedule`"),
        ({**HOOK, "secret": "short"}, "shorter than 24 bytes"),
    ],
)
def test_what_is_wrong_is_named(trigger: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        declared(trigger)


@pytest.mark.parametrize("trigger", [QUEUE, {**STREAM, "group": "g"}, {**NATS, "durable": "d"}])
def test_two_do_not_take_each_others_events(trigger: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"is read by projections\.p\.triggers\.0 already"):
        declared(trigger, more=(trigger,))


def test_a_broker_is_one_that_is_known() -> None:
    with pytest.raises(ConfigError, match=r"brokers\.bus\.url: it begins with none of redis://"):
        parse({"brokers": {"bus": {"url": "kafka://h"}}}, path=Path("trueup.toml"))


def test_consumers_of_two_projections_are_two() -> None:
    assert consumer("p") == "trueup-p"
    assert len({consumer("a.b"), consumer("a_b"), consumer("a-b")}) == 3
    assert "." not in consumer("a.b")
