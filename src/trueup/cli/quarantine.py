"""Commands about rows that are left out of repairs."""

from __future__ import annotations

from functools import partial

from cyclopts import App

from trueup.cli.answers import answered, opened, parse_key, print_answers
from trueup.cli.options import FILE, AsJson, Config, KeyTexts, Rows

quarantine = App(name="quarantine", help="Rows that are left out of repairs: list them, try them again, take them out.")


@quarantine.default
@quarantine.command(name="list")
def list_rows(name: str | None = None, /, *, as_json: AsJson = False, config: Config = FILE) -> int:
    """Rows in quarantine, longest standing first, with what is wrong with each. Exit code 1 if there are any.

    Parameters
    ----------
    name
        One projection; all of them if none is given.
    """
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views.quarantined(engine, name)
    hide = () if as_json else ("repairs",)
    tables.put(rows, as_json=as_json, title="quarantine", empty="nothing is in quarantine", hide=hide)
    return 1 if rows else 0


@quarantine.command
def retry(name: str, /, *, key: KeyTexts = (), rows: Rows = 100, as_json: AsJson = False, config: Config = FILE) -> int:
    """Repair rows in quarantine once more (all, or those of --key), and take out those that are right then."""
    with opened(config, as_json=as_json) as engine:
        keys = [parse_key(text) for text in key] or None
        answer = answered(name, partial(engine.quarantine_retry, name, keys=keys, rows=rows))
    return print_answers([answer], as_json=as_json)


@quarantine.command
def drop(name: str, /, *, key: KeyTexts, config: Config = FILE) -> int:
    """Take rows out of quarantine without looking at them: the next run treats them like any other."""
    with opened(config) as engine:
        count = engine.quarantine_drop(name, keys=[parse_key(text) for text in key])
    print(f"{name}: {count} taken out of quarantine")
    return 0
