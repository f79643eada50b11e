"""What the ledger knows, as the rules of alerts ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trueup.core.alert_facts import Facts, RunFact
from trueup.core.alert_rules import Rules
from trueup.core.approval import PlanState
from trueup.core.states import RunState, Stage, Verdict
from trueup.job import WRITING
from trueup.store.coverage import Coverage

if TYPE_CHECKING:
    from trueup.app import Trueup
    from trueup.store.paces import PaceRow
    from trueup.store.records import RunRow

#: Runs that are looked back at.
RUNS = 20
#: Told by a governor longer ago than this, nobody works on its database, seconds.
AT_WORK_S = 30.0
_ANSWERED = (Verdict.IN_SYNC, Verdict.DRIFT, Verdict.REPAIRED)
_ENDED = (RunState.DONE, RunState.REFUSED, RunState.FAILED)


def facts_of(engine: Trueup, name: str) -> Facts:
    """What is known of a projection."""
    waiting = [standing.plan.id for standing in engine.listed_plans(name) if standing.state is PlanState.WAITING]
    return Facts(
        name=name,
        runs=[run_fact(run) for run in engine.runs(name, limit=RUNS) if run.state in _ENDED],
        drift=engine.standing.drift_count(name)[0],
        source_rows=Coverage(engine.ledger).last_source_rows(name, engine.definition(name)),
        freshness=engine.freshness(name),
        quarantined=engine.kept_out.count(name),
        plans=waiting,
    )


def run_fact(run: RunRow) -> RunFact:
    """A run, without any value of a row."""
    report: Mapping[str, Any] = run.report or {}
    kinds = [f"{kind} rows" for kind in ("missing", "extra", "different") if report.get(kind)]
    kinds += [f"differences in {column}" for column in report.get("different_by_column", {})]
    kinds += [f"cause {cause['kind']}" for cause in report.get("causes", ())]
    return RunFact(
        id=run.id,
        writes=run.command in WRITING,
        failed=run.state is RunState.FAILED,
        collapsed=run.state is RunState.REFUSED and run.stage is Stage.NARROW,
        answered=run.state is RunState.DONE and run.verdict in _ANSWERED,
        left=report.get("left", 0),
        kinds=frozenset(kinds),
        reason=run.reason if run.state is RunState.REFUSED else "",
    )


def starving(row: PaceRow | None) -> str:
    """Why a database grants the minimum at most though something works on it; empty: it does not."""
    if row is None or not row.nodes or row.age_s > AT_WORK_S or not row.told:
        return ""
    told = row.told
    least = row.u <= told["floor"] * 1.05 and told["mode"] != "normal"
    return f"{told['mode']}, {told['reason']}" if told["mode"] == "paused" or least else ""


def rules_of(engine: Trueup, name: str) -> Rules:
    """The rules that hold for a projection."""
    return engine.alerts.rules.with_own(engine.projection(name).alerts)
