"""A queue of RabbitMQ. It is declared and bound by whoever runs the broker: here it is only read.

What cannot be read is rejected, so that the queue's dead letter exchange gets it, where it has one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import aio_pika
from aio_pika.exceptions import AMQPError

from trueup.core.triggers import RabbitMQ
from trueup.errors import Unheard
from trueup.loop import ANSWER_S, Loop
from trueup.triggers import Delivery, Place

#: Silence after which the broker is asked whether the queue is still there, seconds.
SILENCE_S = 10.0


class Queue:
    """Messages of one queue. The broker sends at most `most` that are not acknowledged."""

    most = 2_000

    def __init__(self, trigger: RabbitMQ, place: Place) -> None:
        self.trigger, self.where, self.gap = trigger, place.where, ""
        self.loop, self.silent_s = Loop(), 0.0
        self.connection: Any = None
        try:
            with self._translated():
                self.loop.run(self._open(place), within_s=2 * ANSWER_S)
        except Unheard:
            self.close()
            raise

    async def _open(self, place: Place) -> None:
        self.arrived: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
        about: Any = {"connection_name": f"trueup {place.node} {place.projection}"}
        self.connection = await aio_pika.connect(place.url, timeout=ANSWER_S, client_properties=about)
        self.channel = await self.connection.channel(publisher_confirms=False)
        await self.channel.set_qos(prefetch_count=self.most)
        self.queue = await self.channel.get_queue(self.trigger.queue, ensure=True)
        await self.queue.consume(self.arrived.put)

    def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        with self._translated():
            found = self.loop.run(self._take(most, wait_s), within_s=wait_s + ANSWER_S)
            self.silent_s = 0.0 if found else self.silent_s + wait_s
            if self.silent_s >= SILENCE_S:
                self.silent_s = 0.0
                self.loop.run(self.channel.get_queue(self.trigger.queue, ensure=True))
        return [Delivery(payload=message.body, token=message) for message in found]

    async def _take(self, most: int, wait_s: float) -> list[aio_pika.abc.AbstractIncomingMessage]:
        if self.arrived.empty():
            if self.connection.is_closed or self.channel.is_closed:
                raise ConnectionError("the connection was closed")
            with contextlib.suppress(TimeoutError):
                return [await asyncio.wait_for(self.arrived.get(), wait_s)]
            return []
        return [self.arrived.get_nowait() for _ in range(min(most, self.arrived.qsize()))]

    def settle(self, read: Sequence[Delivery], unreadable: Sequence[Delivery]) -> None:
        with self._translated():
            self.loop.run(self._settle(read, unreadable))

    async def _settle(self, read: Sequence[Delivery], unreadable: Sequence[Delivery]) -> None:
        for each in unreadable:
            await each.token.reject(requeue=False)
        if read:  # and with it all before it that are not rejected
            await read[-1].token.ack(multiple=True)

    def close(self) -> None:
        if self.connection is not None:
            with suppress(Exception):  # it may be in any state, and nothing is lost with it
                self.loop.run(self.connection.close())
        self.loop.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (AMQPError, OSError, TimeoutError, RuntimeError) as error:
            raise Unheard(f"{self.where}: {str(error) or type(error).__name__}") from error


connect = Queue
