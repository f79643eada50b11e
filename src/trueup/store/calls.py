"""Corrections that were handed over: which are not settled yet, under which idempotency key, and what was answered.

A key belongs to one correction until the row was seen right. So a try after a crash is the same for whoever gets it,
and the next time that the row is wrong is another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.core.compare import Suspect
from trueup.core.row import Key, decode_row, encode_row, encode_rows
from trueup.store import schema as t
from trueup.store.ledger import Ledger
from trueup.store.records import certainly_utc, utc
from trueup.store.schema_calls import calls


@dataclass(frozen=True, kw_only=True, slots=True)
class CallRow:
    """One correction that was handed over."""

    #: Its idempotency key.
    id: str
    projection: str
    key: Key
    kind: str
    #: See `pair_of`.
    pair: str
    handler: str
    run: str
    unit: str
    attempts: int
    begun_at: datetime
    #: None: the last try was not answered, or its answer is lost.
    answered_at: datetime | None = None
    said: str = ""


def pair_of(suspect: Suspect) -> str:
    """What was expected and observed, as its SHA-256."""
    told = [None if values is None else encode_row(values) for values in suspect.pair]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


class Calls:
    """Reads and writes them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def open(self, projection: str) -> dict[Key, CallRow]:
        """Those that are not settled, by row."""
        mine = (calls.c.projection == projection) & (calls.c.settled == "")
        with self.ledger.reading() as c:
            found = [_call(row) for row in c.execute(sa.select(calls).where(mine).order_by(calls.c.begun_at))]
        return {row.key: row for row in found}

    def of_unit(self, unit: str) -> CallRow | None:
        with self.ledger.reading() as c:
            row = c.execute(sa.select(calls).where(calls.c.unit == unit)).one_or_none()
        return None if row is None else _call(row)

    def begin(self, call: CallRow, segment: int) -> None:
        """A try, before it is made: with it the ledger knows that there may be an effect."""
        key = json.dumps(encode_row(call.key))
        values = {
            "projection": call.projection,
            "key": key,
            "kind": call.kind,
            "pair": call.pair,
            "handler": call.handler,
            "run": call.run,
            "unit": call.unit,
            "attempts": call.attempts,
            "begun_at": call.begun_at,
            "answered_at": None,
            "said": "",
        }
        unit = {"id": call.unit, "run": call.run, "segment": segment, "opened_at": call.begun_at, "lot": None}
        facts = {"idempotency_key": call.id, "handler": call.handler, "attempt": str(call.attempts), "key": key}
        with self.ledger.begin() as c:
            self.ledger.audit.stage(c, "handler.called", facts, run=call.run)
            if c.execute(calls.update().where(calls.c.id == call.id).values(**values)).rowcount == 0:
                c.execute(calls.insert().values(id=call.id, settled="", **values))
            c.execute(t.units.insert().values(**unit, keys=json.dumps(encode_rows([call.key]))))

    def answered(self, call: CallRow, said: str, at: datetime) -> None:
        """The last try came to its end."""
        with self.ledger.begin() as c:
            c.execute(calls.update().where(calls.c.id == call.id).values(answered_at=at, said=said))

    def settle(self, ids: Collection[str], why: str, at: datetime) -> None:
        """`shown`: the row was seen right. `replaced`: there is another difference now. `given_up`: no try helped."""
        mine = calls.c.id.in_(list(ids)) & (calls.c.settled == "")
        with self.ledger.begin() as c:
            c.execute(calls.update().where(mine).values(settled=why, settled_at=at))


def _call(row: sa.Row[Any]) -> CallRow:
    return CallRow(
        id=row.id,
        projection=row.projection,
        key=decode_row(json.loads(row.key)) or (),
        kind=row.kind,
        pair=row.pair,
        handler=row.handler,
        run=row.run,
        unit=row.unit,
        attempts=row.attempts,
        begun_at=certainly_utc(row.begun_at),
        answered_at=utc(row.answered_at),
        said=row.said,
    )
