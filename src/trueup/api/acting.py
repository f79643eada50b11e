"""What changes something: asking for runs, switches, people's decisions, settings. Each is told in the audit log."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from trueup import views, views_serving
from trueup.api import shapes, shapes_serving
from trueup.api.asked import Accepting, Database, Id, Name, Pacing, Rows, Why, Withdrawing, Work
from trueup.api.auth import Admin, Approver, Caller, Operator
from trueup.api.routes import routes
from trueup.core.row import present
from trueup.plans import permitted
from trueup.withheld import taken_out

router = routes("acting")


# --- asking for runs: into the queue, and answered at once -----------------------------------------------------------


def _asked(by: Caller, answer: Response, name: str, command: str, work: Work | Why, about: str = "") -> Any:
    """A request in the queue, and where it can be followed."""
    with by.engine() as engine:
        keys = work.keys if isinstance(work, Work) else None
        request = engine.request(
            name, command=command, keys=keys, about=about, reason=work.reason, by=by.actor, asked_by="api"
        )
        found = engine.queue.find(request)
        assert found is not None
        answer.headers["Location"] = f"/v1/requests/{request}"
        return views.queued(found)


@router.post("/v1/projections/{name}/check", status_code=202, response_model=shapes.Request)
def check(by: Operator, answer: Response, name: Name, work: Work) -> Any:
    """Ask for a check: what is wrong. Nothing is written to the target."""
    return _asked(by, answer, name, "check", work)


@router.post("/v1/projections/{name}/plan", status_code=202, response_model=shapes.Request)
def plan(by: Operator, answer: Response, name: Name, work: Work) -> Any:
    """Ask for a plan: what would be done about what is wrong."""
    return _asked(by, answer, name, "plan", work)


@router.post("/v1/projections/{name}/run", status_code=202, response_model=shapes.Request)
def run(by: Operator, answer: Response, name: Name, work: Work) -> Any:
    """Ask for a run: what is wrong is found, confirmed, and repaired within the limits."""
    return _asked(by, answer, name, "run", work)


@router.post("/v1/projections/{name}/request", status_code=202, response_model=shapes.Request)
def request(by: Operator, answer: Response, name: Name, work: Work) -> Any:
    """Ask for what a projection does by itself, on its schedule or by events: a run, or as its `unattended` says."""
    return _asked(by, answer, name, "", work)


@router.post("/v1/plans/{plan}/apply", status_code=202, response_model=shapes.Request)
def apply(by: Operator, answer: Response, plan: Id, why: Why) -> Any:
    """Ask for a plan to be carried out to the letter; refused at once where approvals are missing."""
    with by.engine() as engine:
        found = engine.find_plan(plan)
        name = found.projection
        permitted(engine.plans, found, engine.projection(name), engine.clock.now())
    return _asked(by, answer, name, "apply", why, about=plan)


@router.post("/v1/runs/{run}/rollback", status_code=202, response_model=shapes.Request)
def rollback(by: Operator, answer: Response, run: Id, work: Work) -> Any:
    """Ask for a plan that puts the rows of a run back as they were; apply it to do so."""
    with by.engine() as engine:
        found = engine.find_run(run)
        name = engine.undoable(found).projection.name
    return _asked(by, answer, name, "rollback", work, about=run)


# --- switches --------------------------------------------------------------------------------------------------------


@router.post("/v1/projections/{name}/pause", response_model=shapes.Status)
def pause(by: Operator, name: Name, why: Why) -> Any:
    """Halt runs of a projection at the next segment border."""
    with by.engine() as engine:
        engine.pause(name, reason=why.reason)
        return views.status(engine, [name])[0]


@router.post("/v1/projections/{name}/resume", response_model=shapes.Status)
def resume(by: Operator, name: Name) -> Any:
    """Undo `pause` and `stop`."""
    with by.engine() as engine:
        engine.resume(name)
        return views.status(engine, [name])[0]


@router.post("/v1/projections/{name}/stop", response_model=shapes.Status)
def stop(by: Operator, name: Name, why: Why) -> Any:
    """Stop a projection: when this is answered with 200, no write is in flight, and none begins until `resume`."""
    with by.engine() as engine:
        engine.stop(name, reason=why.reason)
        return views.status(engine, [name])[0]


@router.post("/v1/stop", response_model=list[shapes.Status])
def stop_all(by: Operator, why: Why) -> Any:
    """Stop all projections, and backfills that run or are asked for."""
    with by.engine() as engine:
        engine.stop(reason=why.reason)
        return views.status(engine)


# --- the quarantine --------------------------------------------------------------------------------------------------


@router.post("/v1/projections/{name}/quarantine/retry", status_code=202, response_model=shapes.Request)
def retry(by: Operator, answer: Response, name: Name, work: Work) -> Any:
    """Take rows (default: all) out of quarantine, and ask for a run of them: what is still wrong comes back."""
    with by.engine() as engine:
        out = taken_out(engine.kept_out, engine.projection(name), work.keys, engine.clock.now(), retried=True)
    keys = [{name: present(value) for name, value in key.items()} for key in out]
    return _asked(by, answer, name, "run", Work.model_construct(keys=keys, reason=work.reason))


@router.post("/v1/projections/{name}/quarantine/drop", response_model=shapes.Count)
def drop(by: Operator, name: Name, rows: Rows) -> Any:
    """Take rows out of quarantine without looking at them: the next run treats them like any other."""
    with by.engine() as engine:
        return {"rows": engine.quarantine_drop(name, keys=rows.keys)}


# --- people ----------------------------------------------------------------------------------------------------------


@router.post("/v1/plans/{plan}/approve", response_model=shapes.Plan)
def approve(by: Approver, plan: Id, why: Why) -> Any:
    """Permit a plan: at most these rows, with these values, for a while. The name of your token is who approved it."""
    with by.engine() as engine:
        return views.plan_view(engine.approve(plan, reason=why.reason, by=by.actor))


@router.post("/v1/plans/{plan}/reject", response_model=shapes.Plan)
def reject(by: Approver, plan: Id, why: Why) -> Any:
    """Say no to a plan. Final."""
    with by.engine() as engine:
        return views.plan_view(engine.reject(plan, reason=why.reason, by=by.actor))


@router.post("/v1/projections/{name}/accept", response_model=list[shapes.Accepted])
def accept(by: Approver, name: Name, asked: Accepting) -> Any:
    """Accept the differences that rows have now: they are counted, and not repaired, until a day to come."""
    with by.engine() as engine:
        rows = engine.accept(
            name, keys=asked.keys, reason=asked.reason, owner=asked.owner, until=asked.until, by=by.actor
        )
        return [views.accepted_view(engine, row) for row in rows]


@router.post("/v1/projections/{name}/withdraw", response_model=list[shapes.Accepted])
def withdraw(by: Approver, name: Name, asked: Withdrawing) -> Any:
    """What was accepted about these rows is drift again."""
    with by.engine() as engine:
        rows = engine.withdraw(name, keys=asked.keys, reason=asked.reason, by=by.actor)
        return [views.accepted_view(engine, row) for row in rows]


# --- how Trueup works ------------------------------------------------------------------------------------------------


@router.put("/v1/pace/{database}", response_model=shapes_serving.Pace, response_model_exclude_unset=True)
def set_pace(by: Admin, database: Database, asked: Pacing) -> Any:
    """Let other settings hold on a paced database, on all nodes within seconds."""
    settings = asked.model_dump(exclude={"reason", "for_s"}, exclude_none=True, exclude_defaults=True)
    with by.engine() as engine:
        engine.set_pace(database, reason=asked.reason, for_s=asked.for_s, **settings)
        return views_serving.pace(engine, database)


@router.delete("/v1/pace/{database}", response_model=shapes_serving.Pace, response_model_exclude_unset=True)
def clear_pace(by: Admin, database: Database) -> Any:
    """As declared again."""
    with by.engine() as engine:
        engine.set_pace(database)
        return views_serving.pace(engine, database)


@router.post("/v1/projections/{name}/erase", response_model=shapes.Count)
def erase(by: Admin, name: Name, rows: Rows) -> Any:
    """Take the sensitive values of rows out of the ledger; they cannot be rolled back any more."""
    with by.engine() as engine:
        return {"rows": engine.erase(name, keys=rows.keys)}
