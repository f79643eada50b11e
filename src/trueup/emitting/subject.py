"""A message to a subject of NATS JetStream. Its `Nats-Msg-Id` is the correction's key: within the stream's duplicate
window JetStream drops a second one itself.
"""

from __future__ import annotations

from contextlib import suppress

from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import NoStreamResponseError

from trueup.core.handlers import Handler
from trueup.emitting import body
from trueup.errors import DesignProblem, Transient
from trueup.loop import ANSWER_S, Loop
from trueup.python.handlers import Call


class Subject:
    """One subject that a stream keeps."""

    def __init__(self, handler: Handler, place: str, url: str) -> None:
        self.place, self.url, self.name = place, url, handler.to
        self.loop, self.client = Loop(), Client()

    def send(self, call: Call) -> str:
        try:
            return self.loop.run(self._send(call), within_s=2 * ANSWER_S)
        except NoStreamResponseError as error:
            raise DesignProblem(f"{self.place}: no stream keeps {self.name}; a message to it would be lost") from error
        except (Error, OSError, TimeoutError) as error:
            self._drop()
            raise Transient(f"{self.place}: {str(error) or type(error).__name__}") from error

    async def _send(self, call: Call) -> str:
        if not self.client.is_connected:
            await self.client.connect(
                self.url,
                allow_reconnect=False,
                connect_timeout=5,
                max_reconnect_attempts=1,  # or it goes on for two minutes where nobody listens
                reconnect_time_wait=0,
                error_cb=_ignored,
            )
        headers = {"Nats-Msg-Id": call.idempotency_key}
        kept = await self.client.jetstream().publish(self.name, body(call).encode(), headers=headers, timeout=ANSWER_S)
        return f"{'was' if kept.duplicate else 'is'} number {kept.seq} of {kept.stream}"

    def _drop(self) -> None:
        with suppress(Exception):  # it may be in any state, and nothing is lost with it
            self.loop.run(self.client.close())
        self.client = Client()

    def close(self) -> None:
        self._drop()
        self.loop.close()


async def _ignored(_: Exception) -> None:
    """Whoever sends is told by an exception."""


connect = Subject
