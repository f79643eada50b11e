"""The audit log, the doctor, discovering, alerts, and tokens."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fastapi import BackgroundTasks, Response
from fastapi.responses import FileResponse

from trueup import views, views_alerts, views_audit, views_discover, views_serving
from trueup.api import shapes_serving
from trueup.api.asked import Database, Discovering, Exporting, Limit, Name, Person, TokenFor
from trueup.api.auth import Admin, Operator
from trueup.api.routes import routes
from trueup.audit import moment
from trueup.errors import Refused

router = routes("keeping")

#: Longest log that is checked while a request waits.
VERIFIED_MAX = 200_000
_TYPES = {"jsonl": "application/jsonl", "csv": "text/csv"}


# --- the audit log ---------------------------------------------------------------------------------------------------


@router.post("/v1/audit/verify", response_model=shapes_serving.AuditCheck)
def verify(by: Operator) -> Any:
    """Check the log against its heads, and the ledger's records against the log."""
    with by.engine() as engine:
        found = engine.audit.standing()
        if found.size - found.first > VERIFIED_MAX:
            raise Refused(f"the log has more than {VERIFIED_MAX:,} lines: `trueup audit verify` checks it")
        return views_audit.audit_check(engine.audit.verify())


@router.post(
    "/v1/audit/export",
    response_class=FileResponse,
    responses={200: {"content": {kind: {"schema": {"type": "string"}} for kind in _TYPES.values()}}},
)
def export(by: Operator, asked: Exporting, after: BackgroundTasks) -> Response:
    """The log, up to a head that is made now. JSON lines are what is hashed; CSV is for reading."""
    since = moment(asked.since)
    with tempfile.NamedTemporaryFile(prefix="trueup-audit-", delete=False) as file:
        path = Path(file.name)
    after.add_task(path.unlink, missing_ok=True)
    try:
        with by.engine() as engine:
            engine.audit.export(path, form=asked.form, since=since, projection=asked.projection)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return FileResponse(path, media_type=_TYPES[asked.form], filename=f"audit.{asked.form}")


@router.post("/v1/audit/sequence", response_model=shapes_serving.Sealed)
def sequence(by: Operator) -> Any:
    """Number the lines that wait, make a head of the log, sign and export it. Runs do that at their end."""
    with by.engine() as engine:
        made = engine.audit.seal()
        return {"head": None if made is None else {"size": made.head.size, "at": made.at, "note": made.note}}


# --- the doctor, and discovering -------------------------------------------------------------------------------------


@router.post("/v1/projections/{name}/doctor", response_model=shapes_serving.Examination)
def doctor(by: Operator, name: Name) -> Any:
    """Check all that a repair depends on, and run the live race on scratch tables; takes seconds."""
    with by.engine() as engine:
        return views.examination(engine.doctor(name))


@router.post("/v1/databases/{database}/discover", response_model=shapes_serving.Discovered)
def discover(by: Operator, database: Database, asked: Discovering, limit: Limit = 100) -> Any:
    """Propose what is derived from what in a declared database, and count the rows that are wrong. Changes nothing."""
    seconds = min(asked.seconds, by.door.longest_s / 2)
    with by.engine() as engine:
        return views_discover.discovered_in(engine, database, seconds=seconds, only=asked.only, limit=limit)


# --- alerts ----------------------------------------------------------------------------------------------------------


@router.post("/v1/alerts/test", response_model=list[shapes_serving.Tried])
def try_alerts(by: Admin) -> Any:
    """Send a message to each declared destination, and say what came of it; takes up to 20 s."""
    with by.engine() as engine:
        return views_alerts.tried(engine)


# --- tokens ----------------------------------------------------------------------------------------------------------


@router.get("/v1/tokens", response_model=list[shapes_serving.Token])
def tokens(by: Admin) -> Any:
    """Who may ask for what, newest first; those that count no more too."""
    with by.engine() as engine:
        return views_serving.tokens(engine)


@router.post("/v1/tokens", status_code=201, response_model=shapes_serving.NewToken)
def create(by: Admin, asked: TokenFor) -> Any:
    """Make a token. Its secret is in the answer, and nowhere else."""
    with by.engine() as engine:
        now = engine.clock.now()
        secret = engine.tokens.create(asked.name, asked.role, now=now, expires=asked.expires, by=by.actor)
    return {"name": asked.name.strip(), "role": asked.role, "token": secret}


@router.delete("/v1/tokens/{person}", status_code=204, response_class=Response)
def revoke(by: Admin, person: Person) -> None:
    """Take somebody's token back; every node refuses it within seconds."""
    with by.engine() as engine:
        engine.tokens.revoke(person, now=engine.clock.now(), by=by.actor)
