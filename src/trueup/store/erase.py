"""Sensitive values of a row, taken out of everything that the ledger keeps; the audit log and its proofs stay."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from trueup.core.row import Key, encode_row
from trueup.core.told import sha256
from trueup.store import schema as t
from trueup.store import schema_audit as logged
from trueup.store.ledger import Ledger
from trueup.store.schema_calls import calls

#: What stands where a value was. Never what a target holds, so nothing is ever taken back to it.
ERASED = "(erased)"
#: Tables with images of rows, and the columns they are in.
_IMAGES = (
    (t.decisions, ("before", "after")),
    (t.outcomes, ("before", "after")),
    (t.drift, ("expected", "observed")),
    (t.quarantine, ("expected", "observed")),
)


def erase(ledger: Ledger, projection: str, keys: list[Key]) -> int:
    """Delete what opens the log's commitments for these rows, and the same values in the ledger's own records.

    How many commitments can no longer be opened.
    """
    spelt = [json.dumps(encode_row(key)) for key in keys]
    with ledger.begin() as c:
        gone = 0
        for key in spelt:
            mine = (logged.audit_salts.c.projection == projection) & (logged.audit_salts.c.key_hash == sha256(key))
            gone += c.execute(logged.audit_salts.delete().where(mine)).rowcount
        hidden = _hidden(c, projection)
        for table, names in _IMAGES:
            _images(c, table, names, spelt, hidden)
        c.execute(
            t.quarantine.update()
            .where(t.quarantine.c.projection == projection, t.quarantine.c.key.in_(spelt))
            .values(evidence=None)
        )
        handed = (calls.c.projection == projection) & calls.c.key.in_(spelt)
        c.execute(calls.update().where(handed).values(pair="", said=""))
        _suspects(c, projection, spelt, hidden)
        facts = {"keys": spelt, "values": str(gone)}
        ledger.audit.stage(c, "audit.erased", facts, projection=projection)
    return gone


def _hidden(c: sa.Connection, projection: str) -> dict[str, list[bool] | None]:
    """Which columns are sensitive, for each run of a projection; None: not known, so all are."""
    statement = sa.select(t.runs.c.id, t.runs.c.hidden).where(t.runs.c.projection == projection)
    return {run: None if flags is None else json.loads(flags) for run, flags in c.execute(statement)}


def _images(
    c: sa.Connection, table: sa.Table, names: tuple[str, ...], keys: list[str], hidden: dict[str, list[bool] | None]
) -> None:
    for row in c.execute(sa.select(table).where(table.c.key.in_(keys))).mappings().all():
        if row["run"] in hidden:
            mine = sa.and_(*(column == row[column.name] for column in table.primary_key))
            values = {name: _without(row[name], hidden[row["run"]]) for name in names}
            c.execute(table.update().where(mine).values(**values))


def _without(image: str | None, hidden: list[bool] | None) -> str | None:
    return image if image is None else json.dumps(_masked(json.loads(image), hidden))


def _masked(image: list[Any], hidden: list[bool] | None) -> list[Any]:
    return [ERASED if hidden is None or hidden[at] else value for at, value in enumerate(image)]


def _suspects(c: sa.Connection, projection: str, keys: list[str], hidden: dict[str, list[bool] | None]) -> None:
    """The rows as they were seen first."""
    wanted = [json.loads(key) for key in keys]
    statement = sa.select(t.segments.c.id, t.segments.c.run, t.segments.c.suspects)
    ours = sa.select(t.runs.c.id).where(t.runs.c.projection == projection)
    statement = statement.where(t.segments.c.suspects.is_not(None), t.segments.c.run.in_(ours))
    for segment, run, text in c.execute(statement).all():
        seen = json.loads(text)
        mine = [suspect for suspect in seen if suspect["key"] in wanted]
        for suspect in mine:
            for name in ("expected", "observed"):
                if suspect[name] is not None:
                    suspect[name] = _masked(suspect[name], hidden[run])
        if mine:
            c.execute(t.segments.update().where(t.segments.c.id == segment).values(suspects=json.dumps(seen)))
