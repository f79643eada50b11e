"""Which processes serve, as they last said so. For people: nothing is decided by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from trueup.store.ledger import Ledger
from trueup.store.records import certainly_utc
from trueup.store.schema_serving import nodes as t

#: A node that was not heard of for so long is forgotten.
FORGOTTEN = timedelta(days=1)
#: One that was not heard of for so long is taken for lost, until it is.
HEARD = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeRow:
    """A process that serves."""

    id: str
    host: str
    pid: int
    code_version: str
    started_at: datetime
    seen_at: datetime


class Nodes:
    """Says that this process serves."""

    def __init__(self, ledger: Ledger, *, host: str, pid: int, version: str) -> None:
        self.ledger = ledger
        self.about: dict[str, Any] = {"host": host, "pid": pid, "code_version": version}

    def seen(self, node: str, now: datetime) -> None:
        """It is here."""
        with self.ledger.begin() as c:
            if c.execute(t.update().where(t.c.id == node).values(seen_at=now)).rowcount == 0:
                c.execute(t.insert().values(id=node, started_at=now, seen_at=now, **self.about))

    def gone(self, node: str) -> None:
        """It ends."""
        with self.ledger.begin() as c:
            c.execute(t.delete().where(t.c.id == node))


def forget_lost(ledger: Ledger, now: datetime, keep: timedelta = timedelta.max) -> None:
    """Forget nodes that were not heard of for FORGOTTEN, or for `keep` if that is shorter."""
    with ledger.begin() as c:
        c.execute(t.delete().where(t.c.seen_at < now - min(FORGOTTEN, keep)))


def listed(ledger: Ledger) -> list[NodeRow]:
    """All that said so within a day, the newest first."""
    with ledger.reading() as c:
        rows = c.execute(sa.select(t).order_by(t.c.started_at.desc())).mappings().all()
    return [node_of(row) for row in rows]


def heard(ledger: Ledger, now: datetime) -> list[NodeRow]:
    """Those that serve, as far as is known; `now`: the control database's clock."""
    return [node for node in listed(ledger) if now - node.seen_at <= HEARD]


def node_of(row: sa.RowMapping) -> NodeRow:
    """A row as a value."""
    values: dict[str, Any] = {**row}
    return NodeRow(**values | {name: certainly_utc(values[name]) for name in ("started_at", "seen_at")})
