"""Alerts looked after: every few seconds and after each run, on one node at a time, by a thread of its own.

    what is known -> which rules hold -> what somebody is told -> written down -> sent, tried again until it is accepted

A message is written down with the change that it tells of. Whoever holds the name of the alerts sends it; if that node
dies before it noted that it was sent, another sends it once more, with the same id.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from trueup.alerting.facts import facts_of, rules_of, starving
from trueup.alerting.send import Destination, destinations, send
from trueup.core.alert_facts import audit_condition, conditions, database_condition
from trueup.core.alerts import Alert, Condition, Tell, messages, step
from trueup.errors import LedgerFailed, Refused, TakenOver, TrueupError
from trueup.store import lock
from trueup.store.alerts import AlertLedger

if TYPE_CHECKING:
    from trueup.app import Trueup

log = logging.getLogger("trueup.alerts")

#: What the node that looks after alerts holds; no projection can be called so.
NAME = "#alerts"
#: Between two looks, seconds.
EVERY_S = 15.0


class Watch:
    """Looks, tells, sends. `engine` is its own: nobody else works with it."""

    def __init__(self, engine: Trueup) -> None:
        self.engine = engine
        self.to: dict[str, Destination] = destinations(engine.alerts.to)
        #: Projections of which nothing could be found out at the last look.
        self.failed: set[str] = set()
        self.ended = threading.Event()
        self.woken = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def kept(self) -> AlertLedger:
        return AlertLedger(self.engine.ledger)

    # --- the thread --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="trueup-alerts", daemon=True)
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """End it; what was not sent is sent by another node, or after the next start."""
        self.ended.set()
        self.woken.set()
        if self._thread is not None:
            self._thread.join(within_s)

    def _run(self) -> None:
        while not self.ended.is_set():
            try:
                self.look()
            except LedgerFailed as failed:
                log.error("%s", failed)
            except Exception:  # alerts must not end because one could not be made
                log.exception("alerts could not be looked after")
            self.woken.wait(EVERY_S)
            self.woken.clear()

    # --- one look ----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Unless another node does: where every rule stands, and what is due is sent."""
        try:
            with lock.hold(self.engine.ledger.engine, NAME, lease_s=self.engine.lease_s):
                self._evaluate()
                self._send()
        except (Refused, TakenOver):
            return

    def _evaluate(self) -> None:
        now, kept = self._now(), self.kept
        before = {(alert.rule, alert.subject): alert for alert in kept.all()}
        changed: list[Alert] = []
        told: list[tuple[Alert, Tell]] = []
        found = self._conditions(before, now)
        for condition in [*found, *self._gone(before.values(), found)]:
            place = condition.rule, condition.subject
            old = before.get(place) or Alert(rule=condition.rule, subject=condition.subject)
            new, tell = step(old, condition, now)
            if new != before.get(place) and (place in before or new.state != "quiet" or new.memory):
                changed.append(new)
            if tell is not None:
                told.append((new, tell))
                log.warning("alert: %s: %s %s: %s", new.subject, new.rule, tell, new.what)
        begun = {f"{alert.rule} {alert.subject}": alert.since for alert in before.values() if alert.since is not None}
        kept.note(changed, messages(told, now, since=begun), self.to, now)

    def _conditions(self, before: dict[tuple[str, str], Alert], now: datetime) -> list[Condition]:
        engine, settings = self.engine, self.engine.alerts
        found: list[Condition] = []
        self.failed = set()
        for name in engine.projections:
            memories = {alert.rule: alert.memory for alert in before.values() if alert.subject == name}
            try:
                facts = facts_of(engine, name)
            except LedgerFailed:
                raise
            except TrueupError as error:
                log.error("alerts: %s: %s", name, error)
                self.failed.add(name)
                continue
            found += conditions(facts, rules_of(engine, name), memories, now, settings.repeat)
        for name in engine.databases:
            if engine.pacing.paced(name):
                why = starving(engine.paces.find(name))
                found += database_condition(name, settings.rules, settings.repeat, starving=why)
        log_ = engine.audit.sequencer.standing()
        oldest_s = 0.0 if log_.oldest is None else (now - log_.oldest).total_seconds()
        return [*found, *audit_condition(settings.rules, settings.repeat, lines=log_.staged, oldest_s=oldest_s)]

    def _gone(self, before: Iterable[Alert], found: Sequence[Condition]) -> list[Condition]:
        """What fires and is not asked about any more: its rule was switched off, or its subject is not declared."""
        asked = {(each.rule, each.subject) for each in found}
        unknown = self.failed  # nothing is known of these just now
        return [
            Condition(rule=alert.rule, subject=alert.subject, active=False, memory=alert.memory)
            for alert in before
            if alert.state != "quiet" and (alert.rule, alert.subject) not in asked and alert.subject not in unknown
        ]

    def _send(self) -> None:
        kept = self.kept
        for one in kept.due(self._now()):
            if self.ended.is_set():
                return
            to = self.to.get(one.destination)
            if to is None:
                why = "it is not declared any more"
            else:
                why = send(one.message, to, allow_private=self.engine.alerts.allow_private)
            if not why:
                kept.sent(one)
                continue
            log.error("alert %s could not be sent to %s: %s", one.message.id, to.name if to else "a destination", why)
            kept.failed(one, why, self._now())

    def _now(self) -> datetime:
        return self.engine.queue.now(self.engine.clock.now())
