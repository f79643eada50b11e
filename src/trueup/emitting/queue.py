"""A persistent message to a queue of RabbitMQ, confirmed by it; its `message_id` is the correction's key."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import aio_pika
from aio_pika.exceptions import AMQPConnectionError, DeliveryError

from trueup.core.handlers import Handler
from trueup.emitting import body
from trueup.errors import DesignProblem, Transient
from trueup.loop import ANSWER_S, Loop
from trueup.python.handlers import Call


class Queue:
    """One queue, by the default exchange."""

    def __init__(self, handler: Handler, place: str, url: str) -> None:
        self.place, self.url, self.name = place, url, handler.to
        self.loop = Loop()
        self.connection: Any = None

    def send(self, call: Call) -> str:
        try:
            self.loop.run(self._send(call), within_s=2 * ANSWER_S)
        except DeliveryError as error:
            raise DesignProblem(f"{self.place}: {self.name} did not take the message: {error}") from error
        except (AMQPConnectionError, OSError, TimeoutError) as error:
            self._drop()
            raise Transient(f"{self.place}: {str(error) or type(error).__name__}") from error
        return f"confirmed by {self.name}"

    async def _send(self, call: Call) -> None:
        if self.connection is None or self.connection.is_closed:
            self.connection = await aio_pika.connect(self.url, timeout=ANSWER_S)
            self.channel = await self.connection.channel(publisher_confirms=True, on_return_raises=True)
        message = aio_pika.Message(
            body(call).encode(),
            message_id=call.idempotency_key,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        await self.channel.default_exchange.publish(message, routing_key=self.name, mandatory=True, timeout=ANSWER_S)

    def _drop(self) -> None:
        if self.connection is not None:
            with suppress(Exception):  # it may be in any state, and nothing is lost with it
                self.loop.run(self.connection.close())
        self.connection = None

    def close(self) -> None:
        self._drop()
        self.loop.close()


connect = Queue
