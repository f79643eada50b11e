"""Statements of ours in the plant: paced by the product's policy, by fixed loads, and by what other tools do."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from _pacing_rules import Rule
from _plant import Foreground, Plant, Replica

from trueup.adapters import Looked
from trueup.adapters._postgresql_probe import PostgresqlProbe
from trueup.adapters._probing import READING_MS
from trueup.core.pace import governor as law
from trueup.core.pace.credit import Bucket, StatementSize, charged, refilled, wait_s
from trueup.core.pace.effective import of_tail
from trueup.core.pace.gauges import Gauge
from trueup.core.pace.pressure import observed, worst
from trueup.core.pace.settings import Pace
from trueup.core.pace.tails import Impact, Tails
from trueup.pace.deciding import decide, pause
from trueup.pace.governor import TICK_S
from trueup.pace.host import MARKS as HOST_MARKS
from trueup.pace.host import RUNNABLE
from trueup.pace.looking import ACTIVE, ACTIVE_MARK, AGAIN_S, CANARY, CANARY_MARK, LOOK_S
from trueup.pace.means import Means
from trueup.pace.pacing import PROTECT

#: Rows a second of one statement, and what it pays once, seconds.
ROWS_PER_S, OVERHEAD_S = 1_050_000.0, 0.003
#: A round trip of the canary, seconds, half of it where it is asked and half in the server; what the process that reads
#: adds by itself, to one of so many readings; round trips of a reading.
CANARY_S, NOISE_S, NOISY = 0.0001, 0.0002, 0.05
#: What a statement of the governor's aims at, seconds.
STATEMENT_S = Pace().statement
TRIPS = Pace().trips
LAG, GAUGE = "replica lag, s", Gauge(name="a gauge", python="shop.load:pressure")
#: Of the signals that the plant has.
MARKS = {
    ACTIVE: ACTIVE_MARK,
    CANARY: CANARY_MARK,
    RUNNABLE: HOST_MARKS[RUNNABLE],
    LAG: PostgresqlProbe.marks[LAG],
    GAUGE.name: GAUGE.mark,
}
#: When a reading is given up, seconds.
GIVEN_UP_S = READING_MS / 1000


class Background:
    """Statements one after another, by as many workers: when the next may begin, and how large it is."""

    def __init__(self, plant: Plant, foreground: Foreground, *, count: int = 1) -> None:
        self.plant, self.foreground = plant, foreground
        self.rows = 0
        self.rows_at: list[tuple[float, int]] = []
        self.size = 1000.0
        self.inflight = self.begun = 0
        #: When, the load, the state, and what our effect is taken for.
        self.trace: list[tuple[float, float, str, float | None]] = []
        #: When, and the busy-seconds that were granted so far.
        self.granted: list[tuple[float, float]] = []
        self.chance = random.Random(plant.seed)
        for at in range(count):
            plant.after(0.001 * at, self._next)

    def wait_s(self) -> float:
        """Seconds until the next may begin."""
        return 0.0

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002 - each goes by what it knows
        """Seconds to rest after a statement."""
        return 0.0

    def _next(self) -> None:
        wait = self.wait_s()
        if wait > 0:
            self.plant.after(wait, self._next)
            return
        rows = max(int(self.size), 1)
        self.inflight += 1
        self.begun += 1
        need = (OVERHEAD_S + rows / ROWS_PER_S) * self.chance.uniform(0.9, 1.1)
        self.plant.submit(need, "bg", partial(self._done, rows))

    def _done(self, rows: int, seconds: float) -> None:
        self.inflight -= 1
        self.rows += rows
        self.rows_at.append((self.plant.now, self.rows))
        self.plant.after(max(self.took(rows, seconds), 1e-6), self._next)

    def rate(self, begin: float, end: float) -> float:
        inside = [rows for at, rows in self.rows_at if begin <= at <= end]
        return (inside[-1] - inside[0]) / (end - begin) if len(inside) > 1 else 0.0


class Ruled(Background):
    """What another tool does."""

    def __init__(self, plant: Plant, foreground: Foreground, kind: type[Rule]) -> None:
        self.rule = kind(lambda: plant.now)
        super().__init__(plant, foreground, count=kind.workers)
        self._look()

    def _look(self) -> None:
        """Twice a second, as tools do: one count."""
        self.rule.running = float(self.foreground.active)
        self.plant.after(0.5, self._look)

    def wait_s(self) -> float:
        self.rule.inflight = self.inflight
        self.size = self.rule.rows
        return 0.0 if self.rule.may() else 0.02

    def took(self, rows: int, seconds: float) -> float:
        self.rule.inflight = self.inflight
        return self.rule.took(rows, seconds)


class FixedU(Background):
    """So many in flight on average, whatever happens."""

    def __init__(self, plant: Plant, foreground: Foreground, u: float, statement_s: float) -> None:
        self.u, self.count = u, math.ceil(u)
        super().__init__(plant, foreground, count=self.count)
        self.size = (statement_s - OVERHEAD_S) * ROWS_PER_S

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002
        return seconds * (self.count / self.u - 1)


class Governor(Background):
    """The product's policy; what it is told is what the product would see."""

    #: By how much the tail may be slowed, by default.
    BUDGET = of_tail(PROTECT)

    def __init__(
        self,
        plant: Plant,
        foreground: Foreground,
        *,
        protect: float = PROTECT,
        frozen: bool = False,
        jumps: bool = False,
        canary_alone: bool = False,
        remote: bool = False,
        uncounted: bool = False,
        lies: bool = False,
        deaf: bool = False,
        blind: bool = False,
        replica: Callable[[Plant], Replica] | None = None,
    ) -> None:
        """Faults: health signals that do not move, a clock that jumps, a canary on a table that feels nothing, a server
        of which only the database's own counts are known (`remote`), or not even the cores (`uncounted`), a signal that
        always says it is too much, readings that are given up from 60 to 90 s. `replica`: all that we do is a write,
        which it copies; `blind`: its lag is not seen.
        """
        self.blind = blind
        self.lies, self.deaf, self.replica = lies, deaf, None if replica is None else replica(plant)
        self.bucket, self.state, self.tails, self.means = Bucket(), law.State(at=0.0, since=0.0), Tails(), Means()
        self.sizes, self.signals, self.impact = StatementSize(500.0), dict[str, Any](), Impact()
        self.plenty = (False, False)
        self.protect, self.frozen, self.jumps, self.remote = protect, frozen, jumps, remote
        self.canary_alone, self.uncounted = canary_alone, uncounted
        self.busy_s = self.flown_s = self.moved_at = self.commits = 0.0
        self.used_s = self.flown_before_s = 0.0
        self.slowest_ms = 0.0
        self.pauses, self.looks_at_begun = 0, False
        super().__init__(plant, foreground, count=4)
        self._read_after(0.01)
        plant.after(0.25, self._look)
        plant.after(0.5, self._tick)

    @property
    def clock(self) -> float:
        """The policy's clock."""
        return self.plant.now + (3600.0 if self.jumps and 60 < self.plant.now < 90 else 0.0)

    def wait_s(self) -> float:
        self.bucket = refilled(self.bucket, self.state.u, self.plant.now)
        wait = wait_s(self.bucket, self.state.u, self.inflight, self.plant.now)
        self.size = self.sizes.amount
        return 0.005 if wait is None else min(wait, 0.1)

    def _next(self) -> None:
        self._moved()
        begun = self.begun
        super()._next()
        if self.begun > begun and self.looks_at_begun:  # while it is in flight, but not only at its beginning
            self._read_after(self.chance.uniform(0.0, STATEMENT_S / 2))

    def _done(self, rows: int, seconds: float) -> None:
        self._moved()
        super()._done(rows, seconds)
        if self.replica is not None:
            self.replica.wrote(rows)

    def _moved(self) -> None:
        passed_s, self.moved_at = self.plant.now - self.moved_at, self.plant.now
        self.busy_s += passed_s if self.inflight else 0.0
        self.flown_s += passed_s * self.inflight

    def took(self, rows: int, seconds: float) -> float:
        self.bucket = charged(self.bucket, self.state.u, self.plant.now, seconds)
        self.sizes.took(
            rows, seconds, STATEMENT_S * law.statement_share(self.state, self.means.longer(self.plant.cores))
        )
        return 0.0

    def _read(self) -> None:
        if self.deaf and 60 < self.plant.now < 90:
            self.slowest_ms = GIVEN_UP_S * 1000
            self._read_after(GIVEN_UP_S + AGAIN_S)
            return
        own, begun, since, left = self.inflight > 0, self.begun, self.plant.now, [2 * TRIPS]

        def done(_: float) -> None:
            left[0] -= 1
            if left[0]:
                self.plant.submit(CANARY_S / 2, "canary", done)
                return
            seconds = self.plant.now - since
            noise = self.chance.expovariate(1 / NOISE_S) if self.chance.random() < NOISY else 0.0
            felt = (CANARY_S * TRIPS if self.canary_alone else seconds) + noise
            self.slowest_ms = max(self.slowest_ms, felt * 1000)
            self.tails.add(self.clock, felt * 1000, own=own or self.begun != begun)
            until = pause(self.plenty, self.state.u, inflight=self.inflight > 0)
            self._read_after(until.s, looks_at_begun=until.woken)

        self.plant.submit(CANARY_S / 2, "canary", done)

    def _read_after(self, pause_s: float, *, looks_at_begun: bool = False) -> None:
        """Instead of when it was to be read. `looks_at_begun`: sooner, if a statement of ours begins meanwhile."""
        self.pauses, self.looks_at_begun = self.pauses + 1, looks_at_begun
        number = self.pauses

        def read() -> None:
            if number == self.pauses:
                self.looks_at_begun = False
                self._read()

        self.plant.after(pause_s, read)

    def _look(self) -> None:
        self._moved()
        now, active = self.clock, 0.1 if self.frozen else float(self.foreground.active)
        on_core = 0.1 if self.frozen else float(self.plant.running["fg"])
        commits = float(len(self.foreground.taken) + self.begun)
        looked = Looked(values={}, active=active, own=self.inflight, on_core=on_core, transactions=commits)
        self.means.add(now, looked, self.begun, quiet=not self.inflight)
        used_s = sum(self.plant.used_s.values())
        ours = (self.flown_s - self.flown_before_s) / LOOK_S * self.means.of_a_core(self.plant.cores)
        if self.remote or self.frozen:
            self.means.add_taken(LOOK_S, on_core, None)
        else:
            self.means.add_taken(LOOK_S, (used_s - self.used_s) / LOOK_S - ours, on_core)
        self.used_s, self.flown_before_s = used_s, self.flown_s
        values: dict[str, float | None] = {CANARY: self.slowest_ms, GAUGE.name: 1.5 if self.lies else 0.0}
        lag_s = None if self.replica is None else self.replica.lag_s()
        values[LAG] = None if self.blind else lag_s
        values[ACTIVE] = (self.means.active_lately or 0.0) / self.plant.cores
        if self.means.runnable is not None:
            values[RUNNABLE] = self.means.runnable / self.plant.cores
        self.slowest_ms = 0.0
        self.signals = observed(self.signals, MARKS, values, now)
        self.plant.after(LOOK_S, self._look)

    def _tick(self) -> None:
        self._moved()
        now, cores = self.clock, self.plant.cores
        self.bucket = refilled(self.bucket, self.state.u, self.plant.now)
        self.granted.append((self.plant.now, self.bucket.granted_s))
        limits, health = law.Limits(most=max(cores - 1, 1)), worst(self.signals, MARKS, now, 0.0)
        told = {
            "cores": None if self.uncounted else cores,
            "protect": self.protect,
            "busy_s": self.busy_s,
            "flown_s": self.flown_s,
        }
        decided = decide(self.state, limits, self.tails, self.means, now, health=health, **told)
        self.state, self.impact, self.plenty = decided
        self.trace.append((self.plant.now, self.state.u, self.state.mode, self.impact.slowed))
        self.plant.after(TICK_S, self._tick)
