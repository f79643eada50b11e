"""Commands to begin with."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from trueup.cli.options import FILE, AsJson, Config, Force

Only = Annotated[
    tuple[str, ...],
    Parameter(name="--only", negative="", show_default=False, help="Only columns of this table. May be repeated."),
]


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
