"""What of a database is only known as a mean: who runs, what of its cores is taken, how long others take."""

from __future__ import annotations

from trueup.adapters import Looked
from trueup.core.pace import headroom
from trueup.core.pace.effective import of_tail
from trueup.core.pace.tails import Impact, Tails

#: Memory of means, and of those that count as a signal, seconds.
MEAN_S, LATELY_S = 5.0, 1.5
#: Transactions a second, and statements that run, of others: below both, there is nobody to be slowed.
IDLE_RATE, IDLE = 1.0, 0.02
#: Looks that the mean without us goes by.
QUIET_LOOKS = 20
#: Memory of what others take that a load is bound by, seconds, once it is so long since it has changed: the load would
#: go up and down with a shorter one.
BOUND_S = 10.0
#: What others take has changed if it is by so much of the cores more or less than it has been for a while, seconds.
SHIFT, WHILE_S = 0.2, 60.0


class Means:
    """Means that forget; None: not known."""

    def __init__(self) -> None:
        #: Statements of others that run, in the last seconds; one count alone is a matter of chance.
        self.active_lately: float | None = None
        #: Cores that others take, and what waits for a core besides ours, in the last seconds.
        self.taken: float | None = None
        self.runnable: float | None = None
        #: Mean time of a transaction of others while nothing of ours was in flight, by Little's law.
        self.latency_s: float | None = None
        #: Transactions of others a second.
        self.rate: float | None = None
        #: Cores that others take as the load is bound by them: the mean since that has changed; and for how long.
        self._bound: float | None = None
        self._alike_s = 0.0
        #: Cores that others have taken for a while.
        self._usual: float | None = None
        self._active: float | None = None
        self._quiet: float | None = None
        self._looks = 0
        self._before: tuple[float, float, int] | None = None
        self._at: float | None = None
        self._totals: dict[str, tuple[float, float, float]] = {}

    def begins(self) -> None:
        """Another probe looks from now on, and takes off its own transactions only, not those of the one before."""
        self._before = None

    def unseen(self) -> None:
        """Who runs besides us is not told any more: what was told says nothing of now."""
        self._active = self.active_lately = self._quiet = self.latency_s = None
        self._looks = 0

    def add(self, now: float, looked: Looked, committed: int, *, quiet: bool = False) -> None:
        """`committed`: transactions of ours so far; `quiet`: no statement of ours is in flight."""
        passed_s = 0.0 if self._at is None else now - self._at
        self._at = now
        if looked.active is None:
            self.unseen()
        else:
            self._active = _mean(self._active, looked.active, passed_s)
            self.active_lately = _mean(self.active_lately, looked.active, passed_s, LATELY_S)
            if quiet:
                self._looks = min(self._looks + 1, QUIET_LOOKS)
                self._quiet = (self._quiet or 0.0) + (looked.active - (self._quiet or 0.0)) / self._looks
        if looked.transactions is None:
            return
        if self._before is not None and now - self._before[0] >= 2.0:
            at, before, ours = self._before
            rate = max(looked.transactions - before - (committed - ours), 0.0) / (now - at)
            self.rate = _mean(self.rate, rate, now - at)
        if self._before is None or now - self._before[0] >= 2.0:
            self._before = (now, looked.transactions, committed)
        if self.rate is not None and self._quiet is not None:
            self.latency_s = self._quiet / self.rate if self.rate > IDLE_RATE else None

    @property
    def idle(self) -> bool:
        """Is it known that nobody else is at work?"""
        return self.rate is not None and self.rate < IDLE_RATE and self._active is not None and self._active < IDLE

    def longer(self, cores: int | None) -> float:
        """How many times as long as usual a statement may be."""
        return 1.0 if cores is None or self.taken is None else headroom.longer(cores, self.taken)

    def of_a_core(self, cores: int | None) -> float:
        """What of a core a statement of ours has while it is in flight: its part, where more wait for one than there
        are. To take it for all of a core would make others look idle just where there is no core left.
        """
        return 1.0 if cores is None or self.runnable is None else min(cores / (self.runnable + 1.0), 1.0)

    def add_taken(self, passed_s: float, cores: float, runnable: float | None) -> None:
        """Others took so many cores in the time that passed, and so many waited for one or ran at the end of it.

        Where the latter is not known, the former is one count too, and what it says is a matter of chance.
        """
        memory_s = MEAN_S if runnable is None else LATELY_S
        self.taken = _mean(self.taken, max(cores, 0.0), passed_s, memory_s)
        self._usual = _mean(self._usual, self.taken, passed_s, WHILE_S)
        self._alike_s += passed_s
        self._bound = _mean(self._bound, self.taken, passed_s, min(max(self._alike_s, memory_s), BOUND_S))
        if runnable is not None:
            self.runnable = _mean(self.runnable, max(runnable, 0.0), passed_s, LATELY_S)

    def shifted(self, cores: int | None) -> bool:
        """Do others take much more or less than they did for a while? Said once of each change."""
        if cores is None or self.taken is None or self._usual is None or abs(self.taken - self._usual) < SHIFT * cores:
            return False
        self._usual = self._bound = self.taken
        self._alike_s = 0.0
        return True

    def effect(
        self, tails: Tails, now: float, *, cores: int | None, protect: float, busy_s: float, flown_s: float
    ) -> tuple[Impact, float | None]:
        """Our effect, and the load that the server's cores have free for us, None: not known.

        `protect`: by how much the others may be slowed, on average; `busy_s`, `flown_s`: seconds so far in which a
        statement of ours was in flight, and of all of them together. The effect is what the readings show or what the
        queue for the cores makes of it, whichever is more.
        """
        busy, flown = min(self.share("busy", now, busy_s), 1.0), self.share("flown", now, flown_s)
        mean_ms = None if self.latency_s is None else self.latency_s * 1000
        spread = 1.0 if cores is None or self.taken is None else headroom.spread(cores, self.taken)
        impact = tails.impact(now, busy=busy, budget=of_tail(protect), mean_ms=mean_ms, spread=spread)
        if self.idle:
            return impact.of_nobody(), None
        if cores is None or self.taken is None or self._bound is None:
            return impact, None
        room = headroom.room(cores, self._bound, protect)
        return impact.at_least(headroom.slowed(cores, self.taken, flown)), room

    def share(self, what: str, now: float, total_s: float) -> float:
        """How much a second lately, of a total that grows."""
        at, before, share = self._totals.get(what, (now, total_s, 0.0))
        if now > at:
            share = max(_mean(share, (total_s - before) / (now - at), now - at), 0.0)
        self._totals[what] = (now, total_s, share)
        return share


def _mean(old: float | None, new: float, passed_s: float, memory_s: float = MEAN_S) -> float:
    """A mean that forgets."""
    if old is None:
        return new
    weight = min(max(passed_s, 0.0) / memory_s, 1.0)
    return old + weight * (new - old)
