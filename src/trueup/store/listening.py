"""How triggers stand on each node, for people; and how far those have come that keep nothing by themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from trueup.store.ledger import Ledger
from trueup.store.records import certainly_utc
from trueup.store.schema_serving import listeners as t
from trueup.store.schema_serving import trigger_positions as positions

#: What was not heard of for so long is forgotten.
FORGOTTEN = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """How one trigger stands on one node."""

    node: str
    projection: str
    #: Its kind and its place.
    trigger: str
    #: `listening`, `down`, or `elsewhere`: another node reads it, and it is read by one at a time.
    state: str
    since: datetime | None = None
    seen_at: datetime | None = None
    #: Since the node began: events that came, those that could not be read, and how often listening broke off.
    events: int = 0
    unreadable: int = 0
    failures: int = 0
    #: Why listening broke off last.
    error: str = ""


class Stands:
    """Reads and writes how triggers stand."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def put(self, stand: Stand) -> None:
        """It stands so now."""
        values = asdict(stand)
        insert = self.ledger.upsert(t).values(**values)
        with self.ledger.begin() as c:
            c.execute(insert.on_conflict_do_update(index_elements=[t.c.node, t.c.projection, t.c.trigger], set_=values))

    def gone(self, node: str) -> None:
        """The node ends."""
        with self.ledger.begin() as c:
            c.execute(t.delete().where(t.c.node == node))

    def forget(self, now: datetime, keep: timedelta = timedelta.max) -> None:
        """Forget what was not heard of for FORGOTTEN, or for `keep` if that is shorter."""
        with self.ledger.begin() as c:
            c.execute(t.delete().where(t.c.seen_at < now - min(FORGOTTEN, keep)))

    def all(self) -> list[Stand]:
        with self.ledger.reading() as c:
            rows = c.execute(sa.select(t).order_by(t.c.projection, t.c.trigger, t.c.node)).mappings().all()
        return [_stand(row) for row in rows]


def _stand(row: sa.RowMapping) -> Stand:
    values: dict[str, Any] = {**row}
    return Stand(**values | {name: certainly_utc(values[name]) for name in ("since", "seen_at")})


class KeptPosition:
    """How far one trigger has come, whichever node reads it."""

    def __init__(self, ledger: Ledger, projection: str, trigger: str) -> None:
        self.ledger = ledger
        self.names = {"projection": projection, "trigger": trigger}

    def load(self) -> str | None:
        """What was saved last; None: nothing yet."""
        mine = (positions.c[name] == value for name, value in self.names.items())
        with self.ledger.reading() as c:
            return c.execute(sa.select(positions.c.position).where(*mine)).scalar()

    def save(self, position: str) -> None:
        """Everything up to here is settled."""
        insert = self.ledger.upsert(positions).values(**self.names, position=position)
        keys = [positions.c.projection, positions.c.trigger]
        with self.ledger.begin() as c:
            c.execute(insert.on_conflict_do_update(index_elements=keys, set_={"position": position}))
