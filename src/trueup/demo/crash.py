"""The two acts about endings: a run killed in its middle goes on, and at the end of the story everything is right."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from trueup.app import Trueup
from trueup.core.states import Outcome, Verdict
from trueup.demo.acts import Engines, Scene, images, unit_images
from trueup.demo.promises import Promise
from trueup.demo.schema import AIRCRAFT, AIRPORT_HOURS, PROJECTIONS
from trueup.demo.stage import COMMAND_S, DemoFailed, Stage, end
from trueup.store import schema

NAME = AIRPORT_HOURS.name


def kill_and_resume(stage: Stage, engine: Trueup) -> Scene:
    """SIGKILL a `trueup run` between a commit in the target and its note in the ledger; run it again."""
    with Engines(stage) as engines:
        # The rows of the other projection that stepped aside are repaired at the same time.
        other = engines.start(lambda mine: mine.run(AIRCRAFT.name, rows=0))
        scene = _killed_and_resumed(stage, engine)
        rest = other.result()
    stage.check_traffic()
    told = {"run": rest.run, "verdict": str(rest.verdict), "repaired": rest.repaired, "in_flight": rest.in_flight}
    return replace(scene, figures=scene.figures | {"rest": told})


def _killed_and_resumed(stage: Stage, engine: Trueup) -> Scene:
    signal_number = _killed(stage)
    run = engine.runs(NAME, limit=1)[0]
    decided = len(engine.decisions(run.id))
    noted = {o.key for o in engine.outcomes(run.id)}
    ((unit, _, _, open_keys),) = engine.ledger.open_units(NAME)
    state, stage_of_run = str(run.state), str(run.stage)
    damage = stage.damage()

    code, document = stage.trueup("run", NAME, "--rows", "1")
    report: dict[str, Any] = document["projections"][0]
    outcomes = engine.outcomes(run.id)
    recovered = [o for o in outcomes if o.witness == "recovery"]
    applied = [o for o in outcomes if o.outcome is Outcome.APPLIED]
    written = _written(stage, engine, run.id)
    twice = len(written) - len(set(written))
    figures = {
        "run": run.id,
        "signal": signal_number,
        "state_after_kill": state,
        "stage_after_kill": stage_of_run,
        "decided": decided,
        "noted": len(noted),
        "open_unit": unit,
        "open_rows": len(open_keys),
        "not_begun": decided - len(noted) - len(open_keys),
        "resumed_run": report["run"],
        "resumed": report["resumed"],
        "exit_code": code,
        "verdict": document["verdict"],
        "recovered": len(recovered),
        "recovered_applied": sum(o.outcome is Outcome.APPLIED for o in recovered),
        "applied": len(applied),
        "written": len(written),
        "written_twice": twice,
    }
    promises = (
        Promise(
            says="A run killed with SIGKILL leaves nothing half done, and names what it does not know",
            held=signal_number == signal.SIGKILL and state == "running" and len(open_keys) > 0 and not damage,
            counted=f"{len(noted)} rows noted, {len(open_keys)} open, {figures['not_begun']} not begun; "
            f"{len(damage)} rows made wrong",
        ),
        Promise(
            says="The next run resumes it: proves what had been written, writes the rest, writes nothing twice",
            held=report["resumed"]
            and report["run"] == run.id
            and code == 0
            and document["verdict"] == "repaired"
            and twice == 0
            and len(recovered) == len(open_keys)
            and len(written) == len(applied),
            counted=f"{'same' if report['run'] == run.id else 'ANOTHER'} run, {document['verdict']}; "
            f"{len(recovered)} rows proven, {len(written)} written, {twice} of them twice",
        ),
    )
    return Scene(figures=figures, promises=promises)


def _killed(stage: Stage) -> int:
    """Start a run, wait until it stands still, kill it; the signal it died of."""
    process = stage.start("trueup.demo.victim", str(stage.config), NAME)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        if not process.stdout.readline().strip():
            raise DemoFailed(f"demo: the run to be killed ended by itself: {process.stderr.read().strip()[-500:]}")
        process.kill()
        return -process.wait(COMMAND_S)
    finally:
        end(process)


def _written(stage: Stage, engine: Trueup, run: str) -> list[str]:
    """The key of every row written by this run, as often as it was written.

    By the markers: each is committed in the transaction that writes the rows, so it cannot say less than happened.
    """
    with engine.ledger.engine.connect() as connection:
        units = connection.execute(sa.select(schema.units.c.id).where(schema.units.c.run == run)).scalars().all()
    told = [item for text in unit_images(stage, units) for item in json.loads(text)]
    return [json.dumps(item["key"]) for item in told if item["outcome"] == Outcome.APPLIED]


def finish(stage: Stage, engine: Trueup) -> Scene:
    """The traffic ends; a last run, a last check, and the judge."""
    totals = stage.stop_traffic()
    last = {p.name: engine.run(p.name, rows=0) for p in PROJECTIONS}
    final = {p.name: engine.check(p.name, rows=0) for p in PROJECTIONS}
    wrong, faults = stage.wrong(), stage.faults()
    written, kept = images(engine)
    in_sync = all(report.verdict is Verdict.IN_SYNC for report in final.values())
    rows = {name: report.target_rows for name, report in final.items()}
    figures = {
        "traffic": totals,
        "mistakes": len(faults),
        "repaired_last": {name: report.repaired for name, report in last.items()},
        "verdicts": {name: str(report.verdict) for name, report in final.items()},
        "rows": rows,
        "wrong": len(wrong),
        "written": written,
        "before_images": kept,
    }
    promises = (
        Promise(
            says="At the end every row is right: Trueup says so, and the judge says so",
            held=in_sync and not wrong and totals["pending"] == 0,
            counted=f"{sum(rows.values()):,} rows, {len(faults)} mistakes made, {len(wrong)} rows wrong",
        ),
        Promise(
            says="Every row that was written is in the ledger as it was before",
            held=written > 0 and kept == written,
            counted=f"{kept} before-images of {written} writes",
        ),
    )
    return Scene(figures=figures, promises=promises)
