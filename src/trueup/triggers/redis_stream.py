"""A stream of Redis 6.2 or Valkey, read by a consumer group: each entry goes to one node, and stays its own until it is
acknowledged. What a node that is gone had taken is taken over by the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from trueup.core.events import Payload
from trueup.core.triggers import RedisStream, consumer
from trueup.errors import Unheard
from trueup.triggers import Delivery, Place
from trueup.urls import for_redis

#: Longest wait for an answer, besides the wait for an entry, seconds.
ANSWER_S = 10.0


class Stream:
    """Entries of one stream, as one consumer of its group."""

    most = 5_000

    def __init__(self, trigger: RedisStream, place: Place) -> None:
        self.trigger, self.place = trigger, place
        self.group, self.name = trigger.group or consumer(place.projection), place.node
        #: Own entries from before, up to here, are read again first; None: that is over.
        self.again: str | None = "0"
        #: When entries of others are looked through, and from where.
        self.claim_at, self.claim_from = place.clock.monotonic(), "0-0"
        try:
            url = for_redis(place.url)
        except ValueError as wrong:
            raise Unheard(f"{place.where}.url: {wrong}") from None
        with self._translated():
            # A command that is sent twice would take entries that nobody gets to see until they are claimed.
            self.client = redis.Redis.from_url(
                url,
                socket_timeout=ANSWER_S,
                socket_connect_timeout=ANSWER_S,
                retry=Retry(NoBackoff(), 0),
            )
            self.gap = self._join()

    def _join(self) -> str:
        """Make the group where it is not there; why entries may have gone by unseen."""
        try:
            self.client.xgroup_create(self.trigger.stream, self.group, id="0", mkstream=True)
            return f"the consumer group {self.group} is new"
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        stream: Any = self.client.xinfo_stream(self.trigger.stream)
        groups: Any = self.client.xinfo_groups(self.trigger.stream)
        mine = next(group for group in groups if group["name"] in (self.group, self.group.encode()))
        # Redis 7 says how many entries there ever were: those that are gone and were not read were not seen.
        gone = stream["entries-added"] - stream["length"] if "entries-added" in stream else 0
        read = mine.get("entries-read")
        return f"entries of {self.trigger.stream} were dropped before they were read" if gone > (read or 0) else ""

    def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        with self._translated():
            if self.again is not None:
                if found := self._read(self.again, most, None):
                    self.again = found[-1].token
                    return found
                self.again = None
            return self._claimed(most) or self._read(">", most, max(int(wait_s * 1000), 1))

    def _read(self, after: Any, most: int, block_ms: int | None) -> list[Delivery]:
        told: Any = self.client.xreadgroup(
            self.group, self.name, {self.trigger.stream: after}, count=most, block=block_ms
        )
        streams = told.values() if isinstance(told, Mapping) else [entries for _, entries in told or ()]
        return [self._delivery(*entry) for entries in streams for entry in _flat(entries)]

    def _claimed(self, most: int) -> list[Delivery]:
        """Entries that others took long ago and did not acknowledge."""
        now = self.place.clock.monotonic()
        if now < self.claim_at:
            return []
        idle_ms = int(self.trigger.take_over * 1000)
        told: Any = self.client.xautoclaim(
            self.trigger.stream, self.group, self.name, idle_ms, start_id=self.claim_from, count=most
        )
        self.claim_from = told[0]
        if told[0] in (b"0-0", "0-0"):  # they were all looked through
            self.claim_at = now + self.trigger.take_over / 2
        return [self._delivery(*entry) for entry in told[1] if entry[1] is not None]

    def _delivery(self, token: bytes, fields: Mapping[bytes, bytes] | None) -> Delivery:
        told = {name.decode(errors="replace"): value for name, value in (fields or {}).items()}
        payload: Payload = told.get(self.trigger.field, b"") if self.trigger.field else told
        return Delivery(payload=payload, token=token)

    def settle(self, read: Sequence[Delivery], unreadable: Sequence[Delivery]) -> None:
        with self._translated():
            self.client.xack(self.trigger.stream, self.group, *(each.token for each in (*read, *unreadable)))

    def close(self) -> None:
        with suppress(RedisError):
            stream, group, name = self.trigger.stream, self.group, self.name
            # A consumer that goes takes what it has not acknowledged with it, for ever: it stays as long as it has any.
            if not self.client.xpending_range(stream, group, min="-", max="+", count=1, consumername=name):
                self.client.xgroup_delconsumer(stream, group, name)
        with suppress(RedisError):
            self.client.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            raise Unheard(f"{self.place.where}: {str(error) or type(error).__name__}") from error


connect = Stream


def _flat(entries: Any) -> Iterator[Any]:
    """Entries of one stream, which the newer protocol puts into one list more."""
    for entry in entries:
        if isinstance(entry, list) and entry and isinstance(entry[0], tuple | list):
            yield from entry
        else:
            yield entry
