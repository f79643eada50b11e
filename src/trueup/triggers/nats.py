"""A stream of NATS JetStream, read by a durable consumer: each message goes to one node, and comes again if it is not
acknowledged. The stream is made by whoever runs the broker, the consumer here.

What cannot be read is terminated: it does not come again, and NATS tells of it in an advisory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

from trueup.core.triggers import Nats, consumer
from trueup.errors import Unheard
from trueup.loop import ANSWER_S, Loop
from trueup.triggers import Delivery, Place

#: What is not acknowledged within so long after its window comes again, seconds.
ACK_S = 15.0
#: How long messages that are there already may take, after the first, seconds.
MORE_S = 0.05
#: Most bytes of messages that are held.
BYTES_MAX = 64 * 2**20


class Consumer:
    """Messages of one consumer."""

    most = 2_000

    def __init__(self, trigger: Nats, place: Place) -> None:
        self.trigger, self.place = trigger, place
        self.durable = trigger.durable or consumer(place.projection)
        self.loop, self.client = Loop(), Client()
        #: Handed out, and not settled.
        self.taken: list[Any] = []
        try:
            with self._translated():
                self.gap = self.loop.run(self._open(), within_s=2 * ANSWER_S)
        except Unheard:
            self.close()
            raise

    async def _open(self) -> str:
        await self.client.connect(
            self.place.url,
            name=f"trueup {self.place.node} {self.place.projection}",
            allow_reconnect=False,
            connect_timeout=5,
            max_reconnect_attempts=1,  # or it goes on for two minutes where nobody listens
            reconnect_time_wait=0,
            ping_interval=10,
            error_cb=_ignored,
        )
        stream = self.client.jetstream()
        gap = await self._join(stream)
        self.pull = await stream.pull_subscribe_bind(
            consumer=self.durable, stream=self.trigger.stream, pending_bytes_limit=BYTES_MAX
        )
        return gap

    async def _join(self, stream: Any) -> str:
        """Make the consumer where it is not there; why messages may have gone by unseen."""
        name = self.trigger.stream
        try:
            mine = await stream.consumer_info(name, self.durable)
        except NotFoundError:
            wanted = ConsumerConfig(
                durable_name=self.durable,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_S + self.trigger.window,
                max_ack_pending=4 * self.most,
                filter_subject=self.trigger.subject or None,
            )
            await stream.add_consumer(name, wanted)
            return f"the consumer {self.durable} is new"
        first = (await stream.stream_info(name)).state.first_seq
        dropped = first > mine.delivered.stream_seq + 1
        return f"messages of {name} were dropped before they were read" if dropped else ""

    def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        with self._translated():
            found = self.loop.run(self._take(most, wait_s), within_s=wait_s + ANSWER_S)
        self.taken += found
        return [Delivery(payload=message.data, token=message) for message in found]

    async def _take(self, most: int, wait_s: float) -> list[Any]:
        if self.client.is_closed:
            raise ConnectionError("the connection was closed")
        found: list[Any] = []
        with suppress(TimeoutError):  # a fetch of several waits for all of them, so the first comes alone
            found += await self.pull.fetch(1, timeout=max(wait_s, MORE_S))
            if most > 1:
                found += await self.pull.fetch(most - 1, timeout=MORE_S)
        return found

    def settle(self, read: Sequence[Delivery], unreadable: Sequence[Delivery]) -> None:
        with self._translated():
            self.loop.run(self._settle(read, unreadable))

    async def _settle(self, read: Sequence[Delivery], unreadable: Sequence[Delivery]) -> None:
        for each in read:
            await each.token.ack()
        for each in unreadable:
            await each.token.term()
        await self.client.flush()
        self.taken = []

    def close(self) -> None:
        for last in (self._give_back, self.client.close):
            with suppress(Exception):  # it may be in any state, and nothing is lost with it
                self.loop.run(last())
        self.loop.close()

    async def _give_back(self) -> None:
        """What was handed out and not settled comes again at once, and not only after a while."""
        await self.pull.unsubscribe()  # or it would come to the request that is open still
        for each in self.taken:
            await each.nak()
        await self.client.flush()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (Error, OSError, TimeoutError) as error:
            raise Unheard(f"{self.place.where}: {str(error) or type(error).__name__}") from error


connect = Consumer


async def _ignored(_error: Exception) -> None:
    """What goes wrong is raised where it is asked for; the driver would print it too."""
