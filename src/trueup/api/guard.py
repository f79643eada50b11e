"""What every request passes before anything else, and every answer after it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trueup.api.problems import problem
from trueup.core.api_settings import host_of

log = logging.getLogger("trueup.api")

#: On every answer: what is told here is for who asked, now, and no page of another site may use it.
HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]
#: Asked for by machines that know the server by its address only; they are told one word.
HEALTH = "/health/"
#: Methods that are told by name.
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")


class Guard:
    """An ASGI application around another one: refuses what calls it by a wrong name (DNS rebinding) or says to be too
    large, adds headers, and writes the log.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        called: Collection[str],
        body: int,
        seen: Callable[[str, str, int, float], None] = lambda *_: None,
    ) -> None:
        """`seen`: is told the method, the route, the status and the seconds of each request."""
        self.app, self.called, self.body, self.seen = app, called, body, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, answered = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            await self._guarded(scope, receive, sending)
        except Exception as fault:  # whatever it is, the client gets an answer, and the log the rest
            log.exception("a fault of Trueup's: %s", type(fault).__name__)
            if not answered:
                await problem(500, "a fault of Trueup's; its log says more")(scope, receive, sending)
        finally:
            seconds = time.monotonic() - begun
            self.seen(_method(scope), _route(scope), answered, seconds)
            _told(scope, answered, seconds)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        wrong = "*" not in self.called and host_of(_header(scope, b"host")) not in self.called
        if wrong and not scope["path"].startswith(HEALTH):
            await problem(421, "this server is not called so; `trueup.api.hosts` names what else it may be called")(
                scope, receive, send
            )
            return
        if _length(scope) > self.body:
            await problem(413, f"the body is larger than {self.body:,} bytes")(scope, receive, send)
            return
        await self.app(scope, receive, send)  # which also ends what is longer than it says


def _length(scope: Scope) -> int:
    """What a request says of the length of its body; 0: nothing that is a number."""
    said = _header(scope, b"content-length")
    return int(said) if said.isdecimal() and len(said) < 20 else 0


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for known, value in scope["headers"] if known == name), "")


def _told(scope: Scope, status: int, seconds: float) -> None:
    """One line a request: what changes something at `info`, what only reads at `debug`."""
    method, route = _method(scope), _route(scope)
    state = scope.get("state", {})
    level = logging.DEBUG if method in ("GET", "HEAD") else logging.INFO
    told = {"method": method, "route": route, "status": status, "seconds": round(seconds, 4)}
    told |= {"actor": state["actor"]} if "actor" in state else {}
    log.log(level, "%s %s: %d", method, route, status, extra=told)


def _route(scope: Scope) -> str:
    """The route's template: a path may hold anything at all, and there is no end of them."""
    return str(getattr(scope.get("route"), "path", "none"))


def _method(scope: Scope) -> str:
    return str(scope["method"]) if scope["method"] in METHODS else "other"
