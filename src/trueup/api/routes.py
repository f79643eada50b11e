"""How routes are declared: all of them answer errors as problems, and say so in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from trueup.api.problems import MEDIA_TYPE

_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
#: What any request may be answered with besides what it asks for.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request is refused; the problem says why.", "content": _CONTENT},
    "503": {"description": "Something that is needed is away or busy; try again.", "content": _CONTENT},
}


def routes(tag: str) -> APIRouter:
    """A router whose routes are listed together."""
    return APIRouter(tags=[tag], responses=PROBLEMS)
