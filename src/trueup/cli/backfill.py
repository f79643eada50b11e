"""Backfills and one-off corrections, and what was declared when."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from trueup.cli.answers import answered, opened, parse_key, print_answers
from trueup.cli.options import FILE, AsJson, Config, First, KeyTexts, Rows
from trueup.core.counted import counted

if TYPE_CHECKING:
    from trueup import Report, Trueup

Flag = Annotated[bool, Parameter(negative="", show_default=False)]


def backfill(
    file: Path,
    /,
    *,
    plan: Flag = False,
    apply: Flag = False,
    sandbox: Flag = False,
    key: KeyTexts = (),
    canary: First = None,
    rows: Rows = 20,
    as_json: AsJson = False,
    config: Config = FILE,
) -> int:
    """Change rows of a table by a function or an UPDATE in a file. Without --plan or --apply: show what would change.

    Parameters
    ----------
    file
        `FILE.py` with `fix(row)` or `fix_batch(rows)`, or `FILE.sql` with an UPDATE.
    plan
        Write down what would be done, for `trueup approve` and `trueup apply`.
    apply
        Do it, within the limits; what is beyond them is left as a plan. Goes on where an interrupted one was.
    sandbox
        Do all of it on a copy of the rows, which is removed afterwards, and tell what happened.
    """
    from trueup.errors import UsageError

    if plan + apply + sandbox > 1:
        raise UsageError("give one of --plan, --apply and --sandbox")
    with opened(config, as_json=as_json) as engine:
        name = engine.backfill(file)
        if sandbox:
            return _sandbox(engine, name, rows, as_json=as_json)
        keys = [parse_key(text) for text in key] or None
        work: partial[Report] = partial(engine.check, name, keys=keys, rows=rows)
        if plan or apply:
            engine.binding(name, writing=True)
        if plan:
            work = partial(engine.plan, name, keys=keys, rows=rows)
        if apply:
            work = partial(engine.run, name, keys=keys, rows=rows, canary=canary)
        answer = answered(name, work)
    code = print_answers([answer], as_json=as_json)
    if not (plan or apply or as_json):
        print(f"  nothing was written; next: trueup backfill {file} --sandbox, --plan or --apply")
    return code


def _sandbox(engine: Trueup, name: str, rows: int, *, as_json: bool) -> int:
    from trueup.cli import tables

    tried = engine.rehearse(name, rows=rows)
    if as_json:
        tables.print_json(tried.to_dict())
    else:
        tables.draw_report(tried.report)
        print("  on a copy, which is gone; the table itself was not touched")
        if tried.again:
            print(
                f"  {tried.again:,} rows would be changed again by a run that knows nothing of the first: `select` "
                f"still holds for them. The ledger keeps that from happening, as long as `version` stays the same"
            )
        if tried.lacking:
            print(f"  not tried: {', '.join(tried.lacking)} of the table, which a copy has not")
    return tried.report.exit_code


def definitions(name: str, /, *runs: str, as_json: AsJson = False, config: Config = FILE) -> int:
    """What a projection or backfill was declared as, when, with which code, and what changed.

    Parameters
    ----------
    runs
        Two runs: what changed from the one to the other. Default: from each definition to the next.
    """
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views.definitions(engine, name, runs)
    if as_json:
        tables.print_json({"definitions": rows})
        return 0
    out = tables.console()
    for row in rows:
        code = " ".join(f"{what} {told}" for what, told in row["code"].items() if isinstance(told, str))
        times = counted(row["runs"], "run")
        out.print(f"{row['definition'][:12]}  since {row['since']}  {times}, the last {row['last_run']}")
        out.print(f"  {code}", markup=False, style="dim")
        for change in row["changed"]:
            out.print(f"  {change['field']}: {change['before']} → {change['after']}", markup=False)
    if not rows:
        print("no run has been defined yet")
    return 0
