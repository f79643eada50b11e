"""`trueup diff`: compare, then show or write what was found."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from trueup.cli import garbage, output, tables
from trueup.cli.signals import interruptible
from trueup.errors import UsageError

if TYPE_CHECKING:
    from trueup import Report
    from trueup.cli.save import Saving
    from trueup.comparison import Comparison

#: Rows listed where nobody said how many; in the formats of lines it is all of them.
ROWS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the command line asks for."""

    source: str
    target: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    exclude: tuple[str, ...]
    renamed: dict[str, str]
    sensitive: tuple[str, ...]
    settle: str
    tolerance: dict[str, str]
    nulls: dict[str, str]
    exact: bool
    #: None: as many as fit the format.
    rows: int | None
    as_json: bool
    form: str | None
    output: Path | None
    save: str | None
    config: Path


def run(asked: Asked) -> int:
    """Compare and answer; the exit code is that of `check`."""
    from trueup.cli.progress import progress
    from trueup.comparison import comparing

    if asked.as_json and asked.form:
        raise UsageError("--json is one document and --format lists rows: give one of them")
    if asked.columns and asked.exclude:
        raise UsageError("--columns names what to compare and --exclude what not: give one of them")
    form = "json" if asked.as_json else output.format_of(asked.form, asked.output)
    _can_be_written(form, asked.output)
    rows = asked.rows if asked.rows is not None else ROWS if form in ("table", "json") else 0
    with ExitStack() as after:
        bars = after.enter_context(ExitStack())
        shown = bars.enter_context(progress(quiet=form != "table" and asked.output is None))
        comparison = after.enter_context(
            comparing(
                asked.source,
                asked.target,
                key=asked.key,
                columns=asked.columns or None,
                exclude=asked.exclude,
                renamed=asked.renamed,
                sensitive=asked.sensitive,
                settle=asked.settle,
                tolerance=asked.tolerance,
                nulls=asked.nulls,
                exact=asked.exact,
                progress=shown,
            )
        )
        after.enter_context(interruptible(comparison.engine))
        garbage.works()
        saving = _saving(asked.save, comparison, asked.config) if asked.save is not None else None
        if form in ("table", "json"):
            report = comparison.compare(rows=rows)
            bars.close()  # before anything is drawn
            _tell(comparison, report, form=form, path=asked.output)
        else:
            report = _write(comparison, bars, form=form, rows=rows, path=asked.output)
        if saving:
            print(saving.write(), file=sys.stderr)
    return report.exit_code


def _saving(name: str, comparison: Comparison, config: Path) -> Saving:
    from trueup.cli import save

    return save.prepare(name, comparison, config)


def _can_be_written(form: str, path: Path | None) -> None:
    """Told before anything is compared, which may take long.

    Raises UsageError.
    """
    if path is not None and not path.parent.is_dir():
        raise UsageError(f"--output {path}: there is no directory {path.parent}")
    if path is not None and path.is_dir():
        raise UsageError(f"--output {path}: it is a directory; name a file in it, {path / f'differences.{form}'}")
    if form == "parquet":
        from trueup.cli import parquet

        parquet.driver()


def _tell(comparison: Comparison, report: Report, *, form: str, path: Path | None) -> None:
    """The answer as a document or a table, to stdout or to a file."""
    if form == "json":
        _document(comparison, report, path)
        return
    with output.text_file(path) if path else nullcontext() as file:
        tables.draw_diff(comparison, report, file=file)


def _write(comparison: Comparison, bars: ExitStack, *, form: str, rows: int, path: Path | None) -> Report:
    """The rows as they are found; a summary goes to stdout if they go to a file, else to stderr."""
    found = comparison.differences()
    chosen = islice(found, rows) if rows else found
    if form == "parquet":
        from trueup.cli import parquet

        assert path is not None
        written = parquet.write(chosen, comparison.binding, path)
    else:
        with output.text_file(path) if path else output.stdout() as file:
            written = output.write_lines(form, chosen, comparison, file)
    deque(found, maxlen=0)  # beyond `rows` they are counted
    bars.close()
    report = comparison.report
    assert report is not None
    rest = f"; {report.drifted - written:,} more: --rows 0 writes all" if written < report.drifted else ""
    where = f" in {path}" if path else ""
    tables.draw_diff(comparison, report, last=f"{written:,} rows{where}{rest}", file=None if path else sys.stderr)
    return report


def _document(comparison: Comparison, report: Report, path: Path | None) -> None:
    named = {
        "source": comparison.source.label,
        "target": comparison.target.label,
        "key": list(comparison.projection.key),
    }
    document = {"verdict": str(report.verdict), "projections": [{**report.to_dict(), **named}]}
    with output.text_file(path) if path else output.stdout() as file:
        file.write(json.dumps(document, ensure_ascii=False) + "\n")


def names(texts: Sequence[str], option: str) -> tuple[str, ...]:
    """`--key A,B` and `--key A --key B` as names.

    Raises UsageError.
    """
    found = tuple(part.strip() for text in texts for part in text.split(",") if part.strip())
    for name in found:
        if "=" in name:
            raise UsageError(f"{option} names columns, as in {option} tenant,id; {name!r} is none")
    return found


def pairs(texts: Sequence[str], option: str, form: str) -> dict[str, str]:
    """`--map likes=like_count`, or `--tolerance price=0.01,ratio=1%`, as a mapping; `form`: how one is written.

    Raises UsageError.
    """
    found: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(",")):
        column, _, meant = (word.strip() for word in part.partition("="))
        if not column or not meant:
            raise UsageError(f"{option} {part!r}: write it as {form}")
        if column in found:
            raise UsageError(f"{option} names {column!r} twice")
        found[column] = meant
    return found
