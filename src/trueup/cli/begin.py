"""Commands to begin with."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from trueup.cli.options import BEGIN, FILE, AsJson, Config, Force, app

Only = Annotated[
    tuple[str, ...],
    Parameter(name="--only", negative="", show_default=False, help="Only columns of this table. May be repeated."),
]


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


@app.command(group=BEGIN)
def discover(
    url: str,
    /,
    *,
    only: Only = (),
    seconds: Annotated[float, Parameter(name="--seconds", help="Time for all of it.")] = 60.0,
    save: Annotated[bool, Parameter(name="--save", negative="", show_default=False)] = False,
    json: AsJson = False,
    config: Config = FILE,
) -> int:
    """Propose what is derived from what, from the schema, and count the rows that are wrong. Changes nothing.

    Parameters
    ----------
    url
        `postgresql://user@host/database`, `mariadb://user@host/database` or `sqlite:///file.db`.
    save
        Append what was found to the configuration file, as projections.
    """
    from trueup.cli import discover as discovering

    return discovering.run(url, seconds=seconds, only=only, save=save, as_json=json, config=config)


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
