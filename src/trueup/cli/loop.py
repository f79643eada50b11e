"""Commands that find drift, plan, repair and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from trueup.cli.answers import answered, opened, parse_key, print_answers
from trueup.cli.options import FILE, NOT_NEGATIVE, AsJson, Config, First, Full, KeyTexts, Partitions, Rows

if TYPE_CHECKING:
    from trueup import Report


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `check`, `plan` and `run` can be asked to look at, and how they answer."""

    key: KeyTexts = ()
    partition: Partitions = ()
    full: Full = False
    rows: Rows = 100
    as_json: AsJson = False
    config: Config = FILE


AS_DECLARED = Asked()


def check(*names: str, asked: Asked = AS_DECLARED) -> int:
    """Find drift; change nothing.

    Parameters
    ----------
    names
        Projections; all of them if none is given.
    """
    return _each("check", names, asked)


def run(
    *names: str,
    asked: Asked = AS_DECLARED,
    canary: First = None,
    as_defined: Annotated[str | None, Parameter(name="--as-defined", show_default=False)] = None,
) -> int:
    """Find drift, confirm it, repair it within the limits, verify. Resumes an interrupted run.

    Parameters
    ----------
    names
        Projections; all of them if none is given.
    as_defined
        As the projection was declared when this run began, whatever is declared now.
    """
    return _each("run", names, asked, as_defined=as_defined, canary=canary)


def plan(name: str, /, *, asked: Asked = AS_DECLARED) -> int:
    """Find drift and write down what would be done about it, for `trueup apply`."""
    return _each("plan", (name,), asked)


def apply(
    plan: str, /, *, canary: First = None, rows: Rows = 100, as_json: AsJson = False, config: Config = FILE
) -> int:
    """Carry out a plan to the letter: rows that changed since are left alone and listed."""
    with opened(config, as_json=as_json) as engine:
        name = engine.find_plan(plan).projection
        answer = answered(name, partial(engine.apply, plan, rows=rows, canary=canary))
    return print_answers([answer], as_json=as_json)


def show(plan_or_run: str, /, *, rows: Rows = 100, as_json: AsJson = False, config: Config = FILE) -> int:
    """Show a plan or a run: each row before and after, the statement, and what became of it."""
    from trueup import views
    from trueup.cli import show as drawing
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        shown = views.show(engine, plan_or_run, rows)
    tables.print_json(shown) if as_json else drawing.draw_shown(shown)
    return 0


Columns = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]
Tolerances = Annotated[
    tuple[str, ...],
    Parameter(
        negative="",
        show_default=False,
        help="`price=0.01`, `ratio=1%`, `seen_at=1s`: how far a column may be from the source's value.",
    ),
]
NullsMean = Annotated[
    tuple[str, ...],
    Parameter(
        negative="",
        show_default=False,
        help="`note=unknown`, `total=zero`: what a NULL in a column means. Default: `exact`, that it is NULL.",
    ),
]
Exact = Annotated[bool, Parameter(negative="", show_default=False, help="Compare every value, and trust no digest.")]
Form = Annotated[
    Literal["table", "jsonl", "csv", "parquet"] | None,
    Parameter(
        name="--format", show_choices=True, help="How rows are written; default: as --output ends, else a table."
    ),
]


def diff(
    source: str,
    target: str,
    /,
    *,
    key: Columns = (),
    columns: Columns = (),
    exclude: Columns = (),
    map: Columns = (),  # noqa: A002 - it is the option's name
    sensitive: Columns = (),
    settle: str = "0s",
    tolerance: Tolerances = (),
    nulls: NullsMean = (),
    exact: Exact = False,
    rows: Annotated[int | None, Parameter(validator=NOT_NEGATIVE)] = None,
    as_json: AsJson = False,
    form: Form = None,
    output: Path | None = None,
    save: str | None = None,
    config: Config = FILE,
) -> int:
    """Compare two sides named here, without a configuration: tables, queries, files.

    Parameters
    ----------
    source
        Where the truth is: `sqlite:///a.db#orders`, `postgresql://host/db#schema.table`, `URL#SELECT ...`, or a file.
    target
        What is compared with it; the same spelling.
    key
        Columns that rows belong together by: `id`, or `tenant,id`. Default: the target's primary key.
    columns
        Columns to compare. Default: every column that both sides have.
    exclude
        Columns not to compare.
    map
        `likes=like_count`: the source's name of a column and the target's, where they differ.
    sensitive
        Columns whose values are never shown.
    settle
        Look at what differs again after this long, `10s`, and leave out what moved.
    rows
        Rows listed at most; 0: all. Default: 100 in a table or document, else all. Counts are always complete.
    output
        Write to this file, which is there when it is complete.
    save
        Append the comparison as a projection of this name to the configuration file.
    """
    from trueup.cli import diff as comparing

    asked = comparing.Asked(
        source=source,
        target=target,
        key=comparing.names(key, "--key"),
        columns=comparing.names(columns, "--columns"),
        exclude=comparing.names(exclude, "--exclude"),
        renamed=comparing.pairs(map, "--map", "SOURCE_COLUMN=TARGET_COLUMN"),
        sensitive=comparing.names(sensitive, "--sensitive"),
        settle=settle,
        tolerance=comparing.pairs(tolerance, "--tolerance", "COLUMN=0.01, COLUMN=1% or COLUMN=1s"),
        nulls=comparing.pairs(nulls, "--nulls", "COLUMN=exact, COLUMN=unknown or COLUMN=zero"),
        exact=exact,
        rows=rows,
        as_json=as_json,
        form=form,
        output=output,
        save=save,
        config=config,
    )
    return comparing.run(asked)


def _each(command: str, names: Sequence[str], asked: Asked, *, as_defined: str | None = None, **how: Any) -> int:
    from trueup.errors import UsageError

    with opened(asked.config, as_json=asked.as_json) as engine:
        if as_defined is not None:
            declared = engine.as_defined(as_defined)
            if list(names) not in ([], [declared]):
                raise UsageError(f"--as-defined {as_defined}: that was a run of {declared}, and no other is meant")
            names = (declared,)
        chosen = list(names) or list(engine.projections)
        if asked.key and len(chosen) != 1:
            raise UsageError("--key belongs to one projection: name it")
        if asked.partition and len(chosen) != 1:
            raise UsageError("--partition belongs to one projection: name it")
        if not chosen:
            raise UsageError(f"{asked.config} declares no projection")
        for name in chosen:
            engine.binding(name, writing=command != "check")  # every declaration is right before the first one runs
        keys = [parse_key(text) for text in asked.key] or None
        parts = list(asked.partition) or None
        work: Callable[..., Report] = getattr(engine, command)
        answers = [
            answered(name, partial(work, name, keys=keys, partitions=parts, rows=asked.rows, full=asked.full, **how))
            for name in chosen
        ]
    return print_answers(answers, as_json=asked.as_json)
