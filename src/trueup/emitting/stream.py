"""An entry in a Redis stream, with the fields `id` and `body`. After a lost answer there may be two of one id."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Broken
from redis.exceptions import TimeoutError as Late
from redis.retry import Retry

from trueup.core.handlers import Handler
from trueup.emitting import body
from trueup.errors import ConfigError, Transient
from trueup.python.handlers import Call
from trueup.urls import for_redis

#: Longest wait for an answer, seconds.
ANSWER_S = 10.0


class Stream:
    """One stream."""

    def __init__(self, handler: Handler, place: str, url: str) -> None:
        self.place, self.name = place, handler.to
        try:
            url = for_redis(url)
        except ValueError as wrong:
            raise ConfigError(f"{place}.url: {wrong}") from None
        # Sent once: whether it is sent again is decided by who keeps the record of it.
        self.client = redis.Redis.from_url(
            url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S, retry=Retry(NoBackoff(), 0)
        )

    def send(self, call: Call) -> str:
        try:
            entry = self.client.xadd(self.name, {"id": call.idempotency_key, "body": body(call)})
        except (Broken, Late) as error:
            raise Transient(f"{self.place}: {error}") from error
        return f"entry {entry.decode() if isinstance(entry, bytes) else entry} of {self.name}"

    def close(self) -> None:
        self.client.close()


connect = Stream
