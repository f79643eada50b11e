"""The registry of definitions: what exactly was declared, and by whose code it was carried out, run by run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.core.told import sha256
from trueup.store import schema as t
from trueup.store.ledger import Ledger
from trueup.store.records import certainly_utc


@dataclass(frozen=True, kw_only=True, slots=True)
class Defined:
    """One definition, and the runs that had it."""

    sha256: str
    projection: str
    #: `declared`, `databases`, `code`: plain values.
    content: Mapping[str, Any]
    first_at: datetime
    #: Its runs, oldest first.
    runs: tuple[str, ...] = ()


class Definitions:
    """Reads and writes definitions."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def keep(self, projection: str, content: Mapping[str, Any], at: datetime) -> str:
        """Write a definition down, unless it is there; its SHA-256."""
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        digest = sha256(text)
        row = {"sha256": digest, "projection": projection, "content": text, "first_at": at}
        with self.ledger.reading() as c:
            known = c.execute(sa.select(t.definitions.c.sha256).where(t.definitions.c.sha256 == digest)).first()
        if known is None:
            with self.ledger.begin() as c:
                c.execute(self.ledger.upsert(t.definitions).values(**row).on_conflict_do_nothing())
        return digest

    def of(self, projection: str) -> list[Defined]:
        """All of a projection's, oldest first."""
        rows, of_run = t.definitions.c, t.runs.c
        runs = sa.select(of_run.id, of_run.described).where(
            of_run.projection == projection, of_run.described.is_not(None)
        )
        statement = sa.select(t.definitions).where(rows.projection == projection).order_by(rows.first_at, rows.sha256)
        with self.ledger.reading() as c:
            had: dict[str, list[str]] = {}
            for run in c.execute(runs.order_by(of_run.started_at)):
                had.setdefault(run.described, []).append(run.id)
            return [_defined(row, tuple(had.get(row.sha256, ()))) for row in c.execute(statement)]

    def of_run(self, run: str) -> Defined | None:
        """What a run had; None: from before that was kept."""
        statement = sa.select(t.definitions).join(t.runs, t.runs.c.described == t.definitions.c.sha256)
        with self.ledger.reading() as c:
            row = c.execute(statement.where(t.runs.c.id == run)).one_or_none()
        return None if row is None else _defined(row, (run,))

    def names(self) -> list[str]:
        """What was ever defined, the newest first."""
        rows = t.definitions.c
        newest = sa.select(rows.projection).group_by(rows.projection)
        with self.ledger.reading() as c:
            return list(c.execute(newest.order_by(sa.func.max(rows.first_at).desc(), rows.projection)).scalars())

    def newest(self, projection: str) -> Defined | None:
        """What its last run had."""
        mine = (t.runs.c.projection == projection) & t.runs.c.described.is_not(None)
        last = sa.select(t.runs.c.id).where(mine).order_by(t.runs.c.started_at.desc()).limit(1)
        with self.ledger.reading() as c:
            run = c.execute(last).scalar()
        return None if run is None else self.of_run(run)


def _defined(row: sa.Row[Any], runs: tuple[str, ...]) -> Defined:
    return Defined(
        sha256=row.sha256,
        projection=row.projection,
        content=json.loads(row.content),
        first_at=certainly_utc(row.first_at),
        runs=runs,
    )
