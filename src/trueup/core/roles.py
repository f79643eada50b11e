"""Who may ask a server for what: roles, each of which may do what those before it may. No clock, no database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest

from trueup.core.declared import parse_duration

#: How a token's secret begins, so that people and scanners of repositories know one when they see it.
PREFIX = "trueup_"


class Role(StrEnum):
    """What somebody may do; each may also do what stands before it."""

    #: Reads.
    VIEWER = "viewer"
    #: Asks for runs, applies approved plans, pauses, stops, looks after the quarantine.
    OPERATOR = "operator"
    #: Answers for what is done: approves plans, accepts differences.
    APPROVER = "approver"
    #: Changes how Trueup works: pacing, tokens, erasing.
    ADMIN = "admin"

    def may(self, needed: Role) -> bool:
        """Is this role enough where `needed` is asked for?"""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """Somebody's key to the server, without its secret."""

    #: Whoever uses it is called so in the record.
    name: str
    role: Role
    #: SHA-256 of the secret, which has 256 random bits: there is nothing to guess, and so nothing to slow down.
    hash: str
    created_at: datetime
    created_by: str
    #: From when on it counts no more; None: it does until it is revoked.
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""

    def state(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


def ending(text: str, now: datetime) -> datetime:
    """When a token's time is over: after a while, `90d`, or with the end of a day, `2027-01-01`, in UTC.

    Raises ValueError.
    """
    if "-" not in text:
        try:
            return now + timedelta(seconds=parse_duration(text))
        except OverflowError:
            raise ValueError(f"{text!r} is further away than any calendar goes") from None
    try:
        return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no end; write how long, '90d', or the last day, '2027-01-01'") from None


def hashed(secret: str) -> str:
    """What is kept of a secret."""
    return sha256(secret.encode()).hexdigest()


def holder(secret: str, tokens: Iterable[Token], now: datetime) -> Token | None:
    """The active token with this secret. All are compared, each in constant time."""
    given, found = hashed(secret), None
    for token in tokens:
        if compare_digest(token.hash, given) and token.state(now) == "active":
            found = token
    return found
