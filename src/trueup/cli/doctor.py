"""`trueup doctor`: what a repair depends on, found out."""

from __future__ import annotations

from typing import Any

from trueup.cli.answers import SEVERITY, opened
from trueup.cli.options import FILE, AsJson, Config


def doctor(*names: str, as_json: AsJson = False, config: Config = FILE) -> int:
    """Check settings, privileges and schema, and run the live race on scratch tables; say what to fix."""
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        told = views.examination(engine.doctor(*names))
    if as_json:
        tables.print_json(told)
    else:
        _draw(told)
    return max((each["exit_code"] for each in told["projections"]), key=SEVERITY.index, default=0)


_STYLE = {"ok": "green", "warn": "yellow", "not available": "yellow", "fail": "red"}


def _draw(told: dict[str, Any]) -> None:
    from trueup.cli import tables

    out = tables.console()
    _checks(out, told["checks"])
    for each in told["projections"]:
        out.print()
        if "error" in each:
            out.print(f"[bold]{each['projection']}[/bold]  [red]cannot be looked at[/red]")
            out.print(f"  {each['error']}", markup=False)
            continue
        by = "" if each["protocol"] == "none" else f" by {each['protocol'].replace('_', ' ')}"
        out.print(f"[bold]{each['projection']}[/bold]  {each['guarantee']}{by} ({each['proof']})")
        for reason in each["reasons"]:
            out.print(f"  {reason}", markup=False, style="dim")
        _checks(out, each["checks"])
        if "race" in each:
            race = each["race"]
            out.print(f"  race  {race['proof']}, {race['seconds']:.1f} s", markup=False)


def _checks(out: Any, checks: list[dict[str, str]]) -> None:
    """One line a check; below it, where all is not well, why and what to do."""
    place = ""
    for check in checks:
        if check.get("place", "") != place:
            place = check.get("place", "")
            out.print(f"  {place}", markup=False, style="bold")
        state = check["state"]
        out.print(f"    [{_STYLE[state]}]{state:<13}[/{_STYLE[state]}] ", end="")
        cap = f" (caps the class to {check['cap']})" if "cap" in check else ""
        out.print(f"{check['check']}: {check['seen']}{cap}", markup=False)
        for name in ("why", "remedy"):
            if name in check:
                out.print(f"                  {'to do: ' if name == 'remedy' else ''}{check[name]}", markup=False)
