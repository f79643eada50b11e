"""Webhooks: signed requests of other services, for projections that declare them."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from trueup import views
from trueup.api import shapes
from trueup.api.asked import Name
from trueup.api.auth import Door, refused
from trueup.api.routes import routes
from trueup.core.webhook import received
from trueup.errors import NotThere, Refused

router = routes("hooks")


@router.post(
    "/v1/hooks/{name}",
    status_code=202,
    response_model=shapes.Request,
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": {}}, "text/plain": {"schema": {}}}}},
)
async def hook(request: Request, answer: Response, name: Name) -> Any:
    """An event: what it is about is looked at. It is signed as Standard Webhooks has it, and needs no token."""
    body = await request.body()
    headers = {key.lower(): value for key, value in request.headers.items()}
    door: Door = request.app.state.door
    try:
        view = await run_in_threadpool(_asked, door, name, headers, body)
    except (NotThere, Refused):  # who asks is not known, and not told what there is
        refused(request, 403, "there is no such webhook, or the signature does not fit, or it is not of this moment")
    answer.headers["Location"] = f"/v1/requests/{view['request']}"
    return view


def _asked(door: Door, name: str, headers: dict[str, str], body: bytes) -> Any:
    with door.engines.lent(door.longest_s) as engine:
        # By the clock that the sender's moment is compared with on every node.
        events = received(engine.projection(name), headers, body, engine.queue.now(engine.clock.now()))
        asked = engine.request(
            name,
            keys=events.asked,
            reason=events.over_all or f"{events.events} events by webhook",
            asked_by="webhook",
            merged=events.events,
        )
        found = engine.queue.find(asked)
        assert found is not None
        return views.queued(found)
