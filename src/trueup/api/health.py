"""What machines ask: is it alive, is it ready, and its figures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from trueup.api.auth import Viewer
from trueup.api.pool import Engines
from trueup.api.routes import routes
from trueup.clock import Clock
from trueup.errors import TrueupError

router = routes("health")

#: How long an answer about the ledger is good, seconds: whoever asks costs it no more than one look in that time.
GOOD_S = 1.0
#: Seconds that one look may take.
LOOK_S = 5.0


class Health(BaseModel):
    """One word."""

    status: Literal["ok", "unavailable"]


@dataclass(kw_only=True)
class Ready:
    """Is this node to be sent requests?"""

    engines: Engines
    clock: Clock
    #: Does the loop that looks after the queue go on, and is it not ending?
    looping: Callable[[], bool]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _answers: bool = False
    _looked_at: float | None = None

    def now(self) -> bool:
        return self.looping() and self._ledger()

    def _ledger(self) -> bool:
        with self._lock:
            now = self.clock.monotonic()
            if self._looked_at is None or now - self._looked_at >= GOOD_S:
                self._answers = self._look()
                self._looked_at = self.clock.monotonic()
            return self._answers

    def _look(self) -> bool:
        try:
            with self.engines.lent(LOOK_S) as engine, engine.ledger.reading() as c:
                c.execute(sa.select(1))
        except TrueupError:
            return False
        return True


@router.get("/health/live", response_model=Health)
def live() -> Any:
    """This process answers."""
    return {"status": "ok"}


@router.get("/health/ready", response_model=Health, responses={503: {"model": Health}})
def ready(request: Request) -> Any:
    """The ledger answers, the node's loop goes on, and it is not about to end."""
    ready: Ready = request.app.state.ready
    if ready.now():
        return {"status": "ok"}
    return JSONResponse({"status": "unavailable"}, status_code=503)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(by: Viewer, request: Request) -> Response:
    """Figures for Prometheus: what the ledger knows, the same on every node, and this process's own."""
    with by.engine() as engine:
        text = request.app.state.metrics.text(engine)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", include_in_schema=False)
def openapi(by: Viewer, request: Request) -> JSONResponse:  # noqa: ARG001 - who may read it is all that is asked
    """What this API is."""
    return JSONResponse(request.app.openapi())
