"""What front ends show of backfills, as plain values. No file is read for it: the ledger knows what they are."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from trueup.errors import NotThere

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueup.app import Trueup
    from trueup.view import View


def backfills(engine: Trueup, limit: int = 0) -> list[View]:
    """Backfills that were looked at at least once, the newest definition first; `limit`: at most so many, 0: all."""
    return list(islice(_each(engine), limit or None))


def backfill(engine: Trueup, name: str) -> View:
    """One of them. Raises NotThere."""
    found = _view(engine, name)
    if found is None:
        raise NotThere(f"the ledger knows of no backfill {name!r}; `trueup backfill FILE` on a node makes it known")
    return found


def _each(engine: Trueup) -> Iterator[View]:
    for name in engine.definitions_kept.names():
        if name not in engine.projections and (found := _view(engine, name)) is not None:
            yield found


def _view(engine: Trueup, name: str) -> View | None:
    known, declared = engine.definitions_kept.newest(name), engine.remembered(name)
    if known is None or declared is None:
        return None
    last, control = engine.standing.last_run(name), engine.standing.control(name)
    return {
        "backfill": name,
        "description": declared.description,
        "owner": declared.owner,
        "database": declared.target.database,
        "table": declared.target.table,
        "writes": list(declared.writes),
        "select": declared.select,
        "version": declared.revision,
        "file": known.content["code"].get("file", ""),
        "code": declared.code,
        "definition": known.sha256,
        "since": known.first_at,
        "state": control.state if control.state != "running" else str(last.state) if last else "new",
        "verdict": str(last.verdict or "") if last else "",
        "last_run": last.id if last else "",
    }
