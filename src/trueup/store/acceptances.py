"""Differences that somebody accepted: a row, and the pair of values that it may have, for a while.

`accept` and `withdraw` are where that comes to be and ends before its time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.core.compare import Suspect
from trueup.core.row import Key, Values, decode_row, encode_row
from trueup.store import schema_acceptances as t
from trueup.store.ledger import Ledger
from trueup.store.records import certainly_utc, json_or_none, row_or_none, utc
from trueup.who import Actor


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """One accepted difference."""

    id: str
    projection: str
    key: Key
    #: Compared columns, in the order of the values.
    columns: tuple[str, ...]
    expected: Values | None
    observed: Values | None
    reason: str
    #: Who answers for it.
    owner: str
    actor: Actor
    at: datetime
    #: From when on it is drift again.
    until: datetime
    withdrawn_at: datetime | None = None
    withdrawn_by: str = ""

    def holds(self, drift: Suspect) -> bool:
        """Is this the difference that was accepted, and no other?"""
        return (self.expected, self.observed) == drift.pair


class Acceptances:
    """Reads and writes them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def accept(self, rows: Iterable[Accepted]) -> None:
        with self.ledger.begin() as c:
            for row in rows:
                facts = {"acceptance": row.id, "reason": row.reason, "owner": row.owner, "until": row.until.isoformat()}
                facts["key"] = json.dumps(encode_row(row.key))
                act = "difference.accepted"
                self.ledger.audit.stage(c, act, facts, projection=row.projection, actor=row.actor)
                c.execute(
                    t.accepted.insert().values(
                        id=row.id,
                        projection=row.projection,
                        key=json.dumps(encode_row(row.key)),
                        columns=json.dumps(row.columns),
                        expected=json_or_none(row.expected),
                        observed=json_or_none(row.observed),
                        reason=row.reason,
                        owner=row.owner,
                        actor=row.actor.name,
                        actor_by=row.actor.by,
                        host=row.actor.host,
                        at=row.at,
                        until=row.until,
                        withdrawn_by="",
                    )
                )

    def withdraw(self, rows: Sequence[Accepted], actor: Actor, reason: str, at: datetime) -> None:
        with self.ledger.begin() as c:
            for row in rows:
                facts = {"acceptance": row.id, "reason": reason}
                act = "difference.withdrawn"
                self.ledger.audit.stage(c, act, facts, projection=row.projection, actor=actor)
                mine = t.accepted.c.id == row.id
                c.execute(t.accepted.update().where(mine).values(withdrawn_at=at, withdrawn_by=actor.name))

    def all(self, projection: str | None = None) -> list[Accepted]:
        """Newest first, those that are over too."""
        statement = sa.select(t.accepted).order_by(t.accepted.c.at.desc(), t.accepted.c.id)
        if projection is not None:
            statement = statement.where(t.accepted.c.projection == projection)
        with self.ledger.reading() as c:
            return [_accepted(row) for row in c.execute(statement)]

    def active(self, projection: str, now: datetime, columns: tuple[str, ...] | None = None) -> dict[Key, Accepted]:
        """Those that count now, by key; `columns`: only those made of the same compared columns."""
        mine = t.accepted.c.projection == projection
        counts = mine & t.accepted.c.withdrawn_at.is_(None) & (t.accepted.c.until > now)
        with self.ledger.reading() as c:
            found = [_accepted(row) for row in c.execute(sa.select(t.accepted).where(counts).order_by(t.accepted.c.at))]
        return {row.key: row for row in found if columns is None or row.columns == columns}

    def keys_since(self, projection: str, since: datetime) -> list[Key]:
        """Rows that were accepted at some moment since then: what is true of them now has to be looked at."""
        over = t.accepted.c.withdrawn_at.is_(None) | (t.accepted.c.withdrawn_at > since)
        mine = (t.accepted.c.projection == projection) & (t.accepted.c.until > since) & over
        with self.ledger.reading() as c:
            keys = c.execute(sa.select(t.accepted.c.key).where(mine)).scalars()
            return [decode_row(json.loads(key)) or () for key in keys]


def _accepted(row: sa.Row[Any]) -> Accepted:
    return Accepted(
        id=row.id,
        projection=row.projection,
        key=row_or_none(row.key) or (),
        columns=tuple(json.loads(row.columns)),
        expected=row_or_none(row.expected),
        observed=row_or_none(row.observed),
        reason=row.reason,
        owner=row.owner,
        actor=Actor(name=row.actor, by=row.actor_by, host=row.host),
        at=certainly_utc(row.at),
        until=certainly_utc(row.until),
        withdrawn_at=utc(row.withdrawn_at),
        withdrawn_by=row.withdrawn_by,
    )
