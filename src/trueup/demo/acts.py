"""The acts of the story: each does something for real and returns its figures and the promises it has checked.

The engine is used as a user would use it: through `trueup.load`, or as a process. The fault list and the judge
are used only here, to count; the engine never sees them.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from trueup.app import Trueup, load
from trueup.core.decide import Action
from trueup.core.states import Outcome
from trueup.demo.faults import KINDS, Fault
from trueup.demo.judge import destroyed
from trueup.demo.naive import recount_plainly
from trueup.demo.promises import Promise
from trueup.demo.schema import AIRCRAFT, PROJECTIONS, Key, Projection, RowId, load_flights
from trueup.demo.stage import LOOK_S, SETTLE_S, Stage, Standstill
from trueup.report import Report

T = TypeVar("T")

#: Seconds the acts wait for the traffic to bring about what they are to show, at most.
PATIENCE_S = 60.0
#: A plan is carried out when so many departures have passed and so many of its rows have moved on, at least.
PASSED_MIN = 100
MOVED_MIN = 3
#: Folder of the copy for the plain recount.
PLAIN = "plain"
#: Departures that pass before and after the plain recount.
NAIVE_AROUND = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """The figures of one act, as JSON will have them, and the promises it checked."""

    figures: dict[str, Any]
    promises: tuple[Promise, ...] = ()


# --- 1. set-up ---------------------------------------------------------------------------------------------------


def set_up(stage: Stage, *, naive: bool) -> Scene:
    """Load the history, start the traffic, and wait until the replay has made its mistakes too."""
    prepared = stage.prepare()
    if naive:
        stage.copy(PLAIN)
    stage.start_traffic()
    pace = stage.pace
    wanted = prepared.faults + pace.live_faults
    stage.wait_until(lambda: len(stage.faults()) >= wanted, seconds=pace.fault_window_s + PATIENCE_S)
    faults = stage.faults()
    by_kind = Counter((fault.kind, fault.projection) for fault in faults)
    figures = {
        "month": len(load_flights()),
        "loaded": prepared.departures,
        "rate_per_s": pace.rate_per_s,
        "rows": {p.name: int(stage.ask(f"SELECT count(*) FROM {p.name}")[0][0]) for p in PROJECTIONS},
        "mistakes": len(faults),
        "live_mistakes": sum(fault.phase == "live" for fault in faults),
        "mistakes_by_kind": {kind: {p.name: by_kind[kind, p.name] for p in PROJECTIONS} for kind in KINDS},
    }
    return Scene(figures=figures)


# --- 2. check ----------------------------------------------------------------------------------------------------


def check(stage: Stage) -> Scene:
    """Find drift under traffic, and count what was found against the list and the judge."""
    with Standstill(stage) as stood, Engines(stage) as engines:
        looking = {p.name: engines.start(partial(_checked, stage, p)) for p in PROJECTIONS}
        figures = {name: found.result() for name, found in looking.items()}
    listed, found, moving, wrongly = (
        sum(each[name] for each in figures.values()) for name in ("listed", "found", "moving", "wrongly")
    )
    drift = sum(each["drift"] for each in figures.values())
    lag = stood.longest_s >= SETTLE_S - 2 * LOOK_S
    promises = (
        Promise(
            says="Every mistake made before the check is found, or its row was still moving",
            held=listed > 0 and found + moving == listed,
            counted=f"{found} of {listed} reported as drift"
            + (f", {moving} still moving and left in flight" if moving else ""),
        ),
        Promise(
            says="No right row is reported: what only waits for the projector is not drift",
            held=drift > wrongly and (wrongly == 0 or lag),
            counted=f"{drift - wrongly} of {drift} reported rows are wrong by the judge"
            + (f"; the projector stood still for {stood.longest_s:.1f} s, longer than `settle`" if wrongly else ""),
        ),
    )
    return Scene(figures=figures, promises=promises)


def _checked(stage: Stage, projection: Projection, engine: Trueup) -> dict[str, Any]:
    # A mistake stays in its row until somebody repairs it. So what was listed before the check must be found by it,
    # and what it reports must still be wrong afterwards.
    listed = {fault.key for fault in stage.faults() if fault.projection == projection.name}
    position = stage.ask("SELECT position FROM projector WHERE projection = ?", (projection.name,))[0][0]
    report = engine.check(projection.name, rows=0)
    stage.check_traffic()
    wrong = _keys(stage.wrong(), projection)
    reported = {key_of(row["key"], projection) for row in report.drift}
    moving = stage.events_after(projection, dict.fromkeys(listed - reported, position))
    return {
        "run": report.run,
        "compared": max(report.source_rows, report.target_rows),
        # Every row that differs at the first look ends as one of these three.
        "suspects": report.drifted + report.resolved + report.in_flight,
        "resolved": report.resolved,
        "in_flight": report.in_flight,
        "drift": report.drifted,
        "kinds": {"missing": report.missing, "extra": report.extra, "different": report.different},
        "listed": len(listed),
        "found": len(listed & reported),
        "moving": len(moving) if len(moving) <= report.in_flight else 0,
        "wrongly": len(reported - wrong),
        "guarantee": report.guarantee,
        "seconds": round(report.seconds, 2),
    }


# --- 3. plan -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A plan, and what the later act needs to know of it."""

    scene: Scene
    report: Report
    #: Key -> newest departure that the planned value reflects; rows to be deleted have none.
    newest: dict[Key, int]
    #: Newest departure when the plan was ready.
    at: int


def plan(stage: Stage, engine: Trueup) -> Planned:
    """Write down what would be done to `aircraft`; show one row of each kind of mistake."""
    report = engine.plan(AIRCRAFT.name, rows=0)
    decisions = engine.decisions(report.run)
    kinds = {fault.key: fault.kind for fault in stage.faults() if fault.projection == AIRCRAFT.name}
    columns = engine.binding(AIRCRAFT.name, writing=False).columns
    version = columns.index("last_departure")
    rows: dict[str, dict[str, Any]] = {}
    for item in decisions:
        drift = item.decision.drift
        kind = kinds.get(tuple(map(str, drift.key)), "unlisted")
        shown = {"mistake": kind, "action": str(item.decision.action), "key": drift.key[0]}
        for name, values in (("before", drift.observed), ("after", drift.expected)):
            shown[name] = None if values is None else dict(zip(columns, values, strict=True))
        rows.setdefault(kind, shown)
    actions = Counter(str(item.decision.action) for item in decisions)
    statements = {str(action): text for action, text in engine.statements(AIRCRAFT.name).items()}
    figures = {
        "plan": report.plan,
        "hash": report.plan_hash,
        "rows": len(decisions),
        "actions": dict(sorted(actions.items())),
        "statements": {action: statements[action] for action in sorted(actions) if action in statements},
        "examples": [rows[kind] for kind in (*KINDS, "unlisted") if kind in rows],
    }
    newest = {
        tuple(map(str, item.decision.drift.key)): int(item.decision.drift.expected[version])
        for item in decisions
        if item.decision.drift.expected is not None
    }
    return Planned(scene=Scene(figures=figures), report=report, newest=newest, at=stage.newest())


# --- 4. apply ----------------------------------------------------------------------------------------------------


def apply(stage: Stage, engine: Trueup, planned: Planned) -> Scene:
    """Carry the plan out while the traffic goes on, late enough for some of its rows to have moved on."""
    waited = time.monotonic()
    stage.wait_until(
        lambda: (
            stage.newest() >= planned.at + PASSED_MIN and len(stage.events_after(AIRCRAFT, planned.newest)) >= MOVED_MIN
        ),
        seconds=PATIENCE_S,
    )
    waited = time.monotonic() - waited
    written = stage.newest() - planned.at
    moved = stage.events_after(AIRCRAFT, planned.newest)
    report = engine.apply(planned.report, rows=0)
    stage.check_traffic()
    outcomes = {tuple(map(str, o.key)): o for o in engine.outcomes(report.run)}
    applied = {key for key, o in outcomes.items() if o.outcome is Outcome.APPLIED}
    aside = {key: o for key, o in outcomes.items() if o.outcome in (Outcome.CAS_LOST, Outcome.SUPERSEDED)}
    damage = stage.damage()
    wrong = applied & _keys(stage.wrong(), AIRCRAFT)
    rows = planned.scene.figures["rows"]
    figures = {
        "run": report.run,
        "plan": report.plan,
        "verdict": str(report.verdict),
        "planned": rows,
        "written_meanwhile": written,
        "waited_s": round(waited, 1),
        "moved_before": len(moved),
        "applied": len(applied),
        "stepped_aside": len(aside),
        "listed_aside": [{"key": key[0], "why": o.evidence} for key, o in sorted(aside.items())],
    }
    promises = (
        Promise(
            says="A plan is carried out to the letter: rows that have moved on since step aside",
            held=moved <= set(aside) and len(applied) + len(aside) == rows,
            counted=f"{len(applied)} of {rows} planned rows applied, {len(aside)} stepped aside; "
            f"{len(moved)} had moved on before it began",
        ),
        Promise(
            says="What was repaired is right, and nothing else was made wrong",
            held=bool(applied) and not wrong and not damage,
            counted=f"{len(applied) - len(wrong)} of {len(applied)} repaired rows are right by the judge, "
            f"{len(damage)} other rows were made wrong",
        ),
    )
    return Scene(figures=figures, promises=promises)


# --- 6. a collapsed source -----------------------------------------------------------------------------------------


def collapse(stage: Stage) -> Scene:
    """A copy of the database whose truth was emptied, as by a load that failed: `trueup run` has to refuse."""
    copy = stage.copy("collapsed")
    with closing(sqlite3.connect(copy.db)) as conn:
        gone = conn.execute("DELETE FROM departures").rowcount
        conn.commit()
    before = copy.digest()
    code, document = copy.trueup("run")
    untouched = copy.digest() == before
    figures = {
        "departures_lost": gone,
        "exit_code": code,
        "verdict": document["verdict"],
        "reasons": [each.get("reason", "") for each in document["projections"]],
        "untouched": untouched,
    }
    promise = Promise(
        says="A collapsed source is refused, and nothing is written",
        held=code == 4 and untouched and document["verdict"] == "refused",
        counted=f"exit code {code}, both tables " + ("byte for byte as before" if untouched else "CHANGED"),
    )
    return Scene(figures=figures, promises=(promise,))


# --- the plain recount ---------------------------------------------------------------------------------------------


def plain(stage: Stage) -> Scene:
    """The same history under the same traffic, repaired by the recount that people write by hand."""
    stage.start_traffic()
    started = stage.newest()
    all_in = stage.pace.history_faults + stage.pace.live_faults
    stage.wait_until(
        lambda: len(stage.faults()) >= all_in and stage.newest() >= started + NAIVE_AROUND, seconds=PATIENCE_S
    )
    before = stage.wrong()
    written = recount_plainly(stage.db, "aircraft") + recount_plainly(stage.db, "airport_hours")
    after_it = stage.newest()
    stage.wait_until(lambda: stage.newest() >= after_it + NAIVE_AROUND, seconds=PATIENCE_S)
    stage.stop_traffic()
    after = stage.wrong()
    faults = stage.faults()
    gone = destroyed(before, after, faults)
    figures = {
        "written": written,
        "wrong_before": len(before),
        "wrong_after": len(after),
        "destroyed": len(gone),
        "destroyed_by_projection": {p.name: len(_keys(gone, p)) for p in PROJECTIONS},
        "not_repaired": Counter(_kind_of(row, faults) for row in after & before),
    }
    promise = Promise(
        says="The judge sees damage where there is some (control: the plain recount)",
        held=bool(gone),
        counted=f"the plain recount made {len(gone)} right rows wrong",
    )
    return Scene(figures=figures, promises=(promise,))


# --- shared ------------------------------------------------------------------------------------------------------


def key_of(named: dict[str, Any], projection: Projection) -> Key:
    """A report's key as the judge writes it."""
    return tuple(str(named[column]) for column in projection.key)


def _keys(rows: Iterable[RowId], projection: Projection) -> set[Key]:
    return {key for name, key in rows if name == projection.name}


def _kind_of(row: RowId, faults: Iterable[Fault]) -> str:
    return next((str(fault.kind) for fault in faults if fault.row == row), "unlisted")


def images(engine: Trueup) -> tuple[int, int]:
    """Rows that all runs have written, by the ledger, and those of them whose before-image is there.

    A row that was inserted has none: there was no row.
    """
    written = [o for run in engine.runs(limit=1000) for o in engine.outcomes(run.id) if o.outcome is Outcome.APPLIED]
    kept = [o for o in written if (o.before is None) == (o.action is Action.INSERT)]
    return len(written), len(kept)


def unit_images(stage: Stage, units: Iterable[str]) -> list[str]:
    """The markers that these units left in the target: one JSON text a unit that committed."""
    found = []
    for unit in units:
        rows = stage.ask("SELECT images FROM trueup_applied WHERE unit = ? AND NOT closed", (unit,))
        found += [str(images) for (images,) in rows]
    return found


class Engines:
    """Work for both projections at once, each with an engine and a thread of its own. Left early, all of it stops."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.pool = ThreadPoolExecutor(max_workers=len(PROJECTIONS))
        self.running: list[Trueup] = []

    def start(self, work: Callable[[Trueup], T]) -> Future[T]:
        def run() -> T:
            with load(self.stage.config) as engine:
                self.running.append(engine)
                return work(engine)

        return self.pool.submit(run)

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for engine in self.running:
                engine.stop_after_segment.asked = True
                engine.clock.interrupt()
        self.pool.shutdown()
