"""What front ends show of a system that serves, as plain values: who may ask it, and how it holds back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from trueup.core.forecast import forecast
from trueup.core.pace.effective import open_windows
from trueup.core.pace.settings import Pace
from trueup.core.states import RunState, Stage

if TYPE_CHECKING:
    from trueup.app import Trueup
    from trueup.view import View


def tokens(engine: Trueup) -> list[View]:
    """Who may ask a server for what, newest first; never a secret, nor what it hashes to."""
    now = engine.clock.now()
    return [
        {
            "name": token.name,
            "role": str(token.role),
            "state": token.state(now),
            "created": token.created_at,
            "created_by": token.created_by,
            "expires": token.expires_at,
            "revoked": token.revoked_at,
            "revoked_by": token.revoked_by,
        }
        for token in engine.tokens.all()
    ]


def paces(engine: Trueup, names: Sequence[str] = ()) -> list[View]:
    """How the pacing of databases stands; of those that are paced, if none is named."""
    return [pace(engine, name) for name in names or paced(engine)]


def paced(engine: Trueup) -> list[str]:
    """Databases on which Trueup holds back."""
    return [name for name in engine.databases if engine.pacing.paced(name)]


def pace(engine: Trueup, database: str) -> View:
    """How one stands; only its name while nobody has worked on it."""
    row = engine.pace(database)
    if row is None:
        return {"database": database}
    return {
        "database": database,
        "u": row.u,
        "statement_s": row.statement_s,
        "told": row.told,
        "override": row.override.model_dump(exclude_none=True, exclude_defaults=True),
        "override_unknown": list(row.unknown),
        "override_by": row.override_by,
        "override_why": row.override_why,
        "override_left_s": row.override_left_s,
        "age_s": row.age_s,
        "nodes": row.nodes,
        "windows": windows(engine, database),
        "runs": forecasts(engine, database),
    }


def windows(engine: Trueup, database: str) -> list[View]:
    """Declared hours that hold now, and what they say."""
    pace = engine.databases[database].pace or Pace()
    given = open_windows(pace, engine.clock.now())
    return [
        {**window.model_dump(exclude_none=True, exclude_defaults=True), "timezone": pace.timezone} for window in given
    ]


def forecasts(engine: Trueup, database: str) -> list[View]:
    """Runs that read their segments on a database, and in how many seconds they will have read them: from, to."""
    rows = []
    for name, projection in engine.projections.items():
        run = engine.standing.last_run(name, unfinished=True)
        if database not in (projection.source.database, projection.target.database):
            continue
        if run is None or run.state is not RunState.RUNNING or run.stage is not Stage.NARROW:
            continue
        found = forecast(*engine.standing.read_at(run.id), engine.clock.now())
        rows.append({"projection": name, "run": run.id, **asdict(found)})
    return rows
