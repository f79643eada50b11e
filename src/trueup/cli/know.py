"""Commands that tell what is going on, what happened, and what would happen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from trueup.cli.answers import opened
from trueup.cli.options import FILE, AsJson, Config, Known, Limit, Rows


def status(*names: str, as_json: AsJson = False, config: Config = FILE) -> int:
    """What is going on: last run, known drift and its age, switches."""
    from trueup import views, views_alerts
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views.status(engine, names)
        undelivered = views_alerts.alerts(engine)["undelivered"]
    if not as_json:
        rows = [_drawn(row) for row in rows]
        if undelivered:
            sys.stderr.write(f"{len(undelivered)} alerts could not be delivered; `trueup alerts` says why\n")
    hide = ("reason", "until", "fresh", "alerts", "next", "queued")
    return tables.put(rows, as_json=as_json, title="projections", empty="no projection is declared", hide=hide)


def _drawn(row: dict[str, Any]) -> dict[str, Any]:
    """A projection's row for people: how old its oldest data are, and whether that is too old, in words."""
    from trueup.core.declared import spoken

    told: dict[str, Any] = {}
    for name, value in row.items():
        if name == "age_seconds":
            told |= {"age": "never verified" if value is None else spoken(value), "fresh": _objective(row)}
        elif name == "queued":
            told[name] = _queued(value)
        elif name == "alerts":
            told[name] = ", ".join(value)
        elif name not in ("verified", "fresh_seconds", "late_seconds", "oldest_part"):
            told[name] = value
    return told


def _objective(row: dict[str, Any]) -> str:
    from trueup.core.declared import spoken

    fresh, late = row["fresh_seconds"], row["late_seconds"]
    if fresh is None:
        return ""
    return f"within {spoken(fresh)}" if late == 0 else "missed" if late is None else f"missed by {spoken(late)}"


def _queued(requests: Sequence[dict[str, Any]]) -> str:
    """What waits or goes on, in words."""
    about = ("all keys" if each["keys"] is None else f"{len(each['keys'])} keys" for each in requests)
    return ", ".join(f"{each['state']}: {what}" for each, what in zip(requests, about, strict=True))


def queue(name: str | None = None, /, *, limit: Limit = 20, as_json: AsJson = False, config: Config = FILE) -> int:
    """What `trueup serve` is asked to run: waiting, going on, and lately ended."""
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views.queue(engine, name, limit)
    if not as_json:
        rows = [row | {"keys": "all" if row["keys"] is None else len(row["keys"])} for row in rows]
    hide = ("actor", "tick", "not_before", "attempts", "node", "begun", "requested")
    shown = rows if as_json else [{key: value for key, value in row.items() if key not in hide} for row in rows]
    return tables.put(shown, as_json=as_json, title="requests", empty="nothing waits and nothing ended lately")


def nodes(*, as_json: AsJson = False, config: Config = FILE) -> int:
    """Which processes serve, and when they were last heard of."""
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views.nodes(engine)
    return tables.put(rows, as_json=as_json, title="nodes", empty="no node serves; `trueup serve` is one")


def triggers(name: str | None = None, /, *, as_json: AsJson = False, config: Config = FILE) -> int:
    """What makes projections run besides their schedules, and how that stands on each node."""
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views.triggers(engine, name)
    hide = ("node", "seen_at", "since", "unreadable", "failures", "error")
    return tables.put(rows, as_json=as_json, title="triggers", empty="no trigger is declared", hide=hide)


def runs(name: str | None = None, /, *, limit: Limit = 20, as_json: AsJson = False, config: Config = FILE) -> int:
    """What happened: runs, newest first."""
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views.runs(engine, name, limit)
    return tables.put(rows, as_json=as_json, title="runs", empty="no run yet", hide=("reason",))


def drift(
    name: str, /, *, rows: Rows = 100, known: Known = False, as_json: AsJson = False, config: Config = FILE
) -> int:
    """What is known to be wrong now, longest standing first, and what it has in common."""
    from trueup import views, views_causes
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        listed = views.drift(engine, name, rows)
        causes, trouble = (
            (views_causes.causes(engine, name), "") if known else views_causes.causes_besides(engine, name)
        )
    if trouble:
        sys.stderr.write(f"trueup: {name}: what rows have in common is told from what was kept of them: {trouble}\n")
    if as_json:
        tables.print_json({"drift": listed, "causes": causes})
        return 1 if listed else 0
    drawn = [tables.flat(row) | {"since": row["since"], "last_seen": row["last_seen"]} for row in listed]
    tables.put(drawn, as_json=False, title="drift", empty=f"{name}: no drift is known", hide=("outcome", "reason"))
    tables.draw_causes(causes)
    return 1 if listed else 0


def explain(name: str, /, *, as_json: AsJson = False, config: Config = FILE) -> int:
    """Strategy, access path, guarantee class and every reason, before anything runs."""
    from trueup import views
    from trueup.cli import show as drawing
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        told = views.explanation(engine.explain(name))
    tables.print_json(told) if as_json else drawing.draw_explanation(told)
    return 0
