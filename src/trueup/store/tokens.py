"""Tokens of people and services that ask a server: made, listed, revoked. A secret is shown once, and kept nowhere."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.core.roles import PREFIX, Role, Token, ending, hashed
from trueup.errors import NotThere, UsageError
from trueup.store.ledger import Ledger
from trueup.store.records import certainly_utc, utc
from trueup.store.schema_serving import tokens as t
from trueup.who import NAME_MAX, Actor

#: Random bytes of a secret.
RANDOM = 32


class Tokens:
    """Reads and writes them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def create(self, name: str, role: str, *, now: datetime, expires: str = "", by: Actor) -> str:
        """Make a token; its secret, which nobody can find out again. `expires`: `90d`, `2027-01-01`; "": never.

        Raises UsageError for a name that is none, or has a token, for an unknown role, or an end that is over.
        """
        name = _fit(name)
        if role not in list(Role):
            raise UsageError(f"--role {role!r}: one of {', '.join(Role)}")
        end = _end(expires, now)
        secret = PREFIX + secrets.token_urlsafe(RANDOM)
        values = {"hash": hashed(secret), "name": name, "person": _person(name), "role": role, "created_at": now}
        values |= {"created_by": by.name, "expires_at": end, "revoked_by": ""}
        with self.ledger.begin() as c:
            facts = {"token": name, "role": role, "expires": "" if end is None else end.isoformat()}
            told = self.ledger.audit.stage(c, "token.created", facts, actor=by)
            insert = self.ledger.upsert(t).values(**values, audit=told).on_conflict_do_nothing()
            if c.execute(insert).rowcount == 0:
                raise UsageError(f"{name!r} has a token; `trueup token revoke` it first")
        return secret

    def revoke(self, name: str, *, now: datetime, by: Actor) -> None:
        """It counts no more. Raises NotThere if nobody of this name has a token."""
        mine = (t.c.person == _person(name)) & t.c.revoked_at.is_(None)
        with self.ledger.begin() as c:
            if c.execute(t.update().where(mine).values(revoked_at=now, revoked_by=by.name)).rowcount == 0:
                raise NotThere(f"nobody called {name!r} has a token; `trueup token list` shows who has")
            self.ledger.audit.stage(c, "token.revoked", {"token": name.strip()}, actor=by)

    def all(self) -> list[Token]:
        """Newest first, those that count no more too."""
        return self._listed(sa.true())

    def unrevoked(self) -> list[Token]:
        """Those that count, unless their time is over."""
        return self._listed(t.c.revoked_at.is_(None))

    def _listed(self, which: sa.ColumnElement[bool]) -> list[Token]:
        statement = sa.select(t).where(which).order_by(t.c.created_at.desc(), t.c.name)
        with self.ledger.reading() as c:
            return [_token(row) for row in c.execute(statement)]


def _fit(name: str) -> str:
    """A name as it goes into the record. Raises UsageError."""
    name = name.strip()
    if not name or max(len(name), len(_person(name))) > NAME_MAX or not name.isprintable():
        raise UsageError(f"a token is called like who uses it, on one line of at most {NAME_MAX} characters")
    return name


def _end(expires: str, now: datetime) -> datetime | None:
    """When it is over. Raises UsageError."""
    if not expires:
        return None
    try:
        end = ending(expires, now)
    except ValueError as error:
        raise UsageError(f"expires: {error}") from None
    if end <= now:
        raise UsageError(f"expires: {expires} is over already")
    return end


def _person(name: str) -> str:
    return Actor(name=name).person


def _token(row: sa.Row[Any]) -> Token:
    return Token(
        name=row.name,
        role=Role(row.role),
        hash=row.hash,
        created_at=certainly_utc(row.created_at),
        created_by=row.created_by,
        expires_at=utc(row.expires_at),
        revoked_at=utc(row.revoked_at),
        revoked_by=row.revoked_by,
    )
