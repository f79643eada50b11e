"""What a viewer may ask for: what stands, what happened, what would happen. Nothing here changes anything."""

from __future__ import annotations

from typing import Any

from trueup import views, views_alerts, views_audit, views_backfills, views_causes, views_serving
from trueup.api import shapes, shapes_serving
from trueup.api.asked import Above, Database, Id, Limit, Name, Only, RunIds, Seq
from trueup.api.auth import Viewer
from trueup.api.routes import routes
from trueup.errors import NotThere

router = routes("reading")

#: Lines of the audit log among which those of one projection are looked for, the newest.
AMONG = 100_000


@router.get("/v1/me")
def me(by: Viewer) -> shapes_serving.Me:
    """Who you are to this server."""
    return shapes_serving.Me(name=by.actor.name, role=by.role)


# --- projections -----------------------------------------------------------------------------------------------------


@router.get("/v1/projections", response_model=list[shapes.Status])
def projections(by: Viewer) -> Any:
    """Where each projection stands."""
    with by.engine() as engine:
        return views.status(engine)


@router.get("/v1/projections/{name}", response_model=shapes.Status)
def projection(by: Viewer, name: Name) -> Any:
    """Where one projection stands."""
    with by.engine() as engine:
        return views.status(engine, [name])[0]


@router.get("/v1/projections/{name}/drift", response_model=shapes.Drifting)
def drift(by: Viewer, name: Name, limit: Limit = 100) -> Any:
    """Rows that are known to be wrong, longest standing first, and what they have in common."""
    with by.engine() as engine:
        return {"drift": views.drift(engine, name, limit), "causes": views_causes.causes(engine, name)}


@router.get("/v1/projections/{name}/explain", response_model=shapes.Explanation)
def explain(by: Viewer, name: Name) -> Any:
    """What a run would do, and why, before anything runs. Asks both databases for their access paths."""
    with by.engine() as engine:
        return views.explanation(engine.explain(name))


@router.get("/v1/projections/{name}/quarantine", response_model=list[shapes.Quarantined])
def quarantine(by: Viewer, name: Name, limit: Limit = 100) -> Any:
    """Rows that are left out of repairs, longest standing first."""
    with by.engine() as engine:
        return views.quarantine(engine, name, limit)


@router.get("/v1/quarantine", response_model=list[shapes.KeptOut])
def quarantined(by: Viewer, projection: Only = None, limit: Limit = 100) -> Any:
    """Rows that are left out of repairs, of all projections one after the other."""
    with by.engine() as engine:
        return views.quarantined(engine, projection, limit)


@router.get("/v1/projections/{name}/definitions", response_model=list[shapes.Definition])
def definitions(by: Viewer, name: Name, run: RunIds = [], limit: Limit = 20) -> Any:  # noqa: B006 - FastAPI copies it
    """What a projection or backfill was declared as, the newest `limit` of it, oldest first, and what changed."""
    with by.engine() as engine:
        return views.definitions(engine, name, run, limit)


@router.get("/v1/accepted", response_model=list[shapes.Accepted])
def accepted(by: Viewer, projection: Only = None, limit: Limit = 100) -> Any:
    """Accepted differences, newest first, those that are over too."""
    with by.engine() as engine:
        return views.accepted(engine, projection, limit)


# --- backfills -------------------------------------------------------------------------------------------------------


@router.get("/v1/backfills", response_model=list[shapes.Backfill])
def backfills(by: Viewer, limit: Limit = 20) -> Any:
    """Backfills that a command looked at on some node, the newest definition first. Their files are on the nodes."""
    with by.engine() as engine:
        return views_backfills.backfills(engine, limit)


@router.get("/v1/backfills/{backfill}", response_model=shapes.Backfill)
def backfill(by: Viewer, backfill: Name) -> Any:
    """One backfill. What can be asked of a projection can be asked of it, by its name."""
    with by.engine() as engine:
        return views_backfills.backfill(engine, backfill)


# --- runs, plans, requests -------------------------------------------------------------------------------------------


@router.get("/v1/runs", response_model=list[shapes.Run])
def runs(by: Viewer, projection: Only = None, limit: Limit = 20) -> Any:
    """What happened, newest first."""
    with by.engine() as engine:
        return views.runs(engine, projection, limit)


@router.get("/v1/runs/{run}", response_model=shapes.Shown, response_model_exclude_unset=True)
def run(by: Viewer, run: Id, limit: Limit = 100) -> Any:
    """One run: each row before and after, the statement, and what became of it."""
    with by.engine() as engine:
        return views.show(engine, engine.find_run(run).id, limit)


@router.get("/v1/plans", response_model=list[shapes.Plan])
def plans(by: Viewer, projection: Only = None, limit: Limit = 20) -> Any:
    """Plans, newest first, and how each stands."""
    with by.engine() as engine:
        return views.plans(engine, projection, limit)


@router.get("/v1/plans/{plan}", response_model=shapes.ShownPlan, response_model_exclude_unset=True)
def plan(by: Viewer, plan: Id, limit: Limit = 100) -> Any:
    """One plan: each row before and after, and who said what about it."""
    with by.engine() as engine:
        return views.show(engine, engine.find_plan(plan).id, limit)


@router.get("/v1/requests", response_model=list[shapes.Request])
def requests(by: Viewer, projection: Only = None, limit: Limit = 20) -> Any:
    """What waits and goes on, the oldest first; then what ended, the newest first."""
    with by.engine() as engine:
        return views.queue(engine, projection, limit)


@router.get("/v1/requests/{request}", response_model=shapes.Request)
def request(by: Viewer, request: Id) -> Any:
    """How one request stands. `run`, once there is one, is what `/v1/runs/{run}` shows."""
    with by.engine() as engine:
        found = engine.queue.find(request)
        if found is None:
            raise NotThere(f"there is no request {request!r}; what ended is forgotten after a week")
        return views.queued(found)


@router.get("/v1/nodes", response_model=list[shapes_serving.Node])
def nodes(by: Viewer) -> Any:
    """Processes that serve, the newest first."""
    with by.engine() as engine:
        return views.nodes(engine)


@router.get("/v1/triggers", response_model=list[shapes_serving.Trigger])
def triggers(by: Viewer, projection: Only = None) -> Any:
    """What makes projections run besides their schedules, and how that stands on each node."""
    with by.engine() as engine:
        return views.triggers(engine, projection)


@router.get("/v1/alerts", response_model=shapes_serving.Alerts)
def alerts(by: Viewer) -> Any:
    """What is firing or about to, and messages that could not be delivered so far."""
    with by.engine() as engine:
        return views_alerts.alerts(engine)


# --- pacing and the audit log ----------------------------------------------------------------------------------------


@router.get("/v1/pace", response_model=list[shapes_serving.Pace], response_model_exclude_unset=True)
def paces(by: Viewer) -> Any:
    """How Trueup holds back, on each database that is paced."""
    with by.engine() as engine:
        return views_serving.paces(engine)


@router.get("/v1/pace/{database}", response_model=shapes_serving.Pace, response_model_exclude_unset=True)
def pace(by: Viewer, database: Database) -> Any:
    """How Trueup holds back on one database."""
    with by.engine() as engine:
        return views_serving.pace(engine, database)


@router.get("/v1/audit", response_model=shapes_serving.Audit)
def audit(by: Viewer) -> Any:
    """How the audit log stands."""
    with by.engine() as engine:
        return views_audit.audit(engine)


@router.get("/v1/audit/heads", response_model=list[shapes_serving.Head])
def heads(by: Viewer, above: Above = 0, limit: Limit = 100) -> Any:
    """Heads of the log as they are exported, the smallest first: keep them elsewhere."""
    with by.engine() as engine:
        found = engine.audit.sequencer.heads(above, limit)
        return [{"size": row.head.size, "at": row.at, "note": row.note} for row in found]


@router.get("/v1/audit/lines")
def lines(by: Viewer, projection: Only = None, limit: Limit = 20) -> list[dict[str, Any]]:
    """The newest lines that have a number, newest first; those of one projection among the newest 100,000."""
    with by.engine() as engine:
        return engine.audit.lines(limit=limit, projection=projection or "", among=AMONG)


@router.get("/v1/audit/lines/{seq}")
def line(by: Viewer, seq: Seq) -> dict[str, Any]:
    """One line."""
    import json

    with by.engine() as engine:
        told: dict[str, Any] = json.loads(engine.audit.line(seq))
        return told
