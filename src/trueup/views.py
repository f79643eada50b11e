"""What front ends show, as plain values: names, numbers, texts and moments. The command line draws them, an API sends
them; neither looks behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

from trueup.core.findings import to_json
from trueup.core.plan import describe
from trueup.core.quarantine import Quarantined, Trouble
from trueup.core.row import decode_row
from trueup.described import history, rules_then
from trueup.listening import standing
from trueup.report import differing, quarantined_row, shown, shown_key
from trueup.store.alerts import AlertLedger
from trueup.store.nodes import heard, listed

if TYPE_CHECKING:
    from trueup.app import Explanation, Trueup
    from trueup.core.projection import Projection
    from trueup.core.queue import Request
    from trueup.doctor import Diagnosis, Examination
    from trueup.plans import PlanStanding
    from trueup.store.acceptances import Accepted
    from trueup.view import View


def status(engine: Trueup, names: Sequence[str] = ()) -> list[View]:
    """Where each projection stands."""
    rows = []
    opened, now = engine.queue.open(), engine.clock.now()
    firing = [alert for alert in AlertLedger(engine.ledger).all() if alert.firing]
    for entry in engine.status(names):
        last, name = entry.last, entry.projection.name
        fresh = engine.freshness(name)
        rows.append(
            {
                "projection": name,
                "state": entry.control.state
                if entry.control.state != "running"
                else str(last.state)
                if last
                else "new",
                "verdict": str(last.verdict or "") if last else "",
                "last_run": last.id if last else "",
                "ended": last.ended_at if last else None,
                "reason": entry.control.reason if entry.control.state != "running" else "",
                "until": entry.control.until if entry.control.state == "paused" else None,
                "known_drift": entry.drift,
                "quarantined": entry.quarantined,
                "oldest_drift": entry.oldest,
                "verified": fresh.since,
                "age_seconds": fresh.age_s(now),
                "fresh_seconds": fresh.fresh,
                "late_seconds": fresh.late_s(now),
                "oldest_part": "" if _named_by_sensitive(entry.projection) else fresh.oldest,
                "alerts": [alert.rule for alert in firing if alert.subject == name],
                "next": engine.next_tick(name),
                "queued": [queued(request) for request in opened if request.projection == name],
            }
        )
    return rows


def _named_by_sensitive(projection: Projection) -> bool:
    """Would the name of a part show what is not to be shown?"""
    return bool({*projection.key, projection.partition.column} & set(projection.sensitive))


def queue(engine: Trueup, name: str | None = None, limit: int = 20) -> list[View]:
    """What waits and goes on, the oldest first; then what ended, the newest first."""
    chosen = engine.projection(name).name if name else None
    opened = [request for request in engine.queue.open() if chosen in (None, request.projection)]
    return [queued(request) for request in [*opened, *engine.queue.newest(chosen, limit)]]


def nodes(engine: Trueup) -> list[View]:
    """Processes that serve, the newest first."""
    rows = []
    for node in listed(engine.ledger):
        said = {"version": node.code_version, "started": node.started_at, "seen": node.seen_at}
        rows.append({"node": node.id, "host": node.host, "pid": node.pid, **said})
    return rows


def served(engine: Trueup) -> bool:
    """Does a process serve just now, as far as is known?"""
    return bool(heard(engine.ledger, engine.queue.now(engine.clock.now())))


def triggers(engine: Trueup, name: str | None = None) -> list[View]:
    """Triggers, and how each stands on each node that serves."""
    return [asdict(stand) for stand in standing(engine, name)]


def queued(request: Request) -> View:
    """A request of the queue, as the API answers it and `status` tells."""
    return {
        "request": request.id,
        "projection": request.projection,
        "command": request.command,
        "about": request.about,
        "keys": request.keys,
        "reason": request.reason,
        "asked_by": request.asked_by,
        "actor": request.actor,
        "merged": request.merged,
        "tick": request.tick,
        "requested": request.requested_at,
        "not_before": request.not_before,
        "state": request.state,
        "attempts": request.attempts,
        "node": request.node,
        "begun": request.begun_at,
        "ended": request.ended_at,
        "run": request.run,
        "answer": request.answer,
    }


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
    runs = [engine.find_run(run) for run in {row.run for row in known}]
    columns = {run.id: run.columns for run in runs}
    rules = {run.id: rules_then(engine.ledger, run) for run in runs}
    return [
        {
            "kind": str(row.drift.kind),
            "key": shown_key(projection.key, row.drift.key),
            "expected": shown(columns[row.run], row.drift.expected, projection.sensitive),
            "observed": shown(columns[row.run], row.drift.observed, projection.sensitive),
            "columns": list(differing(row.drift, columns[row.run], rules[row.run])),
            "since": row.first_seen,
            "last_seen": row.last_seen,
            "reason": row.reason,
        }
        for row in known
    ]


def quarantine(engine: Trueup, name: str, limit: int = 0) -> list[View]:
    """Rows that are left out of repairs, longest standing first. `limit`: at most so many; 0: all."""
    projection = engine.projection(name)
    return [
        quarantined_row(projection, row) | {"repairs": _repairs(engine, projection, row)}
        for row in engine.quarantine(name)[: limit or None]
    ]


def quarantined(engine: Trueup, name: str | None = None, limit: int = 0) -> list[View]:
    """The same of one projection or all of them, each row with the name of its projection."""
    rows: list[View] = []
    for each in [name] if name else list(engine.projections):
        left = limit - len(rows)
        if limit and left <= 0:
            break
        rows += [{"projection": each, **row} for row in quarantine(engine, each, max(left, 0))]
    return rows


def _repairs(engine: Trueup, projection: Projection, row: Quarantined) -> list[View]:
    """The repairs of a row that recurs: when, by which run, from what to what."""
    if row.trouble is not Trouble.RECURRING:
        return []
    found = []
    for repair in row.evidence:
        columns = engine.find_run(repair["run"]).columns
        images = {name: shown(columns, decode_row(repair[name]), projection.sensitive) for name in ("before", "after")}
        found.append({"run": repair["run"], "at": repair["at"], **images})
    return found


def show(engine: Trueup, plan_or_run: str, limit: int = 100) -> View:
    """A plan or a run: each row before and after, the statement, and what became of it."""
    plan = engine.find_plan(plan_or_run) if plan_or_run.startswith("p-") else None
    run = engine.find_run(plan.run if plan else plan_or_run)
    projection = engine.projection(run.projection)
    decided = engine.decided(run.id)
    listed = list(islice(decided, limit or None))
    final = engine.last_outcomes(run.id, {item.decision.drift.key for item in listed})
    rows = []
    for item in listed:
        seen = item.decision.drift
        row: View = {
            "kind": str(seen.kind),
            "key": shown_key(projection.key, seen.key),
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
    used = {item.decision.action for item in decided.rows} | {lot.action for lot in decided.lots}
    view: View = {
        "run": run.id,
        "projection": run.projection,
        "command": run.command,
        "state": str(run.state),
        "verdict": str(run.verdict or ""),
        "reason": run.reason,
        "started": run.started_at,
        "rows": len(decided),
        "statements": {
            str(action): text for action, text in engine.statements(run.projection).items() if action in used
        },
        "changes": rows,
    }
    if plan:
        view |= plan_view(engine.plan_standing(plan))
    if run.report is not None:
        view |= {name: run.report.get(name) for name in ("guarantee", "proof", "guarantee_reasons")}
        view |= {"left_plan": run.report["plan"]} if run.report.get("plan") else {}
    return view


def plans(engine: Trueup, name: str | None = None, limit: int = 20) -> list[View]:
    """Plans, newest first."""
    return [plan_view(standing) for standing in engine.listed_plans(name, limit=limit)]


def plan_view(standing: PlanStanding) -> View:
    """A plan, what was said about it, and what can be done with it."""
    plan = standing.plan
    return {
        "plan": plan.id,
        "projection": plan.projection,
        "plan_state": str(standing.state),
        "rows_changed": plan.changes,
        "rows_deleted": plan.deletes,
        "approvals_needed": standing.needs,
        "approvals": standing.have,
        "beyond": plan.beyond,
        "requester": plan.requester,
        "created": plan.created_at,
        "expires": plan.expires_at,
        "hash": plan.hash,
        "said": [
            {
                "said": str(row.vote.said),
                "actor": row.actor.name,
                "actor_by": row.actor.by,
                "host": row.actor.host,
                "reason": row.reason,
                "at": row.vote.at,
                "expires": row.vote.expires_at,
            }
            for row in standing.votes
        ],
    }


def accepted(engine: Trueup, name: str | None = None, limit: int = 0) -> list[View]:
    """Accepted differences, newest first. `limit`: at most so many; 0: all."""
    rows = [row for row in engine.accepted(name) if row.projection in engine.projections]
    return [accepted_view(engine, row) for row in rows[: limit or None]]


def accepted_view(engine: Trueup, row: Accepted) -> View:
    """One of them, and whether it still counts."""
    projection = engine.projection(row.projection)
    over = "withdrawn" if row.withdrawn_at else "expired" if row.until <= engine.clock.now() else "active"
    return {
        "id": row.id,
        "projection": row.projection,
        "state": over,
        "key": shown_key(projection.key, row.key),
        "expected": shown(row.columns, row.expected, projection.sensitive),
        "observed": shown(row.columns, row.observed, projection.sensitive),
        "reason": row.reason,
        "owner": row.owner,
        "actor": row.actor.name,
        "at": row.at,
        "until": row.until,
    }


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
        "one_database": binding.one_database,
        **told.promise.to_dict(),
        "policies": {
            kind: policy if isinstance(policy, str) else policy.name for kind, policy in projection.policies.items()
        },
        "limits": limits,
    }


def examination(told: Examination) -> View:
    """What the doctor found out."""
    return {
        "checks": [to_json(finding) for finding in told.findings],
        "projections": [_diagnosis(each) for each in told.diagnoses],
    }


def _diagnosis(each: Diagnosis) -> View:
    view: View = {"projection": each.projection, "exit_code": each.exit_code}
    if each.error is not None or each.promise is None:
        return view | {"error": str(each.error), "checks": []}
    view |= each.promise.to_dict() | {"checks": [to_json(finding) for finding in each.findings]}
    if each.race is not None:
        view["race"] = asdict(each.race)
    return view


def definitions(engine: Trueup, name: str, runs: Sequence[str] = (), limit: int = 0) -> list[View]:
    """What it was declared as, oldest first, and what changed; `runs`: from the one to the other.

    `limit`: the newest so many; 0: all. Raises UsageError.
    """
    return history(engine.definitions(name), runs)[-limit:]
