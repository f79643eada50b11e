"""Reports and lists as tables for people, or as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from trueup import Report

#: Columns of a screen that nobody watches: each row is one line, whatever it holds.
UNCUT = 100_000

_STYLE = {"in_sync": "green", "repaired": "green", "drift": "red", "inconclusive": "yellow", "refused": "yellow"}


def console() -> Console:
    from rich.console import Console

    # Where nobody watches nothing is cut or folded to a screen's width: a row is a line.
    if sys.stdout.isatty():
        return Console(highlight=False, emoji=False)
    return Console(highlight=False, emoji=False, width=UNCUT, soft_wrap=True)


def table(rows: Sequence[dict[str, Any]], *, hide_empty: Sequence[str] = ()) -> None:
    """Rows with the same keys as a table; columns in `hide_empty` are left out where no row has anything there."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown = [name for name in rows[0] if name not in hide_empty or any(row[name] for row in rows)]
    for name in shown:
        number = isinstance(rows[0][name], int | float)
        drawn.add_column(name.replace("_", " "), justify="right" if number else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(_cell(row[name]) for name in shown))
    console().print(drawn)


def put(rows: Sequence[dict[str, Any]], *, as_json: bool, title: str, empty: str, hide: Sequence[str] = ()) -> int:
    """A list as a table or as JSON; columns in `hide` are left out of the table where they are empty."""
    if as_json:
        print_json({title: list(rows)})
    elif rows:
        table(rows, hide_empty=hide)
    else:
        print(empty)
    return 0


def print_json(data: dict[str, Any]) -> None:
    """One document on stdout; moments in ISO 8601, UTC."""
    print(json.dumps(data, ensure_ascii=False, default=lambda moment: moment.isoformat()))


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
        table([flat(row) for row in report.drift], hide_empty=("outcome", "reason"))
        if report.drifted > len(report.drift):
            out.print(f"  [dim]{report.drifted - len(report.drift):,} more; --rows 0 lists all[/dim]")
    if report.plan and report.command == "plan":
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
    values = {name: named(row[name]) for name in ("key", "expected", "observed")}
    return {"kind": row["kind"], **values, "outcome": row.get("outcome", ""), "reason": row.get("reason", "")}


def named(values: dict[str, Any] | None) -> str:
    if values is None:
        return "no row"
    return ", ".join(f"{name}={'NULL' if value is None else value}" for name, value in values.items())


def _cell(value: Any) -> str:
    from rich.markup import escape

    match value:
        case None:
            return ""
        case datetime():
            return _ago(value)
        case dict():
            return escape(named(value))
        case float():
            return f"{value:,.1f}"
        case int():
            return f"{value:,}"
    return escape(str(value))


def _ago(moment: datetime) -> str:
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
