"""What is asked of the governor, and whether figures hold it: for `pacing.py`, its MariaDB, and `pacing_simulated.py`.

The guaranteed minimum is judged by what was granted, and not by what was spent: nothing is spent where nothing waits,
in common rests, and between two runs, and the governor is not to blame for that. What was spent is told beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, log
from typing import Any

from trueup.core.pace.effective import of_tail
from trueup.pace.pacing import PROTECT

#: What of the fixed loads' rows is asked at the same p95, and of one unpaced worker's at little load.
OF_FRONTIER, OF_UNPACED = 0.8, 0.75
#: How much slower p95 may be at little load, at half load, in the ramp against the steady part, and in a burst.
LITTLE, HALF, RAMP, BURST = 1.15, 1.5, 1.5, 1.1
#: By what factor it may be mistaken about its effect; turns of the load a minute; times the rows of a fixed batch.
MISTAKEN, REVERSALS, TIMES = 1.5, 1.0, 10
#: What of the rows is asked for again after a burst.
BACK = 0.8
#: Of the guaranteed minimum, what sampling may miss; of a core, what sensor and law may cost, here and in the server.
GRANTED, SENSOR = 0.999, 0.01
#: Seconds until nothing more runs after a stop or a pause, besides one statement.
STOPPED_S = 1.0
#: Of the budget, what may be in flight, given that only samples are counted; seconds until another one decides.
IN_FLIGHT, TAKEN_OVER_S = 1.02, 9.0
#: Of the load that was known to be good, what is known after the one that decided was killed.
KNOWN = 0.75
#: Names of what the governor is held against.
UNPACED, FIXED_BATCH = "one unpaced worker", "fixed 1,000 rows + 0.1 s"

#: What the budget lets p95 be, by default, as a multiple of it alone.
ALLOWED = 1 + of_tail(PROTECT)
#: How a rule stands beside the governor.
BEATEN, NEITHER, BETTER = "beaten", "neither", "better"
#: Parts that are read load by load.
SWEPT = ("frontier", "governor", "baselines")

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


def least_in(points: Sequence[tuple[float, float]], window_s: float = 60.0) -> float | None:
    """Least that a total grew by in any so many seconds; `points`: seconds, total. None: not seen for so long."""
    least, until = None, 0
    for begin, total in points:
        while until < len(points) and points[until][0] < begin + window_s:
            until += 1
        if until == len(points):
            break
        end, more = points[until]
        grown = (more - total) * window_s / (end - begin)
        least = grown if least is None else min(least, grown)
    return least


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
    alone = {part: {row["share"]: row for row in told.get(part, []) if not row["kind"]} for part in SWEPT}
    governors = {row["share"]: row for row in told.get("governor", []) if row["kind"]}
    for share, row in governors.items():
        times = slowed(row, alone["governor"][share])
        yield from _of_load(told, alone, share, row, times)
        believed = 1 + (row.get("believed") or 0.0)
        off = max(believed / times, times / believed) if times else 0.0
        what = f"{share:.0%}: what it believes within x {MISTAKEN} of what was seen"
        yield what, f"x {believed:.2f} and x {times:.2f}: {off:.1f}", off <= MISTAKEN
        turns = row["reversals_per_min"]
        yield f"{share:.0%}: reversals a minute at most {REVERSALS:g}", f"{turns:.1f}", turns <= REVERSALS
        ramp = row["ramp_p95"] / row["p95"] if row["p95"] else 0.0
        yield f"{share:.0%}: no 5 s of the ramp beyond x {RAMP} of the steady p95", f"x {ramp:.2f}", ramp <= RAMP
        yield from _of_promises(f"{share:.0%}", row)
    for share in governors if told.get("baselines") else ():
        better = [kind for load, kind, verdict, _ in against(told) if load == share and verdict == BETTER]
        yield f"{share:.0%}: no other rule is better in rows and p95", ", ".join(better) or "none", not better
    yield from _of_burst(told.get("burst", []))
    for row in told.get("stop", []):
        most = STOPPED_S + row["statement_s"]
        what = f"{row['way']} in the middle of {row['middle']}: nothing runs after {STOPPED_S:g} s and one statement"
        yield what, f"{row['took_s']:.2f} s, {row['statement_s']:.2f} of them one statement", row["took_s"] <= most
    yield from _of_shared(told.get("shared", []))


def against(told: dict[str, Any]) -> Iterator[tuple[float, str, str, str]]:
    """Load, rule, how the governor stands beside it, and why."""
    alone = {part: {row["share"]: row for row in told.get(part, []) if not row["kind"]} for part in SWEPT}
    for ours in told.get("governor", []):
        for other in told.get("baselines", []):
            if not ours["kind"] or not other["kind"] or other["share"] != ours["share"]:
                continue
            share = ours["share"]
            times, theirs = slowed(ours, alone["governor"][share]), slowed(other, alone["baselines"][share])
            rows = ours["rows_per_s"] / max(other["rows_per_s"], 1.0)
            verdict, why = _beside(rows, times, theirs)
            much = f"{rows:.1f} times" if rows >= 1 else f"{rows:.0%} of"
            felt = " and it ".join(f"x {each:.2f}" if each < 100 else f"x {each:,.0f}" for each in (times, theirs))
            yield share, other["kind"], verdict, f"{why}: {much} its rows, p95 {felt}"


def _beside(rows: float, times: float, theirs: float) -> tuple[str, str]:
    """Who slows the others beyond the budget, and more than the governor, is no choice, whatever gets done."""
    if times <= theirs:
        if rows >= 1:
            return BEATEN, "in both"
        return (BEATEN, f"beyond the budget of x {ALLOWED:g}") if theirs > ALLOWED else (NEITHER, "more rows, slower")
    return (NEITHER, "gentler, fewer rows") if rows >= 1 else (BETTER, "in both")


def _of_promises(where: str, row: Row) -> Iterator[tuple[str, str, bool]]:
    if row.get("least_s") is not None:
        spent = "" if row.get("least_spent_s") is None else f" ({row['least_spent_s']:.2f} spent)"
        told = f"{row['least_s']:.2f} of {row['promised_s']:.2f} s{spent}"
        what = f"{where}: in any minute the guaranteed minimum is granted"
        yield what, told, row["least_s"] >= GRANTED * row["promised_s"]
    if row.get("thread_share") is not None:
        here, there = row["thread_share"], row["session_share"] or 0.0
        what = f"{where}: sensor, law and lease below {SENSOR:.0%} of a core"
        yield what, f"{here:.2%} here, {f'{there:.2%}' if there else 'not told'} in the server", here + there < SENSOR


def _of_shared(rows: Sequence[Row]) -> Iterator[tuple[str, str, bool]]:
    for row in rows:
        if row["what"] == "one ledger":
            told = f"{row['in_flight']:.3f} of {row['budget']:.3f}"
            within = row["in_flight"] <= IN_FLIGHT * row["budget"]
            yield "two processes of two projections: no more in flight than the budget", told, within
        elif "in_flight" in row:
            told, beyond = f"{row['in_flight']:.3f} of {row['budget']:.3f}", row["in_flight"] > row["budget"]
            yield "the control: with a ledger each, more than one budget is seen", told, beyond
        elif row["after_s"] is None:
            yield f"{row['what']}: another one decides within {TAKEN_OVER_S:g} s", "none", False
        else:
            told = f"{row['after_s']:.1f} s"
            yield f"{row['what']}: another one decides within {TAKEN_OVER_S:g} s", told, row["after_s"] <= TAKEN_OVER_S
            modes = ", ".join(dict.fromkeys(row["modes"]))
            yield f"{row['what']}: it begins in recovery", modes, row["modes"][0] == "recovery"
            before, after = row["good"]
            what = f"{row['what']}: what was learnt is known"
            yield what, f"{before:.2f}, then {after:.2f}", 0 < KNOWN * before <= after


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
    yield from _of_promises("burst", list(ours.values())[-1])


def show(told: dict[str, Any]) -> None:
    """The other rules beside the governor, and a table of the aims."""
    if rules := list(against(told)):
        print("\n## the governor beside other rules\n\n| load | rule | | why; the governor has |\n|---|---|---|---|")
        for share, kind, verdict, why in rules:
            print(f"| {share:.0%} | {kind} | {verdict} | {why} |")
    print("\n## aims\n\n| aim | measured | |\n|---|---|---|")
    for aim, measured, holds in judged(told):
        print(f"| {aim} | {measured} | {'held' if holds else 'missed'} |")
