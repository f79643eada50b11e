"""Errors as answers: RFC 9457, `application/problem+json`. Never a traceback, never what was sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from trueup.errors import (
    ConfigError,
    ConnectionFailed,
    DataProblem,
    DesignProblem,
    Interrupted,
    LedgerFailed,
    NotThere,
    Refused,
    Transient,
    TrueupError,
    UsageError,
)

log = logging.getLogger("trueup.api")

MEDIA_TYPE = "application/problem+json"
#: Classes of errors -> status; the first that fits.
STATUS: tuple[tuple[type[TrueupError], HTTPStatus], ...] = (
    (NotThere, HTTPStatus.NOT_FOUND),
    (ConnectionFailed, HTTPStatus.SERVICE_UNAVAILABLE),
    (ConfigError, HTTPStatus.CONFLICT),
    (UsageError, HTTPStatus(422)),
    (Refused, HTTPStatus.CONFLICT),
    (DataProblem, HTTPStatus.CONFLICT),
    (DesignProblem, HTTPStatus.CONFLICT),
    (Transient, HTTPStatus.SERVICE_UNAVAILABLE),
    (Interrupted, HTTPStatus.SERVICE_UNAVAILABLE),
    (LedgerFailed, HTTPStatus.SERVICE_UNAVAILABLE),
)
#: When to try again after something that would pass, seconds.
RETRY_AFTER_S = 5


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    model_config = ConfigDict(extra="forbid")

    #: Which error it is: the name of its class in `trueup.errors`, or of the status.
    type: str
    title: str
    status: int
    #: What happened, and what to do next.
    detail: str
    #: What is wrong with the request, place by place.
    errors: list[dict[str, str]] | None = None


def problem(
    status: int, detail: str, *, kind: str = "", headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """An answer that says what went wrong."""
    known = HTTPStatus(status)
    name = kind or known.phrase.replace(" ", "")
    told = Problem(type=f"urn:trueup:{name}", title=known.phrase, status=status, detail=detail, **more)
    return JSONResponse(
        told.model_dump(exclude_none=True), status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {})
    )


def status_of(error: TrueupError) -> HTTPStatus:
    """The status that an error is answered with."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def install(app: FastAPI) -> None:
    """Answer every error as a problem."""
    app.add_exception_handler(TrueupError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_input)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _of_a_fault)


def _of_ours(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TrueupError)
    status = status_of(error)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("%s", error)
    return problem(status, str(error), kind=type(error).__name__, headers=headers)


def _of_input(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = [{"at": ".".join(map(str, each["loc"])), "why": str(each["msg"])} for each in error.errors()]
    told = "; ".join(f"{each['at']}: {each['why']}" for each in wrong[:3])
    return problem(HTTPStatus(422), told, errors=wrong)


def _of_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), headers=error.headers)


def _of_a_fault(_request: Request, _fault: Exception) -> JSONResponse:
    """The guard logs it; who asked is told no more than that."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of Trueup's; its log says more")
