"""A table that rows are added to, read in the order of a growing number. How far, is kept in the ledger.

One node reads it at a time. Numbers that are passed over are waited for (`core.gaps`): their transaction may be open.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from trueup.core.events import Payload
from trueup.core.gaps import Reading
from trueup.core.triggers import Outbox
from trueup.errors import Unheard
from trueup.triggers import Delivery, Place
from trueup.urls import with_driver

#: How far back the first look begins: their transactions may have been open when it was taken.
BACK = 1_000


class Table:
    """Rows of one outbox."""

    most = 5_000

    def __init__(self, trigger: Outbox, place: Place) -> None:
        self.trigger, self.place = trigger, place
        self.engine = sa.create_engine(with_driver(place.url), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        self.table = _table(trigger, place)
        self.number = self.table.c[trigger.id]
        #: When the table is to be looked at again.
        self.due = place.clock.monotonic()
        #: Rows were handed out, and it is not known yet whether what came of them is durable.
        self.unsettled = False
        with self._translated():
            self.connection = self.engine.connect()
            self.reading, self.gap = self._begin()
        self.saved: int | None = None

    def _begin(self) -> tuple[Reading, str]:
        saved = self.place.position.load()
        if saved is not None:
            return Reading(top=int(saved)), ""
        newest = self.connection.execute(sa.select(sa.func.max(self.number))).scalar() or 0
        why = f"{self.trigger.table} is read for the first time, and not from its beginning"
        return Reading(top=max(int(newest) - BACK, 0)), why

    def receive(self, most: int, wait_s: float) -> Sequence[Delivery]:
        clock, now = self.place.clock, self.place.clock.monotonic()
        if now < self.due:
            clock.wait(min(wait_s, self.due - now))
            if clock.monotonic() < self.due:
                return []
        with self._translated():
            rows = [*self._rows(self._missing(), most)] if self.reading.gaps else []
            full = len(rows) >= most
            rows += [] if full else self._rows(self.number > self.reading.top, most - len(rows))
        now = clock.monotonic()
        self.reading.came((row[self.trigger.id] for row in rows), now)
        if self.reading.give_up(now, self.trigger.late):
            self.gap = f"too many numbers of {self.trigger.table} were passed over to wait for each"
        self.due = now if len(rows) >= most else now + self.trigger.poll
        self.unsettled = self.unsettled or bool(rows)
        if not self.unsettled:
            self._save()
        return [Delivery(payload=self._payload(row), token=None) for row in rows]

    def settle(self, read: Sequence[Delivery], unreadable: Sequence[Delivery]) -> None:  # noqa: ARG002 - both are over
        self.unsettled = False
        self._save()

    def close(self) -> None:
        with contextlib.suppress(SQLAlchemyError):
            self.connection.close()
        self.engine.dispose()

    def _missing(self) -> sa.ColumnElement[bool]:
        return sa.or_(*(self.number.between(gap.low, gap.high) for gap in self.reading.gaps))

    def _rows(self, which: sa.ColumnElement[bool], most: int) -> list[dict[str, Any]]:
        found = sa.select(self.table).where(which).order_by(self.number).limit(most)
        return [dict(row) for row in self.connection.execute(found).mappings()]

    def _payload(self, row: Mapping[str, Any]) -> Payload:
        if not self.trigger.column:
            return row
        told = row[self.trigger.column]
        return told if isinstance(told, str | bytes) else json.dumps(told, default=str)

    def _save(self) -> None:
        if self.saved != self.reading.settled:
            self.saved = self.reading.settled
            self.place.position.save(str(self.saved))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise Unheard(f"{self.place.where}: {str(cause).strip().splitlines()[0]}") from error


connect = Table


def _table(trigger: Outbox, place: Place) -> Any:
    """The columns that are read, and no others."""
    schema, _, name = trigger.table.rpartition(".")
    told = [trigger.column] if trigger.column else []
    if not told and trigger.keys != "all":
        told = [way[0] for way in trigger.fields(place.key).values()]
    columns: list[Any] = [sa.column(each) for each in dict.fromkeys([trigger.id, *told])]
    return sa.table(name, *columns, schema=schema or None)
