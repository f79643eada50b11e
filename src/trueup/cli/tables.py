"""Reports and lists as tables for people, or as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from trueup.core.compare import mask
from trueup.core.row import present

if TYPE_CHECKING:
    from rich.console import Console

    from trueup import Report, Trueup

_STYLE = {"in_sync": "green", "repaired": "green", "drift": "red", "inconclusive": "yellow", "refused": "yellow"}


def console() -> Console:
    from rich.console import Console

    # Where nobody watches nothing is cut or folded to a screen's width: a row is a line.
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=10**6, soft_wrap=True)


def table(rows: Sequence[dict[str, Any]], *, title: str = "") -> None:
    """Rows with the same keys as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for name, value in rows[0].items():
        number = isinstance(value, int) and not isinstance(value, bool)
        drawn.add_column(name.replace("_", " "), justify="right" if number else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(_cell(value) for value in row.values()))
    console().print(drawn)


def put(rows: Sequence[dict[str, Any]], *, as_json: bool, title: str, empty: str) -> int:
    if as_json:
        print(json.dumps({title: list(rows)}, ensure_ascii=False))
    elif rows:
        table(rows)
    else:
        print(empty)
    return 0


def draw_report(report: Report) -> None:
    out = console()
    verdict = str(report.verdict)
    style = _STYLE[verdict]
    out.print(f"[bold]{report.projection}[/bold]  [{style}]{verdict.replace('_', ' ')}[/{style}]  {headline(report)}")
    if report.reason:
        out.print(f"  {report.reason}", markup=False)
    facts = []
    if report.segments["planned"]:
        facts += [f"{report.source_rows:,} source rows", f"{report.target_rows:,} target rows"]
        facts += [f"{report.segments['done']} of {report.segments['planned']} segments"]
    facts += [
        f"{report.seconds:.1f} s",
        report.guarantee,
        f"run {report.run}" + (" (resumed)" if report.resumed else ""),
    ]
    out.print(f"  [dim]{' · '.join(facts)}[/dim]")
    for side in ("source", "target"):
        for what, counts in (
            ("duplicate keys", report.duplicate_keys),
            ("rows with a NULL in the key", report.null_keys),
        ):
            if counts[side]:
                out.print(f"  [yellow]{counts[side]:,} {what} in the {side}[/yellow]")
    if report.drift:
        cells = [flat(row) for row in report.drift]
        shown = [name for name in cells[0] if name not in ("outcome", "reason") or any(row[name] for row in cells)]
        table([{name: row[name] for name in shown} for row in cells])
        if report.drifted > len(report.drift):
            out.print(f"  [dim]{report.drifted - len(report.drift):,} more; --rows 0 lists all[/dim]")
    if report.command == "plan":
        out.print(f"  plan [bold]{report.plan}[/bold]  sha256 {report.plan_hash[:16]}…")
        out.print(f"  next: trueup show {report.plan}   trueup apply {report.plan}")


def headline(report: Report) -> str:
    """The counts that matter, in words."""
    parts = []
    if report.drifted:
        kinds = [(report.missing, "missing"), (report.extra, "extra"), (report.different, "different")]
        parts.append(", ".join(f"{count:,} {name}" for count, name in kinds if count))
    for count, words in (
        (report.repaired, "repaired and verified"),
        (report.stepped_aside, "stepped aside (the row had moved on)"),
        (report.left, "left"),
        (report.in_flight, "in flight"),
        (report.resolved, "resolved by themselves"),
    ):
        if count:
            parts.append(f"{count:,} {words}")
    return "; ".join(parts)


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """One drifting row as table cells."""
    cells: dict[str, Any] = {"kind": row["kind"], "key": named(row["key"])}
    cells["expected"] = named(row["expected"])
    cells["observed"] = named(row["observed"])
    for extra in ("outcome", "reason"):
        cells[extra] = row.get(extra, "")
    return cells


def named(values: dict[str, Any] | None) -> str:
    if values is None:
        return "no row"
    return ", ".join(f"{name}={'NULL' if value is None else value}" for name, value in values.items())


def status_rows(engine: Trueup, names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for entry in engine.status(names):
        last = entry.last
        rows.append(
            {
                "projection": entry.projection.name,
                "state": entry.control.state
                if entry.control.state != "running"
                else (last.state if last else "never ran"),
                "verdict": (last.verdict or "") if last else "",
                "last_run": last.id if last else "",
                "ended": _ago(last.ended_at) if last else "",
                "known_drift": entry.drift,
                "oldest_drift": _ago(entry.oldest),
            }
        )
    return rows


def run_rows(engine: Trueup, name: str | None, limit: int) -> list[dict[str, Any]]:
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
                "started": run.started_at.isoformat(sep=" ", timespec="seconds"),
                "seconds": f"{report['seconds']:.1f}" if "seconds" in report else "",
                "reason": run.reason,
            }
        )
    return rows


def drift_rows(engine: Trueup, name: str, rows: int) -> list[dict[str, Any]]:
    projection = engine.projection(name)
    listed = []
    for row in engine.drift(name, limit=rows):
        hidden = len(row.drift.expected or row.drift.observed or ())
        drift = row.drift if not projection.sensitive else mask(row.drift, (True,) * hidden)
        listed.append(
            {
                "kind": str(drift.kind),
                "key": named(dict(zip(projection.key, map(present, drift.key), strict=True))),
                "expected": _values(drift.expected),
                "observed": _values(drift.observed),
                "since": _ago(row.first_seen),
                "last_seen": _ago(row.last_seen),
                "reason": row.reason,
            }
        )
    return listed


def _values(values: Sequence[Any] | None) -> str:
    return "no row" if values is None else ", ".join("NULL" if v is None else str(present(v)) for v in values)


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _cell(value: Any) -> str:
    from rich.markup import escape

    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else escape(str(value))
