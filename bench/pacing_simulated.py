"""The pacing policy and what other tools do, on a server that does not exist: minutes of it in seconds.

    python bench/pacing_simulated.py                   # all of it, some minutes
    python bench/pacing_simulated.py --scenario burst  # one of: calibration, steady, burst, replica, faults
    python bench/pacing_simulated.py --seeds 20        # the governor at each load, as many times, each by other chances
    python bench/pacing_simulated.py --plot plane.svg  # the plane of rows and p95 at each load, and who is where on it

The policy is the product's (`trueup.core.pace`); only time, the database and the statements are simulated. What is
simulated is judged by the aims of `pacing.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

from _common import percentile
from _pacing_aims import least_in, reversals, slowed
from _pacing_aims import show as show_aims
from _pacing_backgrounds import Background, FixedU, Governor, Ruled
from _pacing_rules import RULES
from _plant import Foreground, Plant, Replica

from trueup.core.pace import governor as law

#: The plant: cores, what a transaction asks of them on average, seconds, and how many a second are 100 %.
CORES, MEAN_S, CAPACITY = 2, 0.00015, 12_000.0
SHARES = (0.1, 0.2, 0.5, 0.8)
#: What a replica copies, rows a second.
REPLICA_ROWS_PER_S = 60_000.0
HEAD = "| load, background | x p50 / p95 / p99 | rows/s | |\n|---|---|---|---|"

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
#: Of the rules in a plane, one after another.
MARKERS = "osD^v<>P"

Row = dict[str, Any]
Told = dict[str, list[Row]]
Make = Callable[[Plant, Foreground], Background]
BASELINES: dict[str, Make] = {name: partial(Ruled, kind=kind) for name, kind in RULES.items()}


def course(
    make: Make | None,
    load: Callable[[float], float],
    until: float,
    faults: Callable[[Plant], None] | None = None,
    seed: int = 1,
):
    """What became of foreground and background."""
    plant = Plant(CORES, seed)
    foreground = Foreground(plant, lambda now: load(now) * CAPACITY, MEAN_S)
    background = None if make is None else make(plant, foreground)
    if faults is not None:
        faults(plant)
    plant.run(until)
    return foreground, background


def line(name: str, alone: Row, beside: Row, more: str = "") -> None:
    times = " / ".join(f"{beside[q] / alone[q]:.2f}" for q in QUANTILES)
    print(f"| {name} | x {times} | {beside['rows_per_s']:,.0f} | {more} |", flush=True)


def felt(foreground: Foreground, background: Background | None, begin: float, end: float) -> Row:
    """What a part of a course amounts to."""
    ms = sorted(took * 1000 for at, took in foreground.taken if begin <= at < end)
    rows = 0.0 if background is None else background.rate(begin, end)
    return {**{q: percentile(ms, share) for q, share in QUANTILES.items()}, "rows_per_s": rows}


def governed(governor: Background, begin: float) -> Row:
    """What a governor did, and what it took its effect for."""
    points = [point for point in governor.trace if point[0] >= begin]
    if not points:
        return {}
    slowed = [slowed for *_, slowed in points if slowed is not None]
    return {
        "u": fmean(u for _, u, *_ in points),
        "believed": fmean(slowed) if slowed else None,
        "reversals_per_min": reversals([(at, u) for at, u, *_ in points]),
        "least_s": least_in(governor.granted),
        "promised_s": 60 * law.Limits().least,
    }


def in_words(row: Row) -> str:
    if "u" not in row:
        return ""
    believed = "-" if row["believed"] is None else f"x {1 + row['believed']:.2f}"
    return f"u {row['u']:.2f}, believed {believed}, {row['reversals_per_min']:.1f} reversals a minute"


@cache
def alone(share: float, begin: float, until: float) -> Row:
    """The foreground by itself; not to be changed."""
    return {"share": share, "kind": "", **felt(*course(None, lambda _: share, until), begin, until)}


def steady(share: float, makes: dict[str, Make], until: float = 40.0, begin: float = 20.0) -> list[Row]:
    """The foreground alone, and beside each."""
    base = alone(share, begin, until)
    rows = [base]
    for name, make in makes.items():
        foreground, background = course(make, lambda _: share, until)
        row = {"share": share, "kind": name, **felt(foreground, background, begin, until)}
        row |= governed(background, begin)
        ramp = [felt(foreground, None, at, at + 5)["p95"] for at in range(1, int(begin) - 4)]
        rows.append(row | {"ramp_p95": max(ramp, default=0.0)})
        line(f"{share:.0%}, {name}", base, row, in_words(row))
    return rows


def fixed(u: float, statement_s: float) -> Make:
    return partial(FixedU, u=u, statement_s=statement_s)


def calibration() -> Told:
    """The fixed loads that were measured beside a real server (docs/BENCHMARKS.md, pacing)."""
    print(f"\n{HEAD}")
    rows = []
    for share in SHARES:
        makes = {f"U={u} T=20": fixed(u, 0.02) for u in (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)}
        if share == 0.5:
            makes |= {f"U=0.35 T={t * 1000:g}": fixed(0.35, t) for t in (0.005, 0.1)}
        rows += steady(share, makes, until=20.0, begin=5.0)
    return {"frontier": rows}


def comparison() -> Told:
    print(f"\n{HEAD}")
    governors, baselines = [], []
    for share in SHARES:
        governors += steady(share, {"governor": Governor}, until=120.0, begin=45.0)
        steady(share, {"governor, the host not seen": partial(Governor, remote=True)}, until=60.0, begin=30.0)
        baselines += steady(share, BASELINES, until=20.0, begin=5.0)
    return {"governor": governors, "baselines": baselines}


def seeds(count: int, shares: Sequence[float]) -> None:
    """The governor at each load, as long as beside a real server: means over as many courses of events."""
    print("\n| load | u | rows/s | x p95: mean / most | believed | ramp | reversals a minute: mean / most |")
    print("|---|---|---|---|---|---|---|")
    for share in shares:
        rows = [_by_chance(share, seed) for seed in range(1, count + 1)]
        mean = {name: fmean(row[name] or 0.0 for row in rows) for name in rows[0]}
        most = {name: max(row[name] for row in rows) for name in ("times", "reversals_per_min")}
        print(
            f"| {share:.0%} | {mean['u']:.2f} | {mean['rows']:,.0f} | {mean['times']:.2f} / {most['times']:.2f} "
            f"| {1 + mean['believed']:.2f} | {mean['ramp']:.2f} "
            f"| {mean['reversals_per_min']:.2f} / {most['reversals_per_min']:.1f} |",
            flush=True,
        )


def _by_chance(share: float, seed: int) -> Row:
    base, governor = (course(make, lambda _: share, 95.0, seed=seed) for make in (None, Governor))
    alone, beside = (felt(*each, 30.0, 94.0) for each in (base, governor))
    ramp = max(felt(governor[0], None, at, at + 5)["p95"] for at in range(1, 26))
    told = {"times": beside["p95"] / alone["p95"], "ramp": ramp / beside["p95"], "rows": beside["rows_per_s"]}
    return told | governed(governor[1], 30.0)


def burst() -> Told:
    """40 %, from 60 s to 85 s 80 %."""

    def load(now: float) -> float:
        return 0.8 if 60 <= now < 85 else 0.4

    print("\n| burst, part | x p50 / p95 / p99 | rows/s | |\n|---|---|---|---|")
    rows = []
    by_itself, _ = course(None, load, 120.0)
    foreground, governor = course(Governor, load, 120.0)
    for part, begin, end in [
        ("before", 40, 60),
        ("burst, first 10 s", 60, 70),
        ("burst, then", 70, 85),
        *((f"{at - 85} s after", at, at + 5) for at in (86, 91, 96, 101)),
    ]:
        base = {"share": 0.4, "kind": "", "part": part, **felt(by_itself, None, begin, end)}
        row = {"share": 0.4, "kind": "governor", "part": part, **felt(foreground, governor, begin, end)}
        rows += [base, row | governed(governor, 0.0)]
        line(part, base, row)
    return {"burst": rows}


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
        base = felt(*course(None, lambda _: 0.3, 120.0, fault), 30, 120)
        foreground, governor = course(make, lambda _: 0.3, 120.0, fault)
        modes = sorted({mode for _, _, mode, _ in governor.trace})
        more = f"{', '.join(modes)}; least in 60 s: {least_in(governor.granted):.1f} busy-s"
        line(name, base, felt(foreground, governor, 30, 120), more)


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


def plot(path: Path, told: Told) -> None:
    """Rows against p95, a plane for each load."""
    try:
        from matplotlib import pyplot, ticker
    except ModuleNotFoundError:
        sys.exit("a plot needs matplotlib: pip install matplotlib")
    figure, planes = pyplot.subplots(2, 2, figsize=(11, 9), sharey=True, layout="constrained")
    for axes, share in zip(planes.flat, SHARES, strict=True):

        def points(part: str, share: float = share) -> list[tuple[str, float, float]]:
            rows = [row for row in told[part] if row["share"] == share]
            return [(row["kind"], slowed(row, rows[0]), row["rows_per_s"]) for row in rows[1:]]

        swept = [point for point in points("frontier") if point[0].endswith("T=20")]
        _, times, rows = zip(*swept, strict=True)
        axes.plot(times, rows, color="0.6", marker=".", label="fixed U, statements of 20 ms", zorder=1)
        for kind, *at in swept:
            axes.annotate(kind.split()[0], at, xytext=(5, -9), textcoords="offset points", fontsize=7, color="0.5")
        axes.axvline(1 + Governor.BUDGET, color="0.8", linestyle="--", zorder=0, label="the governor's budget")
        for at, (kind, times, rows) in enumerate(points("baselines")):
            axes.scatter(times, rows, label=kind, marker=MARKERS[at], s=45, zorder=2)
        for _, times, rows in points("governor"):
            axes.scatter(times, rows, label="governor", color="black", marker="*", s=160, zorder=3)
        axes.set(xscale="log", yscale="log", title=f"{share:.0%} of load")
        subs = (1, 2, 5) if axes.get_xlim()[1] < 200 else (1,)
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=subs, numticks=12))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(ticker.NullFormatter())
        axes.grid(color="0.93")
        axes.set_axisbelow(True)
    handles, labels = planes.flat[0].get_legend_handles_labels()
    figure.supxlabel("p95 of the foreground, times alone (less is better)")
    figure.supylabel("rows a second (more is better)")
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    pyplot.savefig(path)


SCENARIOS: dict[str, Callable[[], Told | None]] = {
    "calibration": calibration,
    "steady": comparison,
    "burst": burst,
    "replica": replica,
    "faults": faults,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=SCENARIOS, help="only this one")
    parser.add_argument("--seeds", type=int, help="only the governor, so many times at each load")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="loads of --seeds (%(default)s)")
    parser.add_argument("--plot", type=Path, help="calibration and steady, and draw what came of them into this file")
    asked = parser.parse_args()
    if asked.seeds:
        seeds(asked.seeds, asked.shares)
        return
    told: Told = {}
    chosen = ("calibration", "steady") if asked.plot else [asked.scenario] if asked.scenario else SCENARIOS
    for name in chosen:
        told |= SCENARIOS[name]() or {}
    if told:
        show_aims(told)
    if asked.plot:
        plot(asked.plot, told)


if __name__ == "__main__":
    main()
