"""What front ends show, as plain values: names, numbers, texts and moments. The command line draws them, an API sends
them; neither looks behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from trueup.core.causes import causes as in_common
from trueup.core.plan import describe
from trueup.report import final_outcomes, shown

if TYPE_CHECKING:
    from trueup.app import Explanation, Trueup

View = dict[str, Any]


def status(engine: Trueup, names: Sequence[str] = ()) -> list[View]:
    """Where each projection stands."""
    rows = []
    for entry in engine.status(names):
        last = entry.last
        rows.append(
            {
                "projection": entry.projection.name,
                "state": entry.control.state
                if entry.control.state != "running"
                else str(last.state)
                if last
                else "new",
                "verdict": str(last.verdict or "") if last else "",
                "last_run": last.id if last else "",
                "ended": last.ended_at if last else None,
                "known_drift": entry.drift,
                "oldest_drift": entry.oldest,
            }
        )
    return rows


def runs(engine: Trueup, name: str | None = None, limit: int = 20) -> list[View]:
    """What happened, newest first."""
    rows = []
    for run in engine.runs(name, limit=limit):
        report = run.report or {}
        rows.append(
            {
                "run": run.id,
                "projection": run.projection,
                "command": run.command,
                "state": str(run.state),
                "verdict": str(run.verdict or ""),
                "drift": sum(report.get(kind, 0) for kind in ("missing", "extra", "different")),
                "repaired": report.get("repaired", 0),
                "started": run.started_at,
                "seconds": report.get("seconds"),
                "reason": run.reason,
            }
        )
    return rows


def drift(engine: Trueup, name: str, limit: int = 100) -> list[View]:
    """What is known to be wrong, longest standing first."""
    projection = engine.projection(name)
    known = engine.drift(name, limit=limit)
    columns = {run: engine.find_run(run).columns for run in {row.run for row in known}}
    return [
        {
            "kind": str(row.drift.kind),
            "key": shown(projection.key, row.drift.key),
            "expected": shown(columns[row.run], row.drift.expected, projection.sensitive),
            "observed": shown(columns[row.run], row.drift.observed, projection.sensitive),
            "since": row.first_seen,
            "last_seen": row.last_seen,
            "reason": row.reason,
        }
        for row in known
    ]


def causes(engine: Trueup, name: str) -> list[View]:
    """What the rows that are known to be wrong have in common, most rows first; of those with the newest columns."""
    projection, known = engine.projection(name), engine.drift(name, limit=0)
    if not known:
        return []
    columns = {run: engine.find_run(run).columns for run in {row.run for row in known}}
    newest = columns[max(known, key=lambda row: row.last_seen).run]
    same = [row for row in known if columns[row.run] == newest]
    found = in_common(
        [row.drift for row in same],
        key=projection.key,
        columns=newest,
        hidden=[column in projection.sensitive for column in newest],
        first_seen=[row.first_seen for row in same],
    )
    return [asdict(cause) for cause in found]


def show(engine: Trueup, plan_or_run: str, limit: int = 100) -> View:
    """A plan or a run: each row before and after, the statement, and what became of it."""
    plan = engine.find_plan(plan_or_run) if plan_or_run.startswith("p-") else None
    run = engine.find_run(plan.run if plan else plan_or_run)
    projection = engine.projection(run.projection)
    final = final_outcomes(engine.outcomes(run.id))
    decisions = engine.decisions(run.id)
    rows = []
    for item in decisions[: limit or None]:
        seen = item.decision.drift
        row: View = {
            "kind": str(seen.kind),
            "key": shown(projection.key, seen.key),
            "before": shown(run.columns, seen.observed, projection.sensitive),
            "after": shown(run.columns, seen.expected, projection.sensitive),
            "action": str(item.decision.action),
        }
        if item.decision.reason:
            row["reason"] = item.decision.reason
        outcome = final.get(seen.key)
        if outcome:
            row |= {"outcome": str(outcome.outcome), "evidence": outcome.evidence, "witness": outcome.witness}
        rows.append(row)
    used = {item.decision.action for item in decisions}
    view: View = {
        "run": run.id,
        "projection": run.projection,
        "command": run.command,
        "state": str(run.state),
        "verdict": str(run.verdict or ""),
        "reason": run.reason,
        "started": run.started_at,
        "rows": len(decisions),
        "statements": {
            str(action): text for action, text in engine.statements(run.projection).items() if action in used
        },
        "changes": rows,
    }
    if plan:
        view |= {"plan": plan.id, "hash": plan.hash, "plan_state": plan.state}
    return view


def explanation(told: Explanation) -> View:
    """What would happen, and why."""
    binding, projection = told.binding, told.binding.projection
    limits = projection.limits.model_dump()
    return {
        "projection": told.projection,
        "key": {name: str(kind) for name, kind in zip(projection.key, binding.key_kinds, strict=True)},
        "columns": {name: str(kind) for name, kind in zip(binding.columns, binding.value_kinds, strict=True)},
        "strategy": told.route.strategy,
        "access_path": told.route.reasons,
        "segments": len(told.route.segments),
        "first_segments": [describe(segment) for segment in told.route.segments[:3]],
        "settle_seconds": told.settle_s,
        "guarantee": str(told.promise.guarantee),
        "protocol": str(told.promise.protocol),
        "reasons": list(told.promise.reasons),
        "policies": {
            "missing": projection.on_missing,
            "extra": projection.extra_policy,
            "different": projection.on_different,
        },
        "limits": limits,
    }
