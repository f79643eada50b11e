"""LISTENING: events -> gathered for a moment -> one request in the queue -> acknowledged.

A thread for each trigger. It takes what has come within the trigger's window, asks for it, and settles it only when the
request is durable: whatever dies in between, the event comes again, and is merged with itself. What breaks is opened
anew after a pause that grows; the schedule covers the time between.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from pydantic import SecretStr

from trueup.clock import Clock
from trueup.core.counted import counted
from trueup.core.events import Gathered, Keys, UnreadableError, keys_in
from trueup.core.retry import Retry, wait_s
from trueup.core.triggers import Listen, Outbox, Trigger, Webhook
from trueup.errors import LedgerFailed, Refused, Unheard
from trueup.store import lock
from trueup.store.ledger import Ledger
from trueup.store.listening import KeptPosition, Stand, Stands
from trueup.store.nodes import heard
from trueup.triggers import Delivery, Place, Source, driver, opened

if TYPE_CHECKING:
    from trueup.app import Trueup

log = logging.getLogger("trueup.serve")

#: Longest time without a look at whether to end, seconds.
LOOK_S = 0.5
#: Pauses before what broke off is opened again: they double, and no two nodes come back together.
PAUSES = Retry(first=1.0, longest=60.0)
#: How often it is said how a trigger stands, though nothing has changed.
SAID_EVERY = timedelta(seconds=15)
#: How often unreadable events are told of in the log, beside being counted.
TOLD_EVERY = timedelta(minutes=1)


class Ask(Protocol):
    """Puts a request into the queue; when it returns, the request is durable."""

    def __call__(
        self, name: str, *, keys: Keys | None, reason: str, asked_by: str, merged: int, delay_s: float
    ) -> object: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """Counters of one listener since it began."""

    state: str = ""
    since: datetime
    events: int = 0
    unreadable: int = 0
    failures: int = 0
    error: str = ""


@dataclass(kw_only=True)
class Listener:
    """One trigger of one projection on one node."""

    trigger: Trigger
    place: Place
    ledger: Ledger
    lease_s: float
    ask: Ask
    #: Between 0 and 1, so that nodes that were thrown off together do not come back together.
    chance: Callable[[], float] = random.random
    #: Opens the source.
    open: Callable[[Trigger, Place], Source] = opened
    ending: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        now = self.clock.now()
        self.told = Told(since=now)
        self.stands = Stands(self.ledger)
        self._said = self._complained = now - timedelta(days=1)
        #: Times in a row that it broke off before anything was heard.
        self._broken = 0
        #: Why all keys are still to be asked for. A source says it once; it is owed until the request is durable.
        self._owed = ""

    @property
    def clock(self) -> Clock:
        return self.place.clock

    @property
    def name(self) -> str:
        return called(self.trigger)

    def run(self) -> None:
        """Listen until `ending` is set."""
        while not self.ending.is_set():
            try:
                self._listen()
            except Refused:  # another node reads it
                self._say("elsewhere")
                self._pause(PAUSES.first * 2)
            except (Unheard, LedgerFailed) as error:
                self._broke(str(error))
            except Exception as fault:
                log.exception("%s: %s: a fault of Trueup's", self.place.projection, self.name)
                self._broke(f"a fault of Trueup's: {type(fault).__name__}")

    def _listen(self) -> None:
        with ExitStack() as stack:
            if isinstance(self.trigger, Outbox):  # its place is kept in the ledger: one node at a time moves it
                names = f"{self.place.projection}#{self.name}"[:200]
                stack.enter_context(lock.hold(self.ledger.engine, names, lease_s=self.lease_s))
            source = stack.enter_context(closing(self.open(self.trigger, self.place)))
            self._say("listening")
            log.info("%s: listening: %s", self.place.projection, self.name)
            while not self.ending.is_set():
                self.round(source)
                self._broken = 0

    def round(self, source: Source) -> None:
        """Take what comes within one window, ask for it, and settle it."""
        gathered = Gathered()
        self._owe(source)
        read: list[Delivery] = []
        unreadable: list[Delivery] = []
        until = self.clock.monotonic() + self.trigger.window
        wait_s = 0.0 if self._owed else LOOK_S
        while not self.ending.is_set():
            came = source.receive(source.most - gathered.events, wait_s)
            if came and not gathered.events:
                until = self.clock.monotonic() + self.trigger.window
            for each in came:
                (read if self._read(each, gathered) else unreadable).append(each)
            wait_s = min(until - self.clock.monotonic(), LOOK_S)
            if not gathered.events or wait_s <= 0 or gathered.events >= source.most:
                break
        self._owe(source)
        if self._owed:
            gathered.all_for(self._owed)
        if gathered.asks:
            self._ask(gathered, source)
        if gathered.over_all:
            self._owed = ""
        if gathered.events:
            source.settle(read, unreadable)
        self._count(gathered)

    def _owe(self, source: Source) -> None:
        self._owed, source.gap = self._owed or source.gap, ""

    def _read(self, delivery: Delivery, gathered: Gathered) -> bool:
        try:
            gathered.add(keys_in(delivery.payload, self.trigger, self.place.key))
        except UnreadableError as why:
            gathered.put_off(self.trigger, why)
            self._complain(why)
            return False
        return True

    def _ask(self, gathered: Gathered, source: Source) -> None:
        events = counted(gathered.events, "event")
        more = gathered.events >= source.most
        self.ask(
            self.place.projection,
            keys=gathered.asked,
            reason=f"{self.name}: {gathered.over_all or events}",
            asked_by=self.trigger.kind,
            merged=max(gathered.events, 1),
            delay_s=self.trigger.window if more else 0.0,  # a storm: what is still to come is merged into it
        )

    # --- how it stands -----------------------------------------------------------------------------------------------

    def _count(self, gathered: Gathered) -> None:
        told = self.told
        self.told = replace(
            told, events=told.events + gathered.events, unreadable=told.unreadable + gathered.unreadable
        )
        if self.clock.now() - self._said >= SAID_EVERY:
            self._say("listening")

    def _broke(self, error: str) -> None:
        self._broken += 1
        pause_s = PAUSES.first / 2 + wait_s(PAUSES, self._broken, self.chance())
        self.told = replace(self.told, failures=self.told.failures + 1, error=error)
        log.warning(
            "%s: %s; listening again in %.0f s, the schedule covers the gap", self.place.projection, error, pause_s
        )
        self._say("down")
        self._pause(pause_s)

    def _pause(self, seconds: float) -> None:
        until = self.clock.monotonic() + seconds
        while not self.ending.is_set() and (left := until - self.clock.monotonic()) > 0:
            self.clock.wait(min(left, LOOK_S))

    def _complain(self, why: UnreadableError) -> None:
        now = self.clock.now()
        if now - self._complained >= TOLD_EVERY:
            self._complained = now
            log.warning("%s: %s: an event cannot be read: %s", self.place.projection, self.name, why)

    def _say(self, state: str) -> None:
        now = self.clock.now()
        if state != self.told.state:
            self.told = replace(self.told, state=state, since=now)
        stand = Stand(
            node=self.place.node,
            projection=self.place.projection,
            trigger=self.name,
            state=self.told.state,
            since=self.told.since,
            seen_at=now,
            events=self.told.events,
            unreadable=self.told.unreadable,
            failures=self.told.failures,
            error=self.told.error,
        )
        with suppress(LedgerFailed):  # it is said again
            self.stands.put(stand)
            self._said = now


class Listeners:
    """All triggers of one node, each in a thread of its own."""

    def __init__(self, listeners: list[Listener]) -> None:
        self.listeners = listeners
        self.threads = [
            threading.Thread(target=each.run, name=f"trueup-{each.trigger.kind}", daemon=True) for each in listeners
        ]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        """Let all of them end; may be called from anywhere."""
        for each in self.listeners:
            each.ending.set()

    def join(self, within_s: float) -> None:
        """Wait until they have ended. What one does that hangs is not lost: it was not settled, and comes again."""
        for thread in self.threads:
            thread.join(within_s)


def listeners_of(engine: Trueup, node: str, ask: Ask) -> Listeners:
    """What listens to the triggers of an engine's projections. Raises ConfigError where a driver is not installed."""
    found = []
    for projection in engine.projections.values():
        for trigger in projection.triggers:
            if isinstance(trigger, Webhook):  # the API gets those
                continue
            driver(trigger)
            where, url = _where(engine, trigger)
            place = Place(
                projection=projection.name,
                key=projection.key,
                where=where,
                url=url.get_secret_value(),
                node=node,
                clock=engine.clock,
                position=KeptPosition(engine.ledger, projection.name, called(trigger)),
            )
            found.append(Listener(trigger=trigger, place=place, ledger=engine.ledger, lease_s=engine.lease_s, ask=ask))
    return Listeners(found)


def standing(engine: Trueup, name: str | None = None) -> list[Stand]:
    """How each declared trigger stands on each node that serves; `unserved` where none does, `lost` on one that was not
    heard of lately.
    """
    alive = {node.id for node in heard(engine.ledger, engine.queue.now(engine.clock.now()))}
    found = [each if each.node in alive else replace(each, state="lost") for each in Stands(engine.ledger).all()]
    chosen = [engine.projection(name)] if name else engine.projections.values()
    stands: list[Stand] = []
    for projection in chosen:
        for trigger in projection.triggers:
            names = projection.name, called(trigger)
            here = [stand for stand in found if (stand.projection, stand.trigger) == names]
            state = "api" if isinstance(trigger, Webhook) else "unserved"
            stands += here or [Stand(node="", projection=names[0], trigger=names[1], state=state)]
    return stands


def called(trigger: Trigger) -> str:
    """What a trigger is called in the ledger and for people."""
    return f"{trigger.kind} {trigger.place}"[:300]


def _where(engine: Trueup, trigger: Trigger) -> tuple[str, SecretStr]:
    """The declaration of its database or broker, and the URL there."""
    if isinstance(trigger, Listen | Outbox):
        return f"databases.{trigger.database}", engine.databases[trigger.database].url
    assert not isinstance(trigger, Webhook)
    return f"brokers.{trigger.broker}", engine.brokers[trigger.broker].url
