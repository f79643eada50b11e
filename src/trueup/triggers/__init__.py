"""Where events come from: one file is one kind of trigger, found by its name and imported on demand.

A source hands out what came and is told when the request that came of it is durable in the queue; only then does it
acknowledge. So an event is taken at least once, and what is lost with a node comes again. Sources never reconnect by
themselves: they raise, and are opened anew by who listens, with a pause in between.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trueup.clock import Clock
from trueup.core.events import Payload
from trueup.core.triggers import Trigger
from trueup.errors import ConfigError

#: Kind of trigger -> the extra that brings its driver, where it is not called so.
_EXTRAS = {"listen": "postgres", "redis_stream": "redis", "rabbitmq": "amqp"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One event as it came."""

    payload: Payload
    #: What its source knows it by.
    token: Any


class Source(Protocol):
    """An open connection that events come from."""

    #: Most events that it is to have handed out without having been told to `settle` them.
    most: int
    #: Why events may have gone by unseen, in words; empty: they have not. Who takes it over empties it.
    gap: str

    def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        """What has come, at most `most` events; empty if nothing does within `wait_s`. Raises Unheard."""

    def settle(self, read: Sequence[Delivery], unreadable: Sequence[Delivery]) -> None:
        """What came of these is durable: they need not come again. Given in the order in which they were received.

        Raises Unheard.
        """

    def close(self) -> None:
        """Give the connection back. What was not settled comes again, to whoever asks. Never raises."""


class Position(Protocol):
    """How far a source has come, kept in the ledger where the source itself keeps nothing."""

    def load(self) -> str | None:
        """What was saved last; None: nothing yet."""

    def save(self, position: str) -> None:
        """Everything up to here is settled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a source is to be opened, and for whom."""

    projection: str
    key: tuple[str, ...]
    #: The declaration of its database or broker, as `brokers.bus`: what messages begin with.
    where: str
    url: str
    #: The process that listens.
    node: str
    clock: Clock
    position: Position


def driver(trigger: Trigger) -> Any:
    """The module of a kind of trigger. Raises ConfigError if its driver is not installed."""
    try:
        return importlib.import_module(f"{__name__}.{trigger.kind}")
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get(trigger.kind, trigger.kind)
        raise ConfigError(
            f'triggers, kind = "{trigger.kind}": the driver {missing.name!r} is not installed; '
            f"pip install 'trueup[{extra}]'"
        ) from missing


def opened(trigger: Trigger, place: Place) -> Source:
    """A source that is connected. Raises Unheard."""
    source: Source = driver(trigger).connect(trigger, place)
    return source
