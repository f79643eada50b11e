"""Events as they come: which keys one is about, and how many of them become one request. No broker, no clock."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trueup.core.queue import KEYS_MAX
from trueup.core.triggers import Event

#: Longest event that is read, bytes; it has to name keys, nothing more.
EVENT_MAX = 256 * 1024
#: Longest value of a key's column, characters.
VALUE_MAX = 1000

Keys = Sequence[Mapping[str, Any]]
#: An event: bytes or text in a format, or fields that a broker has taken apart already.
Payload = bytes | str | Mapping[str, Any]


class UnreadableError(ValueError):
    """An event whose keys cannot be found. The message says why, and holds nothing of the event."""


def keys_in(payload: Payload, trigger: Event, key: tuple[str, ...]) -> Keys | None:
    """The keys that an event is about; None: all. Raises UnreadableError."""
    if trigger.keys == "all":
        return None
    if isinstance(payload, Mapping):
        return [_key(payload, trigger, key)]
    if len(payload) > EVENT_MAX:
        raise UnreadableError(f"it is longer than {EVENT_MAX:,} bytes")
    if isinstance(payload, bytes):
        try:
            payload = payload.decode()
        except UnicodeDecodeError:
            raise UnreadableError("it is not UTF-8") from None
    told: Any = payload
    if trigger.format == "json":
        try:
            told = json.loads(payload, parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise UnreadableError("it is no JSON") from None
    events = told if isinstance(told, list) else [told]
    if not events:
        raise UnreadableError("it names no key")
    return [_key(event, trigger, key) for event in events]


def _no_number(text: str) -> None:
    raise ValueError(text)


def _key(event: Any, trigger: Event, key: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(event, Mapping):
        if len(key) > 1:
            raise UnreadableError("it is one value, and the key has several columns")
        return {key[0]: _value(key[0], event)}
    found = {}
    for name, way in trigger.fields(key).items():
        value: Any = event
        for step in way:
            if not isinstance(value, Mapping) or step not in value:
                raise UnreadableError(f"it has no field {'.'.join(way)!r}")
            value = value[step]
        found[name] = _value(name, value)
    return found


def _value(name: str, value: Any) -> Any:
    """A value as a request can hold it: JSON's own kinds, whole; the run finds out whether it can be a key."""
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise UnreadableError(f"{name} is not UTF-8") from None
    if isinstance(value, float) or not isinstance(value, str | int | bool):
        value = None if isinstance(value, Mapping | Sequence) or value is None else str(value)
    if value is None or len(str(value)) > VALUE_MAX or "\0" in str(value):
        raise UnreadableError(f"{name} cannot be a key")
    return value


@dataclass(kw_only=True, slots=True)
class Gathered:
    """Events of one projection on their way to one request: each key once, and no more of them than a queue holds."""

    keys: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Why all keys are asked for; empty: they are not.
    over_all: str = ""
    events: int = 0
    unreadable: int = 0

    def add(self, keys: Keys | None) -> None:
        """One event, about these keys or about all of them."""
        self.events += 1
        if self.over_all:
            return
        if keys is None:
            self.all_for("an event is about all keys")
            return
        self.keys.update((json.dumps(key, sort_keys=True), key) for key in keys)
        if len(self.keys) > KEYS_MAX:
            self.all_for(f"events about more than {KEYS_MAX:,} keys at a time, so all are looked at")

    def all_for(self, reason: str) -> None:
        """All keys are asked for; that says more than any of them."""
        self.over_all = self.over_all or reason
        self.keys.clear()

    def put_off(self, trigger: Event, why: UnreadableError) -> None:
        """One event that cannot be read."""
        self.events += 1
        self.unreadable += 1
        if trigger.unreadable == "all":
            self.all_for(f"an event could not be read: {why}")

    @property
    def asks(self) -> bool:
        """Is there anything to be asked for?"""
        return bool(self.keys or self.over_all)

    @property
    def asked(self) -> Keys | None:
        """The keys; None: all."""
        return None if self.over_all else list(self.keys.values())
