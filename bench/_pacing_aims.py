"""What is asked of the governor, and whether figures hold it: for `pacing.py` and `pacing_simulated.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log
from typing import Any

#: What of the fixed loads' rows is asked at the same p95, and of one unpaced worker's at little load.
OF_FRONTIER, OF_UNPACED = 0.8, 0.75
#: How much slower p95 may be at little load, at half load, in the ramp against the steady part, and in a burst.
LITTLE, HALF, RAMP, BURST = 1.15, 1.5, 1.5, 1.1
#: By what factor it may be mistaken about its effect; turns of the load a minute; times the rows of a fixed batch.
MISTAKEN, REVERSALS, TIMES = 1.5, 1.0, 10
#: What of the rows is asked for again after a burst.
BACK = 0.8
#: Names of what the governor is held against.
UNPACED, FIXED_BATCH = "one unpaced worker", "fixed 1,000 rows + 0.1 s"

Row = dict[str, Any]


def reversals(points: Sequence[tuple[float, float]]) -> float:
    """Turns of the load by a quarter of its mean or more, a minute; `points`: seconds, load."""
    if len(points) < 4:
        return 0.0
    us = [u for _, u in points]
    step, turns, way, mark = 0.25 * sum(us) / len(us), 0, 0, us[0]
    for u in us[1:]:
        if u > mark + step:
            turns, way, mark = turns + (way < 0), 1, u
        elif u < mark - step:
            turns, way, mark = turns + (way > 0), -1, u
        elif way > 0:
            mark = max(mark, u)
        elif way < 0:
            mark = min(mark, u)
    return turns * 60 / (points[-1][0] - points[0][0])


def slowed(row: Row, alone: Row) -> float:
    """How many times as long p95 is."""
    return float(row["p95"] / alone["p95"]) if alone["p95"] else 0.0


def on_frontier(points: Sequence[tuple[float, float]], times: float) -> float | None:
    """Rows a second of a fixed load with this p95, between the measured ones; None: none is that gentle."""
    best: list[tuple[float, float]] = []
    for at, rows in sorted(points):
        if not best or rows > best[-1][1]:
            best.append((at, rows))
    gentler = [point for point in best if point[0] <= times]
    if not gentler:
        return None
    (low, less), rest = gentler[-1], best[len(gentler) :]
    if not rest:
        return less
    high, more = rest[0]
    part = log(times / low) / log(high / low)
    return exp(log(less) + part * (log(more) - log(less)))


def judged(told: dict[str, Any]) -> Iterator[tuple[str, str, bool]]:
    """Each aim, what was measured, and whether it holds; of the parts that were measured."""
    cells = {part: rows for part, rows in told.items() if part != "max_tps"}
    alone = {part: {row["share"]: row for row in rows if not row["kind"]} for part, rows in cells.items()}
    governors = {row["share"]: row for row in told.get("governor", []) if row["kind"]}
    for share, row in governors.items():
        times, rows = slowed(row, alone["governor"][share]), row["rows_per_s"]
        yield from _of_load(told, alone, share, row, times)
        believed = 1 + (row.get("believed") or 0.0)
        off = max(believed / times, times / believed) if times else 0.0
        what = f"{share:.0%}: what it believes within x {MISTAKEN} of what was seen"
        yield what, f"x {believed:.2f} and x {times:.2f}: {off:.1f}", off <= MISTAKEN
        turns = row["reversals_per_min"]
        yield f"{share:.0%}: reversals a minute at most {REVERSALS:g}", f"{turns:.1f}", turns <= REVERSALS
        ramp = row["ramp_p95"] / row["p95"] if row["p95"] else 0.0
        yield f"{share:.0%}: no 5 s of the ramp beyond x {RAMP} of the steady p95", f"x {ramp:.2f}", ramp <= RAMP
        better = [
            other["kind"]
            for other in told.get("baselines", [])
            if other["kind"] and other["share"] == share and other["rows_per_s"] > rows
            if slowed(other, alone["baselines"][share]) < times
        ]
        if "baselines" in told:
            yield f"{share:.0%}: no other rule is better in rows and p95", ", ".join(better) or "none", not better
    yield from _of_burst(told.get("burst", []))


def _of_load(
    told: dict[str, Any], alone: dict[str, dict[float, Row]], share: float, row: Row, times: float
) -> Iterator[tuple[str, str, bool]]:
    rows = row["rows_per_s"]
    others = {other["kind"]: other["rows_per_s"] for other in told.get("baselines", []) if other["share"] == share}
    swept = [other for other in told.get("frontier", []) if other["share"] == share and other["kind"]]
    points = [(slowed(other, alone["frontier"][share]), other["rows_per_s"]) for other in swept]
    known = on_frontier([point for point in points if point[0] > 0], times) if points else None
    if known:
        what = f"{share:.0%}: {OF_FRONTIER:.0%} of the rows of a fixed load with the same p95"
        yield what, f"{rows / known:.0%}", rows >= OF_FRONTIER * known
    if share <= 0.2:
        yield f"{share:.0%}: p95 at most x {LITTLE}", f"x {times:.2f}", times <= LITTLE
        if UNPACED in others:
            part = rows / others[UNPACED]
            yield f"{share:.0%}: {OF_UNPACED:.0%} of the rows of {UNPACED}", f"{part:.0%}", part >= OF_UNPACED
    elif share <= 0.5:
        yield f"{share:.0%}: p95 at most x {HALF}", f"x {times:.2f}", times <= HALF
        if FIXED_BATCH in others:
            as_many = rows / others[FIXED_BATCH]
            yield f"{share:.0%}: {TIMES} times the rows of {FIXED_BATCH}", f"{as_many:.1f}", as_many >= TIMES


def _of_burst(parts: Sequence[Row]) -> Iterator[tuple[str, str, bool]]:
    alone = {row["part"]: row for row in parts if not row["kind"]}
    ours = {row["part"]: row for row in parts if row["kind"]}
    if "burst, then" not in ours:
        return
    times = slowed(ours["burst, then"], alone["burst, then"])
    yield f"burst: p95 after 10 s within x {BURST} of the burst alone", f"x {times:.2f}", times <= BURST
    after = next(row for part, row in ours.items() if part.startswith("11 s"))
    back = after["rows_per_s"] / max(ours["before"]["rows_per_s"], 1.0)
    yield f"burst: {BACK:.0%} of the rows again 10 s after its end", f"{back:.0%}", back >= BACK


def show(told: dict[str, Any]) -> None:
    """A table of the aims."""
    print("\n## aims\n\n| aim | measured | |\n|---|---|---|")
    for aim, measured, holds in judged(told):
        print(f"| {aim} | {measured} | {'held' if holds else 'missed'} |")
