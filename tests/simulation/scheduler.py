"""Who goes next. An actor is a greenlet that yields around each call to a database; a seed decides the rest."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any

import greenlet


class Stuck(Exception):
    """A seed does not come to its end."""


class Actor:
    """One process, or one connection's statement that outlived its process."""

    def __init__(self, name: str, run: Callable[[], object], hub: greenlet.greenlet, *, mortal: bool) -> None:
        self.name = name
        #: May it be killed?
        self.mortal = mortal
        self.wake = 0
        self.done = False
        #: The statement that was sent and not yet begun; None: there is none.
        self.sent: Callable[[], object] | None = None
        #: Dies when the statement it is in has ended: a server does not notice that its client is gone.
        self.doomed = False
        #: Called when it is killed.
        self.bury: Callable[[], None] = lambda: None
        #: What it has open on servers.
        self.sessions: list[Any] = []
        #: Scratch of whoever the actor is.
        self.notes: dict[str, Any] = {}
        self.greenlet = greenlet.greenlet(run, hub)


class Scheduler:
    """Runs actors one step at a time until all are done."""

    #: Steps after which something is stuck.
    STEPS_MAX = 20_000

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0
        #: Fingerprint of everything that happened, in order.
        self.trace = 0
        self.actors: list[Actor] = []
        self.me: Actor | None = None
        self.over = False
        #: The dead, who are only unwound when all is over.
        self._graves: list[Actor] = []
        #: Shares of steps: an actor stands still for long; it dies.
        self.pauses = 0.0
        self.kills = 0.0
        self._hub = greenlet.getcurrent()

    def spawn(self, name: str, run: Callable[[], object], *, mortal: bool = False, after: int = 0) -> Actor:
        actor = Actor(name, run, self._hub, mortal=mortal)
        actor.wake = self.now + after
        self.actors.append(actor)
        return actor

    # --- called by actors -------------------------------------------------------------------------------------------

    def step(self, what: str, *, sent: Callable[[], object] | None = None) -> None:
        """Let others go first."""
        if self.over:
            raise greenlet.GreenletExit
        actor = self.me
        assert actor is not None
        actor.sent = sent
        self.trace = zlib.crc32(f"{self.now} {actor.name} {what}".encode(), self.trace)
        self._hub.switch()
        if self.over:
            raise greenlet.GreenletExit
        actor.sent = None

    def sleep(self, ticks: int) -> None:
        assert self.me is not None
        self.me.wake = self.now + ticks
        self.step("sleep")

    def until(self, true: Callable[[], bool], what: str, *, ticks: int) -> bool:
        """Wait for something, `ticks` at most; was it so?"""
        end = self.now + ticks
        while not true():
            if self.now >= end:
                return False
            assert self.me is not None
            self.me.wake = self.now + 2
            self.step(what)
        return True

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        for _ in range(self.STEPS_MAX):
            self.actors = [actor for actor in self.actors if not actor.done]
            if not self.actors:
                return
            ready = [actor for actor in self.actors if actor.wake <= self.now]
            if not ready:
                self.now = min(actor.wake for actor in self.actors)
                continue
            self.now += 1
            actor = self.random.choice(ready)
            if self._fault(actor):
                continue
            self.me = actor
            actor.greenlet.switch()
            self.me = None
            if actor.greenlet.dead:
                actor.done = True
        raise Stuck(f"still going on after {self.STEPS_MAX} steps: {[actor.name for actor in self.actors]}")

    def _fault(self, actor: Actor) -> bool:
        if actor.doomed and actor.notes.get("in_statement") is None:
            self.kill(actor)
            return True
        chance = self.random.random()
        if actor.mortal and not actor.doomed and chance < self.kills:
            if actor.notes.get("in_statement"):
                actor.doomed = True  # the server goes on with what it was told
                return False
            self.kill(actor)
            return True
        if chance > 1 - (2 * self.pauses if actor.mortal else self.pauses):
            actor.wake = self.now + self.random.randint(20, 120)
            return True
        return False

    def kill(self, actor: Actor) -> None:
        """As kill -9 does it: nothing of the actor's own runs any more."""
        self.trace = zlib.crc32(f"{self.now} {actor.name} killed".encode(), self.trace)
        actor.done = True
        self._graves.append(actor)
        actor.bury()

    def close(self) -> None:
        """Unwind what is left."""
        self.over = True
        for actor in [*self.actors, *self._graves]:
            if not actor.greenlet.dead and actor.greenlet:
                actor.greenlet.throw(greenlet.GreenletExit)
