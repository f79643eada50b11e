"""The application: routes, who is let in, and what stands before all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp

from trueup._version import __version__
from trueup.api import acting, health, hooks, keeping, problems, reading
from trueup.api.auth import Door
from trueup.api.guard import Guard
from trueup.api.health import Ready
from trueup.api.metrics import Metrics
from trueup.api.pool import Engines
from trueup.clock import Clock, SystemClock
from trueup.core.api_settings import ApiSettings
from trueup.pace.admission import Caused

if TYPE_CHECKING:
    from trueup.app import Trueup


def application(
    opening: Callable[[], Trueup],
    settings: ApiSettings,
    *,
    looping: Callable[[], bool] = lambda: True,
    caused: Callable[[], Mapping[str, Caused]] = dict,
    clock: Clock | None = None,
) -> FastAPI:
    """The API over engines that `opening` opens. `looping`: does this process's node go on? `caused`: what it asked of
    databases so far.
    """
    clock = clock or SystemClock()
    app = FastAPI(
        title="Trueup",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        max_body_size=settings.body,
    )
    engines = Engines(opening, settings.workers)
    app.state.engines = engines
    app.state.door = Door(engines=engines, longest_s=settings.longest, clock=clock)
    app.state.ready = Ready(engines=engines, clock=clock, looping=looping)
    app.state.metrics = Metrics(caused)
    for part in (reading, acting, keeping, hooks, health):
        app.include_router(part.router)
    problems.install(app)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return app


def guarded(app: FastAPI, settings: ApiSettings) -> ASGIApp:
    """What is served: the API behind what every request passes first."""
    return Guard(app, called=settings.called, body=settings.body, seen=app.state.metrics.request)


def _described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the shape of problems that every route refers to."""
    if not app.openapi_schema:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        document["components"].setdefault("schemas", {})["Problem"] = problems.Problem.model_json_schema()
        app.openapi_schema = document
    return app.openapi_schema
