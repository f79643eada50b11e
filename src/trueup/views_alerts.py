"""What front ends show of alerts, as plain values."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from trueup.alerting.send import Destination, destinations, send
from trueup.core.alerts import Message
from trueup.job import new_id
from trueup.store.alerts import AlertLedger

if TYPE_CHECKING:
    from trueup.app import Trueup
    from trueup.view import View

#: Destinations that are tried at a time, each in a process of its own.
AT_ONCE = 8


def alerts(engine: Trueup) -> dict[str, list[View]]:
    """What is firing or about to, and messages that could not be delivered so far."""
    kept, known = AlertLedger(engine.ledger), destinations(engine.alerts.to)
    listed = [
        {
            "subject": alert.subject,
            "rule": alert.rule,
            "state": alert.state,
            "since": alert.since,
            "told": alert.told_at if alert.firing else None,
            "over_since": alert.over_since,
            "what": alert.what,
            "next": alert.next,
        }
        for alert in kept.all()
        if alert.state != "quiet"
    ]
    undelivered = [
        {
            "message": one.message.id,
            "subject": one.message.subject,
            "title": one.message.title,
            "destination": known[one.destination].name if one.destination in known else "not declared any more",
            "made": one.made_at,
            "attempts": one.attempts,
            "state": one.state,
            "error": one.error,
        }
        for one in kept.undelivered()
    ]
    return {"alerts": listed, "undelivered": undelivered}


def tried(engine: Trueup) -> list[View]:
    """A message sent to each destination, to several at a time, and what came of it."""

    def sent(to: Destination) -> View:
        id_ = new_id("a")
        message = Message(
            id=id_, subject="test", title="Trueup: a test", body=f"Alerts arrive here. Nothing is wrong.\nmessage {id_}"
        )
        why = send(message, to, allow_private=engine.alerts.allow_private)
        return {"destination": to.name, "sent": not why, "why": why}

    with ThreadPoolExecutor(AT_ONCE) as executor:
        return list(executor.map(sent, destinations(engine.alerts.to).values()))
