"""The pacing policy and what other tools do, on a server that does not exist: minutes of it in seconds.

    python bench/pacing_simulated.py                   # the table of real measurements beside the plant's
    python bench/pacing_simulated.py --scenario burst  # one of: steady, burst, faults; all of them without it
    python bench/pacing_simulated.py --plot plane.svg  # goodput against p95 at 50 %, governor and baselines on it

The policy is the product's (`trueup.core.pace`); only time, the database and the statements are simulated.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import percentile
from _plant import COMMIT_S, Foreground, Plant

from trueup.core.pace import governor as law
from trueup.core.pace.credit import Bucket, StatementSize, charged, refilled, wait_s, workers
from trueup.core.pace.pressure import Mark, observed, worst
from trueup.core.pace.tails import TAIL_OF_MEAN, Impact, Tails

#: The plant: cores, mean work of a transaction, rows a second of one statement, its overhead.
CORES, MEAN_S, ROWS_PER_S, OVERHEAD_S = 2, 0.0001, 1_000_000.0, 0.0004
#: A reading of the canary; what the process adds by itself, to one of so many readings.
CANARY_S, NOISE_S, NOISY = 0.00005, 0.0002, 0.05
MARKS = {
    "active a core": Mark(idle=0.75, soft=1.5, hard=4.0),
    "canary, ms": Mark(idle=50, soft=200, hard=450, required=True),
}
BUDGET = 0.4


class Background:
    """Statements of ours: when the next may begin, and how large it is. `u`: the mean in flight."""

    workers = 1

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.rows = 0
        self.rows_at: list[tuple[float, int]] = []
        self.size = 1000.0
        self.inflight = 0
        self.active = 0.0
        self.trace: list[tuple[float, float, str]] = []
        self.chance = random.Random(plant.seed)
        for at in range(self.workers):
            plant.after(0.001 * at, self._next)

    def wait_s(self) -> float:
        return 0.0

    def took(self, rows: float, seconds: float) -> float:  # noqa: ARG002 - each goes by what it knows
        """Seconds to rest after a statement."""
        return 0.0

    def _next(self) -> None:
        wait = self.wait_s()
        if wait > 0:
            self.plant.after(wait, self._next)
            return
        rows = max(int(self.size), 1)
        self.inflight += 1

        def done(seconds: float) -> None:
            self.inflight -= 1
            self.rows += rows
            self.rows_at.append((self.plant.now, self.rows))
            self.plant.after(max(self.took(rows, seconds), 1e-6), self._next)

        need = (OVERHEAD_S + rows / ROWS_PER_S) * self.chance.uniform(0.9, 1.1)
        self.plant.submit(need, "bg", done)

    def rate(self, begin: float, end: float) -> float:
        inside = [rows for at, rows in self.rows_at if begin <= at <= end]
        return (inside[-1] - inside[0]) / (end - begin) if len(inside) > 1 else 0.0


class Unpaced(Background):
    def __init__(self, plant: Plant, workers_: int = 1, statement_s: float = 0.02) -> None:
        self.workers = workers_
        super().__init__(plant)
        self.size = statement_s * ROWS_PER_S


class Fixed(Background):
    def took(self, rows: float, seconds: float) -> float:  # noqa: ARG002
        return 0.1


class FixedU(Background):
    def __init__(self, plant: Plant, u: float, statement_s: float) -> None:
        self.u, self.workers = u, math.ceil(u)
        super().__init__(plant)
        self.size = statement_s * ROWS_PER_S

    def took(self, rows: float, seconds: float) -> float:  # noqa: ARG002
        return seconds * (self.workers / self.u - 1)


class Synapse(Background):
    def __init__(self, plant: Plant) -> None:
        super().__init__(plant)
        self.mean_rows = self.mean_ms = 0.0

    def took(self, rows: float, seconds: float) -> float:
        self.mean_rows += 0.1 * (rows - self.mean_rows)
        self.mean_ms += 0.1 * (seconds * 1000 - self.mean_ms)
        self.size = max(1.0, 100 * self.mean_rows / self.mean_ms)
        return 1.0


class GitLab(Background):
    workers = 2

    def __init__(self, plant: Plant) -> None:
        super().__init__(plant)
        self.batch, self.left, self.began, self.hold = 4000.0, 4000.0, 0.0, 0.0
        self.efficiencies: list[float] = []

    def wait_s(self) -> float:
        if self.left > 0:
            return 0.0
        if self.plant.now < max(self.hold, self.began + 2):
            return 0.1
        self.left, self.began = self.batch, self.plant.now
        return 0.0

    def took(self, rows: float, seconds: float) -> float:  # noqa: ARG002
        self.left -= rows
        if self.left <= 0:
            self.efficiencies = [(self.plant.now - self.began) / 2, *self.efficiencies][:20]
            weights = [0.6**at for at in range(len(self.efficiencies))]
            mean = sum(e * w for e, w in zip(self.efficiencies, weights, strict=True)) / sum(weights)
            if self.active >= 1.5:
                self.hold = self.plant.now + 10
            elif not 0.9 <= mean <= 0.95:
                self.batch = min(2e6, max(1000.0, self.batch * min(0.95 / mean, 1.2)))
        return 0.1


class Ghost(Background):
    def wait_s(self) -> float:
        return 0.1 if self.active >= 1.5 else 0.0


class Aimd(Background):
    workers = 8

    def __init__(self, plant: Plant) -> None:
        super().__init__(plant)
        self.limit, self.size, self.timeout_s = 2.0, 20_000.0, 0.04

    def wait_s(self) -> float:
        return 0.0 if self.inflight < int(self.limit) else 0.01

    def took(self, rows: float, seconds: float) -> float:  # noqa: ARG002
        if seconds > self.timeout_s:
            self.limit = max(1, int(self.limit * 0.9))
        elif (self.inflight + 1) * 2 >= self.limit:
            self.limit = min(self.workers, self.limit + 1)
        return 0.0


class Gradient2(Aimd):
    def __init__(self, plant: Plant) -> None:
        super().__init__(plant)
        self.long_s, self.window, self.until = 0.0, list[float](), 0.0

    def took(self, rows: float, seconds: float) -> float:  # noqa: ARG002
        self.window.append(seconds)
        if self.plant.now > self.until and len(self.window) >= 10:
            short = sum(self.window) / len(self.window)
            self.window, self.until = [], self.plant.now + 1
            self.long_s = self.long_s + (2 / 601) * (short - self.long_s) if self.long_s else short
            gradient = max(0.5, min(1.0, 1.5 * self.long_s / short))
            self.limit = max(1.0, min(8.0, self.limit * 0.8 + 0.2 * (self.limit * gradient + 1)))
        return 0.0


class Governor(Background):
    """The product's policy."""

    workers = 4

    def __init__(self, plant: Plant, *, frozen: bool = False, jumps: bool = False, canary_alone: bool = False) -> None:
        """Faults: health signals that do not move, a clock that jumps, a canary on a table that feels nothing."""
        self.bucket, self.state, self.tails = Bucket(), law.State(at=0.0, since=0.0), Tails()
        self.sizes, self.signals, self.impact = StatementSize(500.0), dict[str, Any](), Impact()
        self.frozen, self.jumps, self.canary_alone = frozen, jumps, canary_alone
        self.busy_s = self.busy_at = self.share = 0.0
        self.mean_active: float | None = None
        super().__init__(plant)
        plant.after(0.01, self._read)
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
        before = self.inflight
        super()._next()
        if self.inflight > before == 0:
            self.busy_at = self.plant.now

    def took(self, rows: float, seconds: float) -> float:
        if not self.inflight:
            self.busy_s += self.plant.now - self.busy_at
        self.bucket = charged(self.bucket, self.state.u, self.plant.now, seconds)
        self.sizes.took(rows, seconds, 0.02 * law.statement_share(self.state, self.impact))
        return 0.0

    def _read(self) -> None:
        own = self.inflight > 0

        def done(seconds: float) -> None:
            noise = self.chance.expovariate(1 / NOISE_S) if self.chance.random() < NOISY else 0.0
            felt = CANARY_S if self.canary_alone else seconds
            self.tails.add(self.clock, (felt + noise) * 1000, own=own or self.inflight > 0)

        self.plant.submit(CANARY_S, "canary", done)
        close = self.inflight and self.state.u < 0.3
        self.plant.after(0.005 if close else 0.02, self._read)

    def _tick(self) -> None:
        now = self.clock
        self.mean_active = (
            self.active if self.mean_active is None else self.mean_active + 0.05 * (self.active - self.mean_active)
        )
        self.share += 0.1 * (min(self.busy_s / 0.5, 1.0) - self.share)
        self.busy_s = 0.0
        values: dict[str, float | None] = {"canary, ms": 1.0}
        values["active a core"] = 0.1 if self.frozen else self.active / CORES
        self.signals = observed(self.signals, MARKS, values, now)
        self.impact = self.tails.impact(
            now, busy=self.share, budget=BUDGET, scale_ms=1000 * TAIL_OF_MEAN * (MEAN_S + 0.2 * COMMIT_S)
        )
        before = self.state
        seen = law.Seen(
            health=worst(self.signals, MARKS, now, 0.0),
            impact=self.impact,
            fresh=self.tails.count(before.changed_at),
            room=CORES - 1 - self.mean_active,
        )
        self.state = law.tick(law.Limits(most=max(CORES - 1, 1)), before, seen, now)
        if before.mode is law.Mode.DEGRADED and self.state.mode is not before.mode:
            self.tails.forget()
        elif workers(self.state.u) != workers(before.u):
            self.tails.forget_own()
        self.trace.append((self.plant.now, self.state.u, self.state.mode))
        self.plant.after(0.5, self._tick)


Make = Callable[[Plant], Background]
BASELINES: dict[str, Make] = {
    "one unpaced worker": Unpaced,
    "four unpaced workers": lambda plant: Unpaced(plant, 4),
    "fixed 1,000 rows + 0.1 s": Fixed,
    "Synapse rule": Synapse,
    "GitLab optimiser + hold": GitLab,
    "gh-ost rule": Ghost,
    "AIMD on own latency": Aimd,
    "Gradient2 on own latency": Gradient2,
}


def course(
    make: Make | None, load: Callable[[float], float], until: float, faults: Callable[[Plant], None] | None = None
):
    """What became of foreground and background."""
    plant = Plant(CORES)
    foreground = Foreground(plant, load, MEAN_S)
    background = None if make is None else make(plant)
    if background is not None:

        def look() -> None:
            background.active += 0.07 * (plant.running["fg"] - background.active)
            plant.after(0.1, look)

        look()
    if faults is not None:
        faults(plant)
    plant.run(until)
    return foreground, background


def quantiles(foreground: Foreground, begin: float, end: float) -> list[float]:
    ms = sorted(took * 1000 for at, took in foreground.taken if begin <= at < end)
    return [percentile(ms, q) for q in (0.5, 0.95, 0.99)]


def line(name: str, alone: list[float], beside: list[float], rows: float, more: str = "") -> None:
    times = " / ".join(f"{b / a:.2f}" for a, b in zip(alone, beside, strict=True))
    print(f"| {name} | x {times} | {rows:,.0f} | {more} |")


def steady(share: float, makes: dict[str, Make], until: float = 40.0, begin: float = 20.0) -> None:
    alone, _ = course(None, lambda _: share, until)
    base = quantiles(alone, begin, until)
    for name, make in makes.items():
        foreground, background = course(make, lambda _: share, until)
        u = [u for at, u, _ in background.trace if at >= begin]
        more = f"u {sum(u) / len(u):.2f}" if u else ""
        line(f"{share:.0%}, {name}", base, quantiles(foreground, begin, until), background.rate(begin, until), more)


def fixed(u: float, statement_s: float) -> Make:
    return lambda plant: FixedU(plant, u, statement_s)


def calibration() -> None:
    """The rows of the real server's table (docs/BENCHMARKS.md, pacing)."""
    print("\n| load, background | x p50 / p95 / p99 | rows/s | |\n|---|---|---|---|")
    steady(
        0.1,
        {name: BASELINES[name] for name in ("one unpaced worker", "four unpaced workers", "fixed 1,000 rows + 0.1 s")},
    )
    steady(0.5, {f"U={u} T={t * 1000:g}": fixed(u, t) for u in (0.3, 0.6, 1.0) for t in (0.005, 0.02, 0.2)})


def comparison() -> None:
    print("\n| load, background | x p50 / p95 / p99 | rows/s | |\n|---|---|---|---|")
    for share in (0.1, 0.2, 0.5, 0.8):
        steady(share, {"governor": Governor, **BASELINES}, until=60.0, begin=35.0)


def burst() -> None:
    """40 %, from 60 s to 85 s 80 %."""

    def load(now: float) -> float:
        return 0.8 if 60 <= now < 85 else 0.4

    print("\n| burst, part | x p50 / p95 / p99 | rows/s | |\n|---|---|---|---|")
    alone, _ = course(None, load, 120.0)
    foreground, governor = course(Governor, load, 120.0)
    for name, begin, end in [
        ("before", 40, 60),
        ("its first 10 s", 60, 70),
        ("its rest", 70, 85),
        *((f"{at - 85} s after", at, at + 5) for at in (85, 90, 95, 100)),
    ]:
        line(name, quantiles(alone, begin, end), quantiles(foreground, begin, end), governor.rate(begin, end))


def faults() -> None:
    """What goes wrong, and what the others feel of it: 30 % of load, 120 s."""

    def convoy(plant: Plant) -> None:
        plant.at(60, lambda: setattr(plant, "slow", 20.0))
        plant.at(63, lambda: setattr(plant, "slow", 1.0))

    def checkpoints(plant: Plant) -> None:
        for at in range(20, 120, 20):
            plant.at(at, lambda: setattr(plant, "slow", 3.0))
            plant.at(at + 2, lambda: setattr(plant, "slow", 1.0))

    cases: dict[str, tuple[Make, Callable[[Plant], None] | None]] = {
        "none": (Governor, None),
        "lock convoy of 3 s": (Governor, convoy),
        "checkpoint each 20 s": (Governor, checkpoints),
        "health signals that lie": (lambda plant: Governor(plant, frozen=True), None),
        "clock that jumps by an hour and back": (lambda plant: Governor(plant, jumps=True), None),
        "canary on a table that feels nothing": (lambda plant: Governor(plant, canary_alone=True), None),
    }
    print("\n| fault | x p50 / p95 / p99 | rows/s | |\n|---|---|---|---|")
    for name, (make, fault) in cases.items():
        alone, _ = course(None, lambda _: 0.3, 120.0, fault)
        foreground, governor = course(make, lambda _: 0.3, 120.0, fault)
        least = min(
            governor.bucket.spent_s,
            *(sum(u * 0.5 for at, u, _ in governor.trace if begin <= at < begin + 60) for begin in range(0, 60, 10)),
        )
        modes = sorted({mode for _, _, mode in governor.trace})
        more = f"{', '.join(modes)}; least in 60 s: {least:.1f} busy-s"
        line(name, quantiles(alone, 30, 120), quantiles(foreground, 30, 120), governor.rate(30, 120), more)


def plot(path: Path) -> None:
    """Goodput against p95 at 50 %."""
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError:
        sys.exit("a plot needs matplotlib: pip install matplotlib")
    base = quantiles(course(None, lambda _: 0.5, 40.0)[0], 20, 40)

    def point(make: Make, until: float = 40.0) -> tuple[float, float]:
        foreground, background = course(make, lambda _: 0.5, until)
        return quantiles(foreground, until - 20, until)[1] / base[1], background.rate(until - 20, until)

    _, axes = pyplot.subplots(figsize=(8, 5))
    swept = [point(fixed(u, 0.02)) for u in (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)]
    axes.plot(*zip(*swept, strict=True), marker=".", label="fixed U, 20 ms")
    for name, make in {"governor": Governor, **BASELINES}.items():
        x, y = point(make, 60.0)
        axes.scatter(x, y, label=name, s=80 if name == "governor" else 30)
    axes.set(xlabel="p95 of the foreground, times alone", ylabel="rows/s", xscale="log", yscale="log")
    axes.legend()
    pyplot.savefig(path)


SCENARIOS = {"calibration": calibration, "steady": comparison, "burst": burst, "faults": faults}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=SCENARIOS, help="only this one")
    parser.add_argument("--plot", type=Path, help="draw the plane of goodput and p95 at 50 % into this file")
    asked = parser.parse_args()
    if asked.plot:
        plot(asked.plot)
        return
    for name in [asked.scenario] if asked.scenario else SCENARIOS:
        SCENARIOS[name]()


if __name__ == "__main__":
    main()
