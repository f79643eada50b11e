"""`trueup show` and `trueup explain`: what was decided, and what would happen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from trueup.cli.tables import console, named, table
from trueup.core.compare import mask
from trueup.core.plan import describe
from trueup.core.row import present
from trueup.report import final_outcomes

if TYPE_CHECKING:
    from trueup import Explanation, Trueup


def gather(engine: Trueup, plan_or_run: str, limit: int) -> dict[str, Any]:
    """A plan or run with its rows."""
    plan = engine.find_plan(plan_or_run) if plan_or_run.startswith("p-") else None
    run = engine.find_run(plan.run if plan else plan_or_run)
    binding = engine.binding(run.projection, writing=False)
    statements = engine.statements(run.projection)
    final = final_outcomes(engine.outcomes(run.id))
    decisions = engine.decisions(run.id)
    rows = []
    for item in decisions[: limit or None]:
        drift = mask(item.decision.drift, binding.hidden)
        row: dict[str, Any] = {
            "kind": str(drift.kind),
            "key": _present(binding.named_key(drift.key)),
            "before": _present(binding.named_values(drift.observed)),
            "after": _present(binding.named_values(drift.expected)),
            "action": str(item.decision.action),
        }
        if item.decision.reason:
            row["reason"] = item.decision.reason
        outcome = final.get(drift.key)
        if outcome:
            row |= {"outcome": str(outcome.outcome), "evidence": outcome.evidence, "witness": outcome.witness}
        rows.append(row)
    used = {item.decision.action for item in decisions}
    shown = {
        "run": run.id,
        "projection": run.projection,
        "command": run.command,
        "state": str(run.state),
        "verdict": str(run.verdict or ""),
        "reason": run.reason,
        "started": run.started_at.isoformat(),
        "rows": len(decisions),
        "statements": {str(action): text for action, text in statements.items() if action in used},
        "changes": rows,
    }
    if plan:
        shown |= {"plan": plan.id, "hash": plan.hash, "plan_state": plan.state}
    return shown


def draw_shown(shown: dict[str, Any]) -> None:
    out = console()
    what = f"plan {shown['plan']} ({shown['plan_state']})" if "plan" in shown else f"run {shown['run']}"
    facts = [shown["projection"], shown["command"], f"{shown['started'][:19]} UTC", shown["verdict"]]
    out.print(f"[bold]{what}[/bold]  {'  '.join(facts)}")
    if shown["reason"]:
        out.print(f"  {shown['reason']}", markup=False)
    if "hash" in shown:
        out.print(f"  sha256 {shown['hash']}")
    if shown["changes"]:
        cells = []
        for row in shown["changes"]:
            line = {"action": row["action"], "key": named(row["key"]), "before": named(row["before"])}
            line["after"] = named(row["after"])
            line["outcome"] = row.get("outcome", "")
            line["why"] = row.get("evidence") or row.get("reason", "")
            cells.append(line)
        if not any(line["outcome"] or line["why"] for line in cells):
            cells = [{name: line[name] for name in ("action", "key", "before", "after")} for line in cells]
        table(cells)
    for action, statement in shown["statements"].items():
        out.print(f"  {action}: {statement}", markup=False)
    if shown["rows"] > len(shown["changes"]):
        out.print(f"  {shown['rows'] - len(shown['changes']):,} more; --rows 0 lists all")
    if shown.get("plan_state") == "open":
        out.print(f"  next: trueup apply {shown['plan']}")


def explanation(told: Explanation) -> dict[str, Any]:
    binding, projection = told.binding, told.binding.projection
    policies = {
        "missing": projection.on_missing,
        "extra": projection.extra_policy,
        "different": projection.on_different,
    }
    limits = projection.limits
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
        "policies": policies,
        "limits": {"rows": limits.rows, "share": limits.share, "deletes": limits.deletes, "collapse": limits.collapse},
    }


def draw_explanation(told: dict[str, Any]) -> None:
    out = console()
    out.print(f"[bold]{told['projection']}[/bold]")
    settle = told["settle_seconds"]
    twice = (
        f"a difference counts once it is the same {settle:g} s later" if settle else "one snapshot covers both sides"
    )
    lines = [
        ("key", ", ".join(f"{name} ({kind})" for name, kind in told["key"].items())),
        ("columns", ", ".join(f"{name} ({kind})" for name, kind in told["columns"].items()) or "none: only existence"),
        ("strategy", told["strategy"]),
        *(("", reason) for reason in told["access_path"]),
        (
            "segments",
            f"{told['segments']}: {'; '.join(told['first_segments'])}" + (" …" if told["segments"] > 3 else ""),
        ),
        ("confirm", twice),
        ("guarantee", f"{told['guarantee']} by {told['protocol']}"),
        *(("", reason) for reason in told["reasons"]),
        ("policies", ", ".join(f"{kind}: {policy}" for kind, policy in told["policies"].items())),
        ("limits", "{rows:,} rows, {share:.0%} of all, {deletes:,} deletes".format(**told["limits"])),
    ]
    for name, text in lines:
        out.print(f"  [dim]{name:<10}[/dim] ", end="")
        out.print(text, markup=False)


def print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, ensure_ascii=False))


def _present(values: dict[str, object] | None) -> dict[str, Any] | None:
    return None if values is None else {name: present(value) for name, value in values.items()}
