"""Commands about plans: who agrees to what."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from cyclopts import Parameter

from trueup.cli.answers import answered, opened, parse_key, print_answers
from trueup.cli.options import FILE, AsJson, Config, First, KeyTexts, Limit, Reason, Rows


def approve(
    plan: str,
    /,
    *,
    reason: Reason,
    reject: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    as_json: AsJson = False,
    config: Config = FILE,
) -> int:
    """Permit a plan, or reject it: at most these rows, with these values, for a while.

    Parameters
    ----------
    reject
        Say no instead, or withdraw a plan of your own. Final.
    """
    from trueup import views
    from trueup.cli import show as drawing
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        say = engine.reject if reject else engine.approve
        said = views.plan_view(say(plan, reason=reason))
    if as_json:
        tables.print_json(said)
        return 0
    print(f"plan {said['plan']} of {said['projection']}: {said['plan_state']}")
    drawing.draw_plan(said)
    drawing.draw_next(said)
    return 0


def plans(name: str | None = None, /, *, limit: Limit = 20, as_json: AsJson = False, config: Config = FILE) -> int:
    """Plans, newest first: what each would change, who approved it, and what can be done with it."""
    from trueup import views
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views.plans(engine, name, limit)
    if as_json:
        tables.print_json({"plans": rows})
        return 0
    told = ("plan", "projection", "plan_state", "rows_changed", "rows_deleted", "requester", "created", "beyond")
    shown = [
        {name: row[name] for name in told} | {"approvals": f"{row['approvals']} of {row['approvals_needed']}"}
        for row in rows
    ]
    return tables.put(shown, as_json=False, title="plans", empty="no plan yet", hide=("beyond",))


def rollback(
    run: str,
    /,
    *,
    key: KeyTexts = (),
    plan: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    canary: First = None,
    rows: Rows = 100,
    as_json: AsJson = False,
    config: Config = FILE,
) -> int:
    """Put the rows that a run wrote back as they were, where nobody has changed them since.

    Parameters
    ----------
    plan
        Only make a plan of it, for `trueup apply`.
    """
    with opened(config, as_json=as_json) as engine:
        name = engine.find_run(run).projection
        keys = [parse_key(text) for text in key] or None
        answer = answered(name, partial(engine.rollback, run, keys=keys, only_plan=plan, rows=rows, canary=canary))
    return print_answers([answer], as_json=as_json)
