"""Who asks: a bearer token, and what its role permits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, NoReturn

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from starlette.exceptions import HTTPException

from trueup.api.pool import Engines
from trueup.clock import Clock
from trueup.core.roles import Role, Token, holder
from trueup.who import Actor

if TYPE_CHECKING:
    from trueup.app import Trueup

log = logging.getLogger("trueup.api")

#: How long the list of tokens is believed, seconds: so long a revoked one is good at most.
BELIEVED_S = 1.0
#: Failed attempts from one address that are answered and logged within `WINDOW_S`; further ones are only counted.
FAILED_MAX, WINDOW_S = 10, 60.0
#: Addresses that are kept account of.
ADDRESSES_MAX = 10_000

_BEARER = HTTPBearer(auto_error=False, description="A token that `trueup token create` made.")


class Failures:
    """Failed attempts, by address. Who has a good token is never kept waiting by those of others."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        #: Address -> beginning of its window, and attempts in it.
        self._known: dict[str, tuple[float, int]] = {}

    def count(self, address: str) -> float:
        """One more; seconds until attempts from there are looked at again, 0: this one was."""
        now = self._monotonic()
        with self._lock:
            began, times = self._known.get(address, (now, 0))
            if now - began >= WINDOW_S:
                began, times = now, 0
            if len(self._known) >= ADDRESSES_MAX:
                self._known = {at: one for at, one in self._known.items() if now - one[0] < WINDOW_S}
            if len(self._known) < ADDRESSES_MAX or address in self._known:
                self._known[address] = began, times + 1
        return 0.0 if times < FAILED_MAX else WINDOW_S - (now - began)


@dataclass(kw_only=True)
class Door:
    """Lets in who has a token."""

    engines: Engines
    longest_s: float
    clock: Clock
    _tokens: list[Token] = field(default_factory=list)
    _read_at: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.failures = Failures(self.clock.monotonic)

    def who(self, secret: str) -> Token | None:
        """The token with this secret, as the ledger had it a second ago at most."""
        with self._lock:
            now = self.clock.monotonic()
            if self._read_at is None or now - self._read_at >= BELIEVED_S:
                with self.engines.lent(self.longest_s) as engine:
                    self._tokens = engine.tokens.unrevoked()
                self._read_at = now
            return holder(secret, self._tokens, self.clock.now())


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Somebody with a token that permits what they ask for."""

    actor: Actor
    role: Role
    door: Door

    @contextmanager
    def engine(self) -> Iterator[Trueup]:
        """An engine that acts for them, as long as a request may take."""
        with self.door.engines.lent(self.door.longest_s) as engine:
            engine.actor = self.actor
            yield engine


def authenticated(
    request: Request,
    scopes: SecurityScopes,
    given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
) -> Caller:
    """Who asks, if their role is enough. Raises 401, 403, 429."""
    door: Door = request.app.state.door
    address = request.client.host if request.client else ""
    token = door.who(given.credentials) if given else None
    if token is None:
        told = "this token is not known, or counts no more" if given else "say who you are: `Authorization: Bearer …`"
        refused(request, 401, told, {"WWW-Authenticate": "Bearer"})
    request.state.actor = token.name
    needed = Role(scopes.scopes[-1])
    if not token.role.may(needed):
        raise HTTPException(403, f"{token.name} is {token.role}; this takes {needed}")
    return Caller(actor=Actor(name=token.name, by="token", host=address), role=token.role, door=door)


def refused(request: Request, status: int, told: str, headers: dict[str, str] | None = None) -> NoReturn:
    """Say no to somebody who is not known, and less and less about it. Raises `status`, or 429."""
    door: Door = request.app.state.door
    address = request.client.host if request.client else ""
    wait_s = door.failures.count(address)
    if wait_s:
        raise HTTPException(429, "too many such requests that were refused", {"Retry-After": str(int(wait_s) + 1)})
    log.warning("refused with %d, from %s", status, address or "nowhere")
    raise HTTPException(status, told, headers)


Viewer = Annotated[Caller, Security(authenticated, scopes=[Role.VIEWER])]
Operator = Annotated[Caller, Security(authenticated, scopes=[Role.OPERATOR])]
Approver = Annotated[Caller, Security(authenticated, scopes=[Role.APPROVER])]
Admin = Annotated[Caller, Security(authenticated, scopes=[Role.ADMIN])]
