"""Errors that would pass: tried again for a while, then the projection is paused by the engine itself.

A read has no effect to double, so it is simply repeated. A repair transaction is settled first (did it commit?), and
uses the same bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from trueup.clock import Clock
from trueup.core.retry import Retry, pause_s, wait_s
from trueup.errors import Interrupted, Paused, StatementTimeout, Transient
from trueup.store.standing import Control, Standing

Result = TypeVar("Result")

#: Who paused a projection, where nobody did.
ENGINE = "trueup"


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """The declared bounds, with the clock and the chance that they need."""

    clock: Clock
    retry: Retry
    #: A number between 0 and 1, another each time.
    chance: Callable[[], float]

    def tries(self) -> Tries:
        """Bounds for one piece of work."""
        return Tries(self)

    def read(self, read: Callable[[], Result]) -> Result:
        """Do something without effects, again if the database was busy or the connection broke.

        A statement that took too long would take as long again: StatementTimeout is raised at once, for the caller to
        ask for less. Raises the last error when tries or time are used up.
        """
        tries = self.tries()
        while True:
            try:
                return read()
            except StatementTimeout:
                raise
            except Transient as error:
                tries.failed(error)


class Tries:
    """Counts the failures of one piece of work, for each database by itself, and waits between them.

    Where two databases are asked, one that is down does not use up the tries of the other.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        #: Database -> failures, and when the first was, seconds.
        self._failed: dict[str, tuple[int, float]] = {}

    def succeeded(self) -> None:
        """What failed has passed: the next failure is a first one."""
        self._failed.clear()

    def failed(self, error: Transient) -> None:
        """Wait until the next try. Raises `error`, with what was tried, if there is to be none; Interrupted where who
        waits is told to end: that says nothing of the database.
        """
        clock, retry = self._patience.clock, self._patience.retry
        now = clock.monotonic()
        failures, since = self._failed.get(error.database, (0, now))
        failures += 1
        self._failed[error.database] = failures, since
        wait = wait_s(retry, failures, self._patience.chance())
        elapsed = now - since
        if failures >= retry.tries or elapsed + wait > retry.within:
            times = f"{failures} times in {elapsed:.1f} s" if failures > 1 else "once"
            raise type(error)(f"{error} (tried {times})") from error.__cause__
        if clock.wait(wait):
            raise Interrupted(f"stopped before it was tried again; run again to go on. {error}") from error


# --- pausing ---------------------------------------------------------------------------------------------------------


def pause(standing: Standing, name: str, error: Transient, retry: Retry, now: datetime) -> Control:
    """Pause a projection because `error` did not pass, until the time at which the next run tries again."""
    before = standing.control(name)
    pauses = (before.pauses if before.actor == ENGINE else 0) + 1
    until = now + timedelta(seconds=pause_s(retry, pauses))
    control = Control(state="paused", reason=str(error), actor=ENGINE, at=now, until=until, pauses=pauses)
    if before.state == "running" or before.actor == ENGINE:  # what a person set stays
        standing.set_control(name, control, instead_of=before)
    return control


@contextmanager
def enduring(patience: Patience, standing: Standing, name: str) -> Iterator[None]:
    """Around a run: it does not begin while the engine's own pause lasts, and makes one if an error does not pass.

    Raises Paused before the end of a pause.
    """
    wait_out(standing, name, patience.clock.now())
    try:
        yield
    except Transient as error:
        control = pause(standing, name, error, patience.retry, patience.clock.now())
        assert control.until is not None
        raise type(error)(
            f"{error}. Paused until {control.until:%Y-%m-%d %H:%M:%S} UTC; the next run after that tries again, "
            f"`trueup resume {name}` allows it at once"
        ) from error.__cause__
    recovered(standing, name, patience.clock.now())


def wait_out(standing: Standing, name: str, now: datetime) -> None:
    """Let a run begin if no pause of the engine forbids it.

    How many there were in a row is kept until a run ends well. Raises Paused before its end.
    """
    control = standing.control(name)
    if control.until is None:
        return
    if now < control.until:
        left = (control.until - now) / timedelta(seconds=1)
        raise Paused(
            f"{name}: paused by Trueup until {control.until:%Y-%m-%d %H:%M:%S} UTC ({left:.0f} s from now), because a "
            f"database failed: {control.reason}. The next run after that tries again; `trueup resume {name}` allows it "
            f"at once"
        )
    if control.state == "paused":
        standing.set_control(name, replace(control, state="running"), instead_of=control)


def recovered(standing: Standing, name: str, now: datetime) -> None:
    """A run ended well: the next pause is a first one again."""
    before = standing.control(name)
    if before.until is not None:
        standing.set_control(name, Control(state="running", actor=ENGINE, at=now), instead_of=before)
