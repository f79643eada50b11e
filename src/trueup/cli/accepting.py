"""Commands about differences that somebody accepts."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from trueup.cli.answers import opened, parse_key
from trueup.cli.options import FILE, AsJson, Config, KeyTexts

Told = Annotated[str, Parameter(show_default=False)]


def accept(
    name: str,
    /,
    *,
    key: KeyTexts,
    reason: Told,
    owner: Told = "",
    until: Told = "",
    withdraw: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    as_json: AsJson = False,
    config: Config = FILE,
) -> int:
    """Accept the differences that rows have now: they are counted, and not repaired, until a day to come.

    Parameters
    ----------
    reason
        Why; kept in the record.
    owner
        Who answers for it.
    until
        The last day on which it counts, `2026-12-31`, or a moment.
    withdraw
        What was accepted about these rows is drift again.
    """
    from trueup import views
    from trueup.cli import tables

    keys = [parse_key(text) for text in key]
    with opened(config, as_json=as_json) as engine:
        if withdraw:
            rows = engine.withdraw(name, keys=keys, reason=reason)
        else:
            rows = engine.accept(name, keys=keys, reason=reason, owner=owner, until=until)
        told = [views.accepted_view(engine, row) for row in rows]
    if as_json:
        tables.print_json({"accepted": told})
        return 0
    for row in told:
        what = "is drift again" if withdraw else f"is accepted until {row['until']:%Y-%m-%d %H:%M} UTC"
        print(f"{name}: {tables.named(row['key'])} {what}")
    return 0


def accepted(name: str | None = None, /, *, as_json: AsJson = False, config: Config = FILE) -> int:
    """Accepted differences, newest first, those that are over too."""
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views.accepted(engine, name)
    if as_json:
        return tables.put(rows, as_json=True, title="accepted", empty="")
    told = [{**row, "until": f"{row['until']:%Y-%m-%d %H:%M}"} for row in rows]
    return tables.put(told, as_json=False, title="accepted", empty="nothing is accepted")
