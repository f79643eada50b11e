"""Alerts: what is worth one now, and when somebody is told. Values in, values out.

    quiet -> pending (it is so, not yet for long enough) -> firing (told, and again while it lasts) -> quiet (told once)

What comes and goes is damped: the more often it came back shortly after it was over, the longer it has to be over
before that is told, so that it stays one alert.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

#: So long it has to be over before that is told, seconds; doubled each time it came back, up to CALM_S_MAX.
CALM_S, CALM_S_MAX = 60.0, 4 * 3600.0
#: It came back if it was over for less than this, or than twice the calm that was asked for, seconds.
RELAPSE_S = 3600.0


class Tell(StrEnum):
    """What somebody is told."""

    FIRING = "firing"
    STILL = "still firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """Whether something is worth an alert now."""

    rule: str
    #: A projection, `database NAME`, or `audit log`.
    subject: str
    active: bool
    #: In words, with figures; no values of rows.
    what: str = ""
    #: What to type next.
    next: str = ""
    after_s: float = 0.0
    repeat_s: float = 4 * 3600.0
    #: What the rule has to remember until the next look.
    memory: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert:
    """Where one rule stands with one subject."""

    rule: str
    subject: str
    state: str = "quiet"
    #: Since when it is so.
    since: datetime | None = None
    #: When somebody was last told.
    told_at: datetime | None = None
    #: Since when it is over, while that is not told yet.
    over_since: datetime | None = None
    resolved_at: datetime | None = None
    #: How often it came back.
    relapses: int = 0
    what: str = ""
    next: str = ""
    memory: Mapping[str, Any] = field(default_factory=dict)

    @property
    def firing(self) -> bool:
        return self.state == "firing"

    @property
    def calm(self) -> timedelta:
        """So long it has to be over."""
        return timedelta(seconds=min(CALM_S * 2**self.relapses, CALM_S_MAX))


def step(alert: Alert, now_is: Condition, now: datetime) -> tuple[Alert, Tell | None]:
    """An alert after one more look, and what somebody is to be told."""
    alert = replace(alert, memory=now_is.memory)
    if now_is.active:
        return _active(replace(alert, what=now_is.what, next=now_is.next, over_since=None), now_is, now)
    if not alert.firing:
        return replace(alert, state="quiet", since=None), None
    over_since = alert.over_since or now
    if now - over_since < alert.calm:
        return replace(alert, over_since=over_since), None
    return replace(alert, state="quiet", since=None, over_since=None, resolved_at=now, told_at=now), Tell.RESOLVED


def _active(alert: Alert, now_is: Condition, now: datetime) -> tuple[Alert, Tell | None]:
    if alert.firing:
        assert alert.told_at is not None
        if now - alert.told_at < timedelta(seconds=now_is.repeat_s):
            return alert, None
        return replace(alert, told_at=now), Tell.STILL
    since = alert.since or now
    if now - since < timedelta(seconds=now_is.after_s):
        return replace(alert, state="pending", since=since), None
    shortly = max(timedelta(seconds=RELAPSE_S), 2 * alert.calm)
    back = alert.resolved_at is not None and now - alert.resolved_at < shortly
    relapses = min(alert.relapses + 1, 10) if back else 0
    return replace(alert, state="firing", since=since, told_at=now, relapses=relapses), Tell.FIRING


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What somebody is sent: all that is to be told of one subject at one moment."""

    id: str
    subject: str
    title: str
    body: str


def messages(told: Sequence[tuple[Alert, Tell]], now: datetime, *, since: Mapping[str, datetime]) -> list[Message]:
    """One message a subject. Its id is the same whoever makes it, so that a receiver can know one that comes twice.

    `since`: by rule and subject, when it began, of what is over now.
    """
    found = []
    for subject in dict.fromkeys(alert.subject for alert, _ in told):
        mine = [(alert, tell) for alert, tell in told if alert.subject == subject]
        words = ", ".join(f"{alert.rule.replace('_', ' ')} {tell}" for alert, tell in mine)
        content = f"{subject} {now.isoformat()} {words}"
        id_ = f"a-{sha256(content.encode()).hexdigest()[:12]}"
        lines = [line for alert, tell in mine for line in _lines(alert, tell, since)]
        body = "\n".join([*lines, f"message {id_}"])
        found.append(Message(id=id_, subject=subject, title=f"Trueup: {subject}: {words}", body=body))
    return found


def _lines(alert: Alert, tell: Tell, since: Mapping[str, datetime]) -> Iterable[str]:
    begun = alert.since or since.get(f"{alert.rule} {alert.subject}")
    when = "" if begun is None else f" (since {begun:%Y-%m-%d %H:%M} UTC)"
    if tell is Tell.RESOLVED:
        return [f"{alert.rule.replace('_', ' ')}: it is over{when}"]
    return [f"{alert.rule.replace('_', ' ')}: {alert.what}{when}", f"  next: {alert.next}"]
