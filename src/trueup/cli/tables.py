"""Reports and lists as tables for people, or as JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from trueup.core.counted import counted

if TYPE_CHECKING:
    from rich.console import Console

    from trueup import Report
    from trueup.comparison import Comparison

#: Columns of a screen that nobody watches: each row is one line, whatever it holds.
UNCUT = 100_000
#: Characters of a text of which all is shown on a terminal; of a longer one so many.
LONG = 240
#: Characters shown on a screen of a row that one side lacks: that it is not there says more than what it holds.
ALONE = 40

#: Causes told under a table, most rows first.
CAUSES = 3

#: Whole numbers that name something: they have to be typed elsewhere as they stand.
NAMES = ("pid", "seq")

#: Characters that end a line, or that a terminal obeys.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: Those that a console leaves out.
_LEFT_OUT = dict.fromkeys(map(ord, "\a\b\v\f\r"))
#: The markup of the lines below.
_MARKUP = re.compile(r"\[/?(?:bold|dim|green|red|yellow)\]")

_STYLE = {"in_sync": "green", "repaired": "green", "drift": "red", "inconclusive": "yellow", "refused": "yellow"}


class Plain:
    """Lines where nobody watches: what a console would print there, without the time that importing one takes."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def print(self, text: str, *, markup: bool = True, style: str = "") -> None:  # noqa: ARG002 - there are no colours
        print((_MARKUP.sub("", text) if markup else text).translate(_LEFT_OUT).expandtabs(), file=self._file)


def lines(file: TextIO) -> Console | Plain:
    """Where lines go that are no table."""
    return console(file) if file.isatty() else Plain(file)


def console(file: TextIO | None = None) -> Console:
    """Where to draw: stdout, or `file`."""
    from rich.console import Console

    if (file or sys.stdout).isatty():
        return Console(file=file, highlight=False, emoji=False)
    # Where nobody watches nothing is cut or folded to a screen's width: a row is a line.
    return Console(file=file, highlight=False, emoji=False, width=UNCUT, soft_wrap=True)


def table(rows: Sequence[dict[str, Any]], *, hide_empty: Sequence[str] = (), out: Console | None = None) -> None:
    """Rows with the same keys as a table; columns in `hide_empty` are left out where no row has anything there."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown = [name for name in rows[0] if name not in hide_empty or any(row[name] for row in rows)]
    for name in shown:
        number = isinstance(rows[0][name], int | float)
        drawn.add_column(name.replace("_", " "), justify="right" if number else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(str(row[name]) if name in NAMES else _cell(row[name]) for name in shown))
    out = out or console()
    if out.is_terminal:
        out.print(drawn)
        return
    with out.capture() as drawing:
        out.print(drawn)
    for line in drawing.get().splitlines():
        out.print(line.rstrip(), markup=False)


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
    """One document on stdout, in UTF-8 whatever the terminal's settings; moments in ISO 8601, UTC."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    print(json.dumps(data, ensure_ascii=False, default=lambda moment: moment.isoformat()))


def draw_report(report: Report) -> None:
    out = console()
    verdict = str(report.verdict)
    style = _STYLE[verdict]
    told = f"[bold]{report.projection}[/bold]  [{style}]{verdict.replace('_', ' ')}[/{style}]  {headline(report)}"
    out.print(told.rstrip())
    if report.reason:
        out.print(f"  {report.reason}", markup=False)
    facts = []
    if report.segments["planned"]:
        facts += [counted(report.source_rows, "source row"), counted(report.target_rows, "target row")]
        facts += [f"{report.segments['done']} of {report.segments['planned']} segments"]
    facts += [
        f"{report.seconds:.1f} s",
        f"{report.guarantee} ({report.proof})",
        f"run {report.run}" + (" (resumed)" if report.resumed else ""),
    ]
    out.print(f"  [dim]{' · '.join(facts)}[/dim]")
    if report.guarantee_reasons and report.command != "check":
        out.print(f"  {report.guarantee}: {'; '.join(report.guarantee_reasons)}", markup=False, style="dim")
    if report.passed_over:
        told = ", ".join(f"{why} {count:,}" for why, count in sorted(report.passed_over.items()))
        out.print(f"  not changed: {told}", markup=False)
    _draw_odd_keys(out, report)
    _draw_columns(out, report)
    _draw_partitions(out, report)
    _draw_rows(out, report)
    draw_causes(report.causes, out)
    if report.in_flight_rows:
        out.print("  [dim]rows in flight are in `in_flight_rows` of --json, with both pairs of values[/dim]")
    if report.undoes and report.repaired:
        out.print("  if the source still says otherwise, the next run repairs these rows again; to keep it from that:")
        out.print(f"  trueup pause {report.projection}", markup=False)
    if report.plan and report.command != "apply":
        out.print(f"  plan [bold]{report.plan}[/bold]  sha256 {report.plan_hash[:16]}…")
        approve = f"trueup approve {report.plan} --reason …   " if report.approvals_needed else ""
        out.print(f"  next: trueup show {report.plan}   {approve}trueup apply {report.plan}")


def draw_diff(comparison: Comparison, report: Report, *, last: str = "", file: TextIO | None = None) -> None:
    """A comparison of two named sides; `last`: where the rows are, if not here."""
    out = lines(file or sys.stdout)
    style = _STYLE[str(report.verdict)]
    source, target = comparison.source.label, comparison.target.label
    out.print(f"{source}  →  {target}", markup=False, style="bold")
    verdict = str(report.verdict).replace("_", " ")
    out.print(f"  [{style}]{verdict}[/{style}]  {headline(report)}".rstrip())
    key = ", ".join(comparison.projection.key) + (f" ({comparison.key_from})" if comparison.key_from else "")
    facts = [counted(report.source_rows, "source row"), counted(report.target_rows, "target row")]
    facts += [f"{report.seconds:.1f} s"]
    out.print(f"  {' · '.join([*facts, f'by {key}'])}", markup=False, style="dim")
    out.print(f"  {report.strategy}", markup=False, style="dim")
    _draw_one_sided(out, comparison)
    _draw_odd_keys(out, report)
    _draw_columns(out, report)
    if last:
        out.print(f"  {last}", markup=False)
    else:
        _draw_rows(console(file), report)
    draw_causes(report.causes, out)


def _draw_one_sided(out: Console | Plain, comparison: Comparison) -> None:
    """Columns that nothing was compared with: in sync says nothing of them."""
    told = [f"{', '.join(names)} (only in the {side})" for side, names in comparison.one_sided.items()]
    if told:
        out.print(f"  not compared: {'; '.join(told)}", markup=False, style="yellow")
    theirs = {name.casefold(): name for name in comparison.one_sided.get("target", ())}
    alike = {n: theirs[n.casefold()] for n in comparison.one_sided.get("source", ()) if n.casefold() in theirs}
    if alike:
        named = " ".join(f"--map {here}={there}" for here, there in alike.items())
        out.print(f"  to compare what is only written in another case: {named}", markup=False, style="yellow")


def _draw_odd_keys(out: Console | Plain, report: Report) -> None:
    """Rows that have no key of their own, and values that were not compared."""
    for side in ("source", "target"):
        for one, many, counts in (
            ("duplicate key", "duplicate keys", report.duplicate_keys),
            ("row with a NULL in the key", "rows with a NULL in the key", report.null_keys),
        ):
            if counts[side]:
                out.print(f"  [yellow]{counted(counts[side], one, many)} in the {side}[/yellow]")
    for name, rows in report.not_compared.items():
        told = f"  {name}: not compared in {counted(rows, 'row')}, where one side is NULL and that is declared unknown"
        out.print(told, markup=False, style="yellow")


def _draw_columns(out: Console | Plain, report: Report) -> None:
    """Which columns differ, most often first; where it is only one, the rows say it."""
    counts = sorted(report.different_by_column.items(), key=lambda item: -item[1])
    if len(counts) > 1:
        out.print("  columns: " + ", ".join(f"{name} {count:,}" for name, count in counts), markup=False)


def _draw_partitions(out: Console, report: Report) -> None:
    """The partitions that drift, and those that are not compared yet."""
    drifting = [row for row in report.partitions if row["missing"] or row["extra"] or row["different"]]
    if drifting:
        names = ("NULL" if row["partition"] is None else str(row["partition"]) for row in drifting)
        shown = [{**row, "partition": name} for row, name in zip(drifting, names, strict=True)]
        table(shown, out=out)
    for row in report.open_partitions:
        closes = datetime.fromisoformat(row["closes"]).astimezone(UTC)
        until = f"{closes:%Y-%m-%d %H:%M} UTC"
        out.print(f"  partition {row['partition']} is still open; it is compared from {until} on", markup=False)


def _draw_rows(out: Console, report: Report) -> None:
    """The listed rows."""
    if not report.drift:
        return
    table([flat(row, short=out.is_terminal) for row in report.drift], hide_empty=("outcome", "reason"), out=out)
    if report.drifted > len(report.drift):
        out.print(f"  [dim]{report.drifted - len(report.drift):,} more; --rows 0 lists all[/dim]")


def draw_causes(causes: Sequence[dict[str, Any]], out: Console | Plain | None = None) -> None:
    """What the rows have in common: one line, and what is not told of is in the JSON."""
    if not causes:
        return
    told = [cause["sentence"] for cause in causes[:CAUSES]]
    more = f"; {len(causes) - CAUSES} more in --json" if len(causes) > CAUSES else ""
    (out or console()).print(f"  in common: {'; '.join(told)}{more}", markup=False)


def headline(report: Report) -> str:
    """The counts that matter, in words."""
    parts = []
    if report.drifted:
        kinds = [(report.missing, "missing"), (report.extra, "extra"), (report.different, "different")]
        parts.append(", ".join(f"{count:,} {name}" for count, name in kinds if count))
    for count, words in (
        (report.repaired, "put back and verified" if report.undoes else "repaired and verified"),
        (report.stepped_aside, "stepped aside (the row had moved on)"),
        (report.left, "left"),
        (report.in_flight, "in flight"),
        (report.resolved, "resolved by themselves"),
        (report.accepted, "accepted (see `trueup accepted`)"),
    ):
        if count:
            parts.append(f"{count:,} {words}")
    return "; ".join(parts)


def flat(row: dict[str, Any], *, short: bool = False) -> dict[str, Any]:
    """One drifting row as table cells: of two rows with one key, the columns in which they differ.

    `short`: of a row that has no counterpart, only the beginning; of long texts, what is around the first difference.
    """
    expected, observed = (_told(row, side) for side in ("expected", "observed"))
    if short and expected and observed:
        for name in expected.keys() & observed.keys():
            expected[name], observed[name] = _around(expected[name], observed[name])
    alike = {name for name in expected or {} if str((expected or {})[name]) == str((observed or {}).get(name))}
    values = {"expected": named(expected, alike), "observed": named(observed, alike)}
    if short and None in (expected, observed):
        values = {name: _beginning(text) for name, text in values.items()}
    return {
        "kind": row["kind"],
        "key": named(row["key"]),
        **values,
        "outcome": row.get("outcome", ""),
        "reason": row.get("reason", ""),
    }


def _told(row: dict[str, Any], side: str) -> dict[str, Any] | None:
    values: dict[str, Any] | None = row[side]
    columns = row.get("columns")
    return {name: values[name] for name in columns or values} if values is not None else None


def _around(expected: Any, observed: Any) -> tuple[Any, Any]:
    """Two values; of long texts a part, from shortly before the place where they differ."""
    if not (isinstance(expected, str) and isinstance(observed, str)) or max(len(expected), len(observed)) <= LONG:
        return expected, observed
    differ = (at for at, (one, other) in enumerate(zip(expected, observed, strict=False)) if one != other)
    begin = max(next(differ, min(len(expected), len(observed))) - LONG // 4, 0)

    def part(text: str) -> str:
        return "…" * (begin > 0) + text[begin : begin + LONG] + "…" * (len(text) > begin + LONG)

    return part(expected), part(observed)


def _beginning(text: str) -> str:
    return text if len(text) <= ALONE else text[: ALONE - 1].rstrip(", ") + "…"


def named(values: dict[str, Any] | None, quoted: Collection[str] = ()) -> str:
    """Values with their names. Text of the columns in `quoted` is in quotes: it would look like something else."""
    if values is None:
        return "no row"
    return ", ".join(f"{name}={_value(value, quoted=name in quoted)}" for name, value in values.items())


def _value(value: Any, *, quoted: bool) -> str:
    """A value on one line; what could not be seen, or be taken for something else, is made visible."""
    if not isinstance(value, str):
        return "NULL" if value is None else str(value)
    text = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), value)
    return f"'{text}'" if quoted or text != text.strip() or text in ("", "NULL") else text


def _cell(value: Any) -> str:
    from rich.markup import escape

    match value:
        case None:
            return ""
        case datetime():
            return when(value)
        case dict():
            return escape(named(value))
        case float():
            return f"{value:,.1f}"
        case int():
            return f"{value:,}"
    return escape(str(value))


def when(moment: datetime) -> str:
    """How long ago a moment was, or in how long it will be."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    words = "{} ago" if seconds >= 0 else "in {}"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return words.format(f"{abs(seconds) / size:.0f} {unit}")
    return words.format(f"{abs(seconds):.0f} s")
