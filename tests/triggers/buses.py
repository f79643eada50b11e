"""Each kind of trigger on a real server, behind a proxy that can cut it: something to publish with, and to look at."""

from __future__ import annotations

import asyncio
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import psycopg
import redis
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from tests.faults.proxy import Proxy
from trueup.core.triggers import Listen, Nats, Outbox, RabbitMQ, RedisStream, Trigger, consumer
from trueup.loop import Loop

#: What no trigger can find a key in.
POISON = b"{never"


class Bus(ABC):
    """Something that events come from."""

    kind: str
    #: Where the trigger's declaration says that it is, and the name there.
    section = "brokers"

    def __init__(self, url: str, name: str = "") -> None:
        """`name`: of what may be there already."""
        parts = urlsplit(url)
        self.url = url
        self.proxy = Proxy({"host": parts.hostname, "port": parts.port})
        self.name = name or f"trueup-test-{secrets.token_hex(4)}"
        host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        #: The same, by way of the proxy.
        self.through = url.replace(host, f"127.0.0.1:{self.proxy.port}", 1)

    @abstractmethod
    def trigger(self, **changes: Any) -> Trigger: ...

    @abstractmethod
    def publish(self, *events: dict[str, Any] | bytes) -> None:
        """In this order."""

    @abstractmethod
    def left(self) -> int:
        """Events that are not settled."""

    def leave(self) -> None:  # noqa: B027 - the default
        """Hang up, and leave what was made."""

    def close(self) -> None:
        """Take what was made away, and hang up."""
        self.leave()
        self.proxy.close()


class ListenBus(Bus):
    kind, section = "listen", "databases"

    def trigger(self, **changes: Any) -> Trigger:
        return Listen.model_validate(
            {"kind": "listen", "database": "app", "channel": self.name, "window": 0.05, **changes}
        )

    def publish(self, *events: dict[str, Any] | bytes) -> None:
        with psycopg.connect(self.url, autocommit=True) as c, c.cursor() as cursor:
            told = [(self.name, text(event)) for event in events]
            if len(set(told)) == len(told):
                cursor.executemany("SELECT pg_notify(%s, %s)", told)
                return
            for each in told:  # within one transaction the same text twice is told once
                cursor.execute("SELECT pg_notify(%s, %s)", each)

    def left(self) -> int:
        return 0


class OutboxBus(Bus):
    kind, section = "outbox", "databases"

    def __init__(self, url: str, name: str = "") -> None:
        super().__init__(url, name)
        self.table = self.name.replace("-", "_")
        with psycopg.connect(url, autocommit=True) as c:
            c.execute(
                f"CREATE TABLE IF NOT EXISTS {self.table} (id bigserial PRIMARY KEY, event text NOT NULL)".encode()
            )

    def trigger(self, **changes: Any) -> Trigger:
        given = {"database": "app", "table": self.table, "column": "event", "poll": 0.05, "window": 0.05, **changes}
        return Outbox.model_validate({"kind": "outbox", **given})

    def publish(self, *events: dict[str, Any] | bytes) -> None:
        with psycopg.connect(self.url, autocommit=True) as c, c.cursor() as cursor:
            insert = f"INSERT INTO {self.table} (event) VALUES (%s)".encode()
            cursor.executemany(insert, [(text(event),) for event in events])

    def left(self) -> int:
        return 0


class RedisBus(Bus):
    kind = "redis_stream"

    def __init__(self, url: str, name: str = "") -> None:
        super().__init__(url, name)
        self.client = redis.Redis.from_url(url)

    def trigger(self, **changes: Any) -> Trigger:
        given = {"broker": "bus", "stream": self.name, "field": "event", "window": 0.05, **changes}
        return RedisStream.model_validate({"kind": "redis_stream", **given})

    def publish(self, *events: dict[str, Any] | bytes) -> None:
        with self.client.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.xadd(self.name, {"event": text(event)})
            pipe.execute()

    def left(self) -> int:
        pending: Any = self.client.xpending(self.name, consumer("p"))
        groups: Any = self.client.xinfo_groups(self.name)
        return int(pending["pending"]) + int(groups[0]["lag"] or 0)

    def close(self) -> None:
        self.client.delete(self.name)
        self.client.close()
        super().close()


class RabbitBus(Bus):
    kind = "rabbitmq"

    def __init__(self, url: str, name: str = "") -> None:
        super().__init__(url, name)
        self.loop = Loop()
        self.loop.run(self._open())

    async def _open(self) -> None:
        self.connection = await aio_pika.connect(self.url)
        self.channel = await self.connection.channel(publisher_confirms=True)
        self.dead = await self.channel.declare_queue(f"{self.name}-dead", durable=True)
        to_dead: Any = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead.name}
        await self.channel.declare_queue(self.name, durable=True, arguments=to_dead)

    def trigger(self, **changes: Any) -> Trigger:
        return RabbitMQ.model_validate(
            {"kind": "rabbitmq", "broker": "bus", "queue": self.name, "window": 0.05, **changes}
        )

    def publish(self, *events: dict[str, Any] | bytes) -> None:
        self.loop.run(self._publish(events), within_s=60)

    async def _publish(self, events: Any) -> None:
        """The broker confirms each, once it is on disk; a thousand are on their way at a time."""
        exchange = self.channel.default_exchange
        for at in range(0, len(events), 1000):
            messages = (
                aio_pika.Message(text(event).encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                for event in events[at : at + 1000]
            )
            await asyncio.gather(*(exchange.publish(message, self.name) for message in messages))

    def left(self) -> int:
        """Those that wait; none that is taken and not acknowledged is counted, so look when nobody listens."""
        return self.loop.run(self._count(self.name))

    def died(self) -> int:
        return self.loop.run(self._count(self.dead.name))

    async def _count(self, name: str) -> int:
        queue = await self.channel.declare_queue(name, passive=True)
        return int(queue.declaration_result.message_count or 0)

    def leave(self) -> None:
        with suppress(Exception):  # the broker may be gone
            self.loop.run(self.connection.close())
        self.loop.close()

    def close(self) -> None:
        for name in (self.name, self.dead.name):
            self.loop.run(self.channel.queue_delete(name))
        super().close()


class NatsBus(Bus):
    kind = "nats"

    def __init__(self, url: str, name: str = "") -> None:
        super().__init__(url, name)
        self.loop, self.client = Loop(), Client()
        self.loop.run(self._open())

    async def _open(self) -> None:
        await self.client.connect(self.url)
        self.stream = self.client.jetstream()
        await self.stream.add_stream(name=self.name, subjects=[f"{self.name}.>"])

    def trigger(self, **changes: Any) -> Trigger:
        return Nats.model_validate({"kind": "nats", "broker": "bus", "stream": self.name, "window": 0.05, **changes})

    def publish(self, *events: dict[str, Any] | bytes) -> None:
        self.loop.run(self._publish(events), within_s=60)

    async def _publish(self, events: Any) -> None:
        for at in range(0, len(events), 500):  # so many are on their way at a time
            told = (
                self.stream.publish(f"{self.name}.changed", text(event).encode()) for event in events[at : at + 500]
            )
            await asyncio.gather(*told)

    def left(self) -> int:
        async def count() -> int:
            info = await self.stream.consumer_info(self.name, consumer("p"))
            return int(info.num_ack_pending or 0) + int(info.num_pending or 0)

        return self.loop.run(count())

    def close(self) -> None:
        with suppress(NotFoundError):
            self.loop.run(self.stream.delete_stream(self.name))
        super().close()

    def leave(self) -> None:
        with suppress(Exception):  # the broker may be gone
            self.loop.run(self.client.close())
        self.loop.close()


def text(event: dict[str, Any] | bytes) -> str:
    return event.decode() if isinstance(event, bytes) else json.dumps(event)


#: Kind -> the bus, and the fixture that gives its server.
BUSES: dict[str, tuple[type[Bus], str]] = {
    "listen": (ListenBus, "postgres"),
    "outbox": (OutboxBus, "postgres"),
    "redis_stream": (RedisBus, "redis"),
    "rabbitmq": (RabbitBus, "rabbitmq"),
    "nats": (NatsBus, "nats"),
}


@contextmanager
def opened_bus(kind: str, url: str) -> Iterator[Bus]:
    bus = BUSES[kind][0](url)
    try:
        yield bus
    finally:
        bus.close()
