"""One function a command; its signature and docstring are its help."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Group, Parameter, validators

from trueup._version import __version__
from trueup.cli.answers import answered, opened, parse_key, print_answers
from trueup.cli.help import PlainHelp

if TYPE_CHECKING:
    from trueup import Report

LOOP = Group("Find and repair", sort_key=1)
KNOW = Group("Know", sort_key=2)
SWITCH = Group("Switches", sort_key=3)
BEGIN = Group("Begin", sort_key=0)

app = App(
    name="trueup",
    version=__version__,
    version_flags=["--version"],
    help="Find drift between derived state and its source of truth, confirm it, repair it safely, prove it.",
    help_format="plaintext",
    # Frames are for people; where nobody watches, plain text also starts faster.
    help_formatter="default" if sys.stdout.isatty() else PlainHelp(),
    help_epilogue="Exit codes: 0 in sync or repaired, 1 drift, 2 usage or configuration, 3 inconclusive, 4 refused.",
    # Ctrl-C is answered by `main`, which says what it means; cyclopts would end without a word.
    suppress_keyboard_interrupt=False,
)

Config = Annotated[Path, Parameter(name=["--config", "-c"], env_var="TRUEUP_CONFIG", help="Configuration file.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="One JSON document on stdout.")]
NOT_NEGATIVE = validators.Number(gte=0)
Rows = Annotated[
    int,
    Parameter(name="--rows", validator=NOT_NEGATIVE, help="Rows listed at most; 0: all. Counts are always complete."),
]
Limit = Annotated[int, Parameter(name="--limit", validator=NOT_NEGATIVE, help="Runs listed at most.")]
KeyTexts = Annotated[
    tuple[str, ...],
    Parameter(
        name="--key",
        negative="",
        show_default=False,
        help="Only this key: `id=42`, or `tenant=7,id=42`. May be repeated.",
    ),
]
Partitions = Annotated[
    tuple[str, ...],
    Parameter(
        name="--partition",
        negative="",
        show_default=False,
        help="Only this partition: a value of its column (`NULL` too), or a bucket as `2013-11-03`. May be repeated.",
    ),
]
Force = Annotated[bool, Parameter(name="--force", negative="", show_default=False)]
Full = Annotated[
    bool,
    Parameter(name="--full", negative="", show_default=False, help="Read everything, though `changes` are declared."),
]
Reason = Annotated[str, Parameter(help="Why; kept in the record.")]
FILE = Path("trueup.toml")


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


# --- the loop --------------------------------------------------------------------------------------------------------


@app.command(group=LOOP)
def check(*names: str, asked: Asked = AS_DECLARED) -> int:
    """Find drift; change nothing.

    Parameters
    ----------
    names
        Projections; all of them if none is given.
    """
    return _each("check", names, asked)


@app.command(group=LOOP)
def run(*names: str, asked: Asked = AS_DECLARED) -> int:
    """Find drift, confirm it, repair it within the limits, verify. Resumes an interrupted run.

    Parameters
    ----------
    names
        Projections; all of them if none is given.
    """
    return _each("run", names, asked)


@app.command(group=LOOP)
def plan(name: str, /, *, asked: Asked = AS_DECLARED) -> int:
    """Find drift and write down what would be done about it, for `trueup apply`."""
    return _each("plan", (name,), asked)


@app.command(group=LOOP)
def apply(plan: str, /, *, rows: Rows = 100, as_json: AsJson = False, config: Config = FILE) -> int:
    """Carry out a plan to the letter: rows that changed since are left alone and listed."""
    with opened(config, as_json=as_json) as engine:
        name = engine.find_plan(plan).projection
        answer = answered(name, partial(engine.apply, plan, rows=rows))
    return print_answers([answer], as_json=as_json)


@app.command(group=LOOP)
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
Form = Annotated[
    Literal["table", "jsonl", "csv", "parquet"] | None,
    Parameter(
        name="--format", show_choices=True, help="How rows are written; default: as --output ends, else a table."
    ),
]


@app.command(group=LOOP)
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
        renamed=comparing.renames(map),
        sensitive=comparing.names(sensitive, "--sensitive"),
        settle=settle,
        rows=rows,
        as_json=as_json,
        form=form,
        output=output,
        save=save,
        config=config,
    )
    return comparing.run(asked)


# --- knowing ---------------------------------------------------------------------------------------------------------


@app.command(group=KNOW)
def status(*names: str, as_json: AsJson = False, config: Config = FILE) -> int:
    """What is going on: last run, known drift and its age, switches."""
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views.status(engine, names)
    return tables.put(rows, as_json=as_json, title="projections", empty="no projection is declared")


@app.command(group=KNOW)
def runs(name: str | None = None, /, *, limit: Limit = 20, as_json: AsJson = False, config: Config = FILE) -> int:
    """What happened: runs, newest first."""
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views.runs(engine, name, limit)
    return tables.put(rows, as_json=as_json, title="runs", empty="no run yet", hide=("reason",))


@app.command(group=KNOW)
def drift(name: str, /, *, rows: Rows = 100, as_json: AsJson = False, config: Config = FILE) -> int:
    """What is known to be wrong now, longest standing first."""
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        listed, causes = views.drift(engine, name, rows), views.causes(engine, name)
    if as_json:
        tables.print_json({"drift": listed, "causes": causes})
        return 1 if listed else 0
    tables.put(listed, as_json=False, title="drift", empty=f"{name}: no drift is known", hide=("reason",))
    tables.draw_causes(causes)
    return 1 if listed else 0


@app.command(group=KNOW)
def explain(name: str, /, *, as_json: AsJson = False, config: Config = FILE) -> int:
    """Strategy, access path, guarantee class and every reason, before anything runs."""
    from trueup import views
    from trueup.cli import show as drawing
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        told = views.explanation(engine.explain(name))
    tables.print_json(told) if as_json else drawing.draw_explanation(told)
    return 0


# --- switches --------------------------------------------------------------------------------------------------------


@app.command(group=SWITCH)
def pause(name: str, /, *, reason: Reason = "", config: Config = FILE) -> int:
    """Halt runs of a projection at the next segment border."""
    with opened(config) as engine:
        engine.pause(name, reason=reason)
    print(f"{name}: paused; `trueup resume {name}` goes on")
    return 0


@app.command(group=SWITCH)
def resume(name: str, /, *, config: Config = FILE) -> int:
    """Undo `pause` and `stop`."""
    with opened(config) as engine:
        engine.resume(name)
    print(f"{name}: may run")
    return 0


@app.command(group=SWITCH)
def stop(name: str, /, *, reason: Reason = "", config: Config = FILE) -> int:
    """Stop a projection: when this returns, no write is in flight, and none begins until `resume`."""
    with opened(config) as engine:
        engine.stop(name, reason=reason)
    print(f"{name}: stopped; no write is in flight. `trueup resume {name}` allows runs again")
    return 0


# --- beginning -------------------------------------------------------------------------------------------------------


@app.command(group=BEGIN)
def init(url: str | None = None, /, *, config: Config = FILE, force: Force = False) -> int:
    """Write a commented trueup.toml; with a database URL, with the tables found there.

    Parameters
    ----------
    url
        `postgresql://user@host/database` or `sqlite:///file.db`.
    force
        Replace an existing file.
    """
    from trueup.cli import init as writing

    return writing.write(url, config, force=force)


# What is imported on demand has its help here: the list of commands shows it without importing anything.
app.command(
    "trueup.demo.story:demo",
    name="demo",
    group=BEGIN,
    help="The whole story on real data, with live traffic, in under a minute. Fails if a promise fails.\n\n"
    "A month of flights, two projections of it, a projector with bugs: Trueup finds the drift, repairs it while the "
    "traffic goes on, is killed in the middle and resumes, and refuses a source that collapsed. Needs no database and "
    "leaves nothing behind.",
)


def _each(command: str, names: Sequence[str], asked: Asked) -> int:
    from trueup.errors import UsageError

    with opened(asked.config, as_json=asked.as_json) as engine:
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
            answered(name, partial(work, name, keys=keys, partitions=parts, rows=asked.rows, full=asked.full))
            for name in chosen
        ]
    return print_answers(answers, as_json=asked.as_json)
