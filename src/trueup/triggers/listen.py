"""`LISTEN` on PostgreSQL, on a connection of its own. It has to be a direct one: a pooler that changes servers between
transactions loses what is listened to.

PostgreSQL tells whoever listens at that moment, and nobody afterwards. So whenever listening begins there is a gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from trueup.core.triggers import Listen
from trueup.errors import Unheard
from trueup.triggers import Delivery, Place
from trueup.urls import kept_alive

#: Silence after which the server is asked whether it is there, seconds.
SILENCE_S = 10.0


class Listening:
    """Notifications of one channel."""

    most = 5_000

    def __init__(self, trigger: Listen, place: Place) -> None:
        self.where, self.silent_s = place.where, 0.0
        url = sa.make_url(place.url).set(drivername="postgresql")
        alive: dict[str, Any] = kept_alive(url.query)
        address = url.render_as_string(hide_password=False)
        with _translated(self.where):
            self.connection = psycopg.connect(address, autocommit=True, application_name="trueup listen", **alive)
            self.connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(trigger.channel)))
        began = f"listening to {trigger.channel} began, and what was told before was not heard"
        self.gap = began if trigger.gap == "all" else ""

    def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        # What has come in one packet is handed out whole: it may be a few more than `most`.
        with _translated(self.where):
            found = [
                Delivery(payload=told.payload, token=None)
                for told in self.connection.notifies(timeout=wait_s, stop_after=min(most, 1))
            ]
            self.silent_s = 0.0 if found else self.silent_s + wait_s
            if self.silent_s >= SILENCE_S:
                self.silent_s = 0.0
                self.connection.execute("SELECT 1")
        return found

    def settle(self, read: Sequence[Delivery], unreadable: Sequence[Delivery]) -> None:
        """Nothing is kept by PostgreSQL."""

    def close(self) -> None:
        with suppress(psycopg.Error):
            self.connection.close()


connect = Listening


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise Unheard(f"{where}: {str(error).strip() or type(error).__name__}") from error
