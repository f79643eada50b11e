"""The pacing policy and what other tools do, on a server that does not exist: minutes of it in seconds.

    python bench/pacing_simulated.py                   # all of it, some minutes
    python bench/pacing_simulated.py --scenario burst  # one of: calibration, steady, burst, replica, faults
    python bench/pacing_simulated.py --plot plane.svg  # goodput against p95 at 50 %, governor and baselines on it

The policy is the product's (`trueup.core.pace`); only time, the database and the statements are simulated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from _common import percentile
from _pacing_aims import reversals
from _pacing_backgrounds import Background, FixedU, Governor, Ruled
from _pacing_rules import RULES
from _plant import Foreground, Plant, Replica

#: The plant: cores, what a transaction asks of them on average, seconds, and how many a second are 100 %.
CORES, MEAN_S, CAPACITY = 2, 0.00015, 12_000.0
SHARES = (0.1, 0.2, 0.5, 0.8)
#: What a replica copies, rows a second.
REPLICA_ROWS_PER_S = 60_000.0
HEAD = "| load, background | x p50 / p95 / p99 | rows/s | |\n|---|---|---|---|"

Make = Callable[[Plant, Foreground], Background]
BASELINES: dict[str, Make] = {name: partial(Ruled, kind=kind) for name, kind in RULES.items()}


def course(
    make: Make | None, load: Callable[[float], float], until: float, faults: Callable[[Plant], None] | None = None
):
    """What became of foreground and background."""
    plant = Plant(CORES)
    foreground = Foreground(plant, lambda now: load(now) * CAPACITY, MEAN_S)
    background = None if make is None else make(plant, foreground)
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


def told(trace: list[tuple[float, float, str, float | None]]) -> str:
    """What a governor did, and what it took its effect for."""
    if not trace:
        return ""
    slowed = [1 + slowed for *_, slowed in trace if slowed is not None]
    turns = reversals([(at, u) for at, u, *_ in trace])
    believed = f"x {sum(slowed) / len(slowed):.2f}" if slowed else "-"
    return f"u {sum(u for _, u, *_ in trace) / len(trace):.2f}, believed {believed}, {turns:.1f} reversals a minute"


def steady(share: float, makes: dict[str, Make], until: float = 40.0, begin: float = 20.0) -> None:
    alone, _ = course(None, lambda _: share, until)
    base = quantiles(alone, begin, until)
    for name, make in makes.items():
        foreground, background = course(make, lambda _: share, until)
        beside = quantiles(foreground, begin, until)
        more = told([point for point in background.trace if point[0] >= begin])
        line(f"{share:.0%}, {name}", base, beside, background.rate(begin, until), more)


def fixed(u: float, statement_s: float) -> Make:
    return partial(FixedU, u=u, statement_s=statement_s)


def calibration() -> None:
    """The fixed loads that were measured beside a real server (docs/BENCHMARKS.md, pacing)."""
    print(f"\n{HEAD}")
    for share in SHARES:
        steady(share, {f"U={u} T=20": fixed(u, 0.02) for u in (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)}, until=20.0, begin=4.0)
    steady(0.5, {f"U=0.35 T={t * 1000:g}": fixed(0.35, t) for t in (0.005, 0.1)}, until=20.0, begin=4.0)


def comparison() -> None:
    print(f"\n{HEAD}")
    for share in SHARES:
        steady(share, {"governor": Governor}, until=120.0, begin=45.0)
        steady(share, {"governor, the host not seen": partial(Governor, remote=True)}, until=60.0, begin=30.0)
        steady(share, BASELINES, until=20.0, begin=5.0)


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
        "signals that do not move": (partial(Governor, frozen=True), None),
        "clock that jumps by an hour and back": (partial(Governor, jumps=True), None),
        "canary on a table that feels nothing": (partial(Governor, canary_alone=True), None),
        "a signal that lies: always too much": (partial(Governor, lies=True), None),
        "readings given up for 30 s": (partial(Governor, deaf=True), None),
        "a replica that joins, five hours behind": (partial(Governor, replica=joined), None),
    }
    print("\n| fault | x p50 / p95 / p99 | rows/s | |\n|---|---|---|---|")
    for name, (make, fault) in cases.items():
        alone, _ = course(None, lambda _: 0.3, 120.0, fault)
        foreground, governor = course(make, lambda _: 0.3, 120.0, fault)
        least = min(
            governor.bucket.spent_s,
            *(sum(u * 0.5 for at, u, *_ in governor.trace if begin <= at < begin + 60) for begin in range(0, 60, 10)),
        )
        modes = sorted({mode for _, _, mode, _ in governor.trace})
        more = f"{', '.join(modes)}; least in 60 s: {least:.1f} busy-s"
        line(name, quantiles(alone, 30, 120), quantiles(foreground, 30, 120), governor.rate(30, 120), more)


def joined(plant: Plant) -> Replica:
    return Replica(plant, REPLICA_ROWS_PER_S, behind_rows=5 * 3600 * REPLICA_ROWS_PER_S)


def replica() -> None:
    """All that we do is a write, and the replica copies less than we could write: how far is it behind?"""
    print("\n| replica, background | rows/s | of what it copies | behind, s: mean / most |\n|---|---|---|---|")
    makes: dict[str, Callable[..., Governor]] = {
        "governor": Governor,
        "governor that does not see it": partial(Governor, blind=True),
    }
    for name, make in makes.items():
        _, background = course(
            partial(make, replica=lambda plant: Replica(plant, REPLICA_ROWS_PER_S)), lambda _: 0.1, 180.0
        )
        lags = [lag for at, lag in background.replica.looked if at >= 60]
        rows = background.rate(60, 180)
        part = rows / REPLICA_ROWS_PER_S
        print(f"| {name} | {rows:,.0f} | {part:.0%} | {sum(lags) / len(lags):.2f} / {max(lags):.2f} |")


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


SCENARIOS = {
    "calibration": calibration,
    "steady": comparison,
    "burst": burst,
    "replica": replica,
    "faults": faults,
}


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
