"""Corrections as entries and messages, for those who apply them: one file a kind of place, found by URL scheme.

What is sent carries the idempotency key of its correction, in the way that the place knows for it: a unique column, the
id of a message. So a try after a lost answer is dropped there, or can be by whoever applies it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

from trueup.core.handlers import Handler
from trueup.errors import ConfigError
from trueup.python.handlers import Call

#: URL scheme -> module.
_MODULES: Mapping[str, str] = {
    **dict.fromkeys(("sqlite", "postgresql", "postgres", "mysql", "mariadb"), "table"),
    **dict.fromkeys(("redis", "rediss", "valkey", "valkeys"), "stream"),
    **dict.fromkeys(("amqp", "amqps"), "queue"),
    **dict.fromkeys(("nats", "tls"), "subject"),
}


class Emitter(Protocol):
    """One place that corrections are sent to. Connects when it is first needed."""

    def send(self, call: Call) -> str:
        """Send one correction, and wait until it is taken; how that was told.

        Raises Transient, DataProblem, or whatever ends the run.
        """

    def close(self) -> None:
        """Give the connection back."""


def emitter(handler: Handler, place: str, url: str) -> Emitter:
    """Who sends what `handler` declares; `place`: what messages begin with.

    Raises ConfigError.
    """
    scheme = url.partition(":")[0].partition("+")[0].lower()
    module = _MODULES.get(scheme)
    if module is None:
        raise ConfigError(f"{place}: nothing can be emitted there; known: {', '.join(sorted(_MODULES))}")
    if handler.values and module != "table":
        raise ConfigError("`values` are the columns of a table; messages have one form")
    try:
        made: Emitter = importlib.import_module(f"{__name__}.{module}").connect(handler, place, url)
    except ModuleNotFoundError as missing:
        raise ConfigError(f"{place}: the driver {missing.name!r} is not installed") from missing
    return made


def parts(call: Call) -> dict[str, Any]:
    """What a correction can be told by."""
    columns = {
        **{f"key.{name}": value for name, value in call.key.items()},
        **{f"expected.{name}": value for name, value in (call.expected or {}).items()},
        **{f"observed.{name}": value for name, value in (call.observed or {}).items()},
        **{f"difference.{name}": value for name, value in difference(call).items()},
    }
    whole = {"id": call.idempotency_key, "projection": call.projection, "kind": call.kind, "at": call.at}
    return {**whole, **columns, "body": body(call)}


def difference(call: Call) -> dict[str, Any]:
    """What has to be added to the target's numbers; a row that is not there counts as 0."""
    names = call.expected or call.observed or {}
    pairs = {name: ((call.expected or {}).get(name, 0), (call.observed or {}).get(name, 0)) for name in names}
    return {name: wanted - held for name, (wanted, held) in pairs.items() if _number(wanted) and _number(held)}


def _number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def body(call: Call) -> str:
    """A correction as a message."""
    told = {
        "id": call.idempotency_key,
        "projection": call.projection,
        "kind": call.kind,
        "key": call.key,
        "expected": call.expected,
        "observed": call.observed,
        "difference": difference(call),
        "reason": call.reason,
        "run": call.run,
        "plan": call.plan,
        "actor": call.actor,
        "at": call.at.isoformat(),
    }
    return json.dumps(told, default=str, ensure_ascii=False)
