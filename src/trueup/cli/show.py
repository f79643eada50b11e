"""`trueup show` and `trueup explain`: what was decided, and what would happen."""

from __future__ import annotations

from typing import Any

from trueup.cli.tables import console, named, table


def draw_shown(shown: dict[str, Any]) -> None:
    out = console()
    what = f"plan {shown['plan']} ({shown['plan_state']})" if "plan" in shown else f"run {shown['run']}"
    facts = [shown["projection"], shown["command"], f"{shown['started']:%Y-%m-%d %H:%M:%S} UTC", shown["verdict"]]
    out.print(f"[bold]{what}[/bold]  {'  '.join(facts)}")
    if shown["reason"]:
        out.print(f"  {shown['reason']}", markup=False)
    if shown.get("guarantee_reasons"):
        why = "; ".join(shown["guarantee_reasons"])
        out.print(f"  {shown['guarantee']} ({shown['proof']}): {why}", markup=False, style="dim")
    if "hash" in shown:
        draw_plan(shown)
    if shown["changes"]:
        table([_cells(row) for row in shown["changes"]], hide_empty=("outcome", "why"))
    for action, statement in shown["statements"].items():
        out.print(f"  {action}: {statement}", markup=False)
    if shown["rows"] > len(shown["changes"]):
        out.print(f"  {shown['rows'] - len(shown['changes']):,} more; --rows 0 lists all")
    draw_next(shown)


def draw_plan(shown: dict[str, Any]) -> None:
    """Hash, limits, approvals of a plan."""
    out = console()
    out.print(f"  sha256 {shown['hash']}")
    if shown["beyond"]:
        out.print(f"  beyond the limits: {shown['beyond']}", markup=False)
    if shown["approvals_needed"]:
        out.print(
            f"  approvals: {shown['approvals']} of {shown['approvals_needed']}; asked for by {shown['requester']}"
        )
    for row in shown["said"]:
        told = "  {said} by {actor} ({actor_by}) on {host} at {at:%Y-%m-%d %H:%M} UTC: {reason}"
        out.print(told.format(**row), markup=False)
    if shown["plan_state"] in ("waiting", "ready"):
        out.print(f"  expires {shown['expires']:%Y-%m-%d %H:%M} UTC")


def draw_next(shown: dict[str, Any]) -> None:
    """What can be done with a plan."""
    steps = {"waiting": "approve {plan} --reason …", "ready": "apply {plan}"}
    if shown.get("plan_state") in steps:
        console().print(f"  next: trueup {steps[shown['plan_state']].format(**shown)}", markup=False)


def _cells(row: dict[str, Any]) -> dict[str, str]:
    return {
        "action": row["action"],
        "key": named(row["key"]),
        "before": named(row["before"]),
        "after": named(row["after"]),
        "outcome": row.get("outcome", ""),
        "why": row.get("evidence") or row.get("reason", ""),
    }


def draw_explanation(told: dict[str, Any]) -> None:
    out = console()
    out.print(f"[bold]{told['projection']}[/bold]")
    settle = told["settle_seconds"]
    once = "one snapshot covers both sides" if told["one_database"] else "a difference counts as soon as it is seen"
    confirm = f"a difference counts once it is the same {settle:g} s later" if settle else once
    by = "" if told["protocol"] == "none" else f" by {told['protocol'].replace('_', ' ')}"
    limits = "{rows:,} rows, {share:.0%} of all from {share_from} on, {deletes:,} deletes; collapse {collapse:.0%}"
    lines = [
        ("key", ", ".join(f"{name} ({kind})" for name, kind in told["key"].items())),
        ("columns", ", ".join(f"{name} ({kind})" for name, kind in told["columns"].items()) or "none: only existence"),
        ("strategy", told["strategy"]),
        *(("", reason) for reason in told["access_path"]),
        (
            "segments",
            f"{told['segments']}: {'; '.join(told['first_segments'])}" + (" …" if told["segments"] > 3 else ""),
        ),
        ("confirm", confirm),
        ("guarantee", f"{told['guarantee']}{by} ({told['proof']})"),
        *(("", reason) for reason in told["reasons"]),
        ("policies", ", ".join(f"{kind}: {policy}" for kind, policy in told["policies"].items())),
        ("limits", limits.format(**told["limits"])),
    ]
    for name, text in lines:
        out.print(f"  [dim]{name:<10}[/dim] ", end="")
        out.print(text, markup=False)
