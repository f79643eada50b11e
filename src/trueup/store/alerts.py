"""Alerts in the ledger: where each rule stands, and messages that are to be sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from trueup.core.alerts import Alert, Message
from trueup.store.ledger import Ledger
from trueup.store.records import certainly_utc, utc
from trueup.store.schema_alerts import alert_messages as m
from trueup.store.schema_alerts import alerts as t

#: Between two tries, doubled each time up to AGAIN_MAX; after GIVEN_UP a message is too old to be of use.
AGAIN, AGAIN_MAX, GIVEN_UP = timedelta(seconds=30), timedelta(hours=1), timedelta(hours=24)
#: Messages that are done with are kept this long.
KEPT = timedelta(days=7)
#: Most that are sent at one look.
AT_ONCE = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A message on its way to one destination."""

    message: Message
    destination: str
    made_at: datetime
    attempts: int
    state: str
    error: str


class AlertLedger:
    """Reads and writes them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def all(self) -> list[Alert]:
        with self.ledger.reading() as c:
            rows = c.execute(sa.select(t).order_by(t.c.subject, t.c.rule)).all()
        found = []
        for row in rows:
            values = dict(row._mapping) | {"memory": json.loads(row.memory)}
            values |= {name: utc(values[name]) for name in ("since", "told_at", "over_since", "resolved_at")}
            found.append(Alert(**values))
        return found

    def note(self, changed: Sequence[Alert], told: Sequence[Message], to: Iterable[str], now: datetime) -> None:
        """Where the alerts stand now, and what is to be sent about it, in one transaction."""
        destinations = list(to)
        with self.ledger.begin() as c:
            for alert in changed:
                values = asdict(alert) | {"memory": json.dumps(alert.memory)}
                new = self.ledger.upsert(t).values(**values)
                c.execute(new.on_conflict_do_update(index_elements=["rule", "subject"], set_=values))
            for message in told:
                waits = {"made_at": now, "not_before": now, "attempts": 0, "state": "waiting", "error": ""}
                for destination in destinations:
                    row = {**asdict(message), "destination": destination, **waits}
                    c.execute(self.ledger.upsert(m).values(**row).on_conflict_do_nothing())

    def prune(self, now: datetime, keep: timedelta = timedelta.max) -> None:
        """Forget messages that were done with longer ago than KEPT, or than `keep` if that is shorter."""
        with self.ledger.begin() as c:
            c.execute(m.delete().where(m.c.state != "waiting", m.c.made_at < now - min(KEPT, keep)))

    def due(self, now: datetime) -> list[Outgoing]:
        """What is to be sent now, oldest first."""
        return self._listed((m.c.state == "waiting") & (m.c.not_before <= now))

    def undelivered(self) -> list[Outgoing]:
        """What was tried and not accepted."""
        return self._listed((m.c.state == "given up") | ((m.c.state == "waiting") & (m.c.attempts > 0)))

    def sent(self, one: Outgoing) -> None:
        self._set(one, state="sent", error="", attempts=one.attempts + 1)

    def failed(self, one: Outgoing, error: str, now: datetime) -> None:
        """It is tried again later, or given up."""
        state = "given up" if now - one.made_at >= GIVEN_UP else "waiting"
        later = now + min(AGAIN * 2 ** min(one.attempts, 10), AGAIN_MAX)
        self._set(one, state=state, error=error, attempts=one.attempts + 1, not_before=later)

    def _set(self, one: Outgoing, **values: object) -> None:
        mine = (m.c.id == one.message.id) & (m.c.destination == one.destination)
        with self.ledger.begin() as c:
            c.execute(m.update().where(mine).values(**values))

    def _listed(self, which: sa.ColumnElement[bool]) -> list[Outgoing]:
        statement = sa.select(m).where(which).order_by(m.c.made_at, m.c.subject, m.c.destination).limit(AT_ONCE)
        with self.ledger.reading() as c:
            return [
                Outgoing(
                    message=Message(id=row.id, subject=row.subject, title=row.title, body=row.body),
                    destination=row.destination,
                    made_at=certainly_utc(row.made_at),
                    attempts=row.attempts,
                    state=row.state,
                    error=row.error,
                )
                for row in c.execute(statement)
            ]
