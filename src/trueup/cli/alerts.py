"""`trueup alerts`: what is firing, what could not be sent, and a message to try it."""

from __future__ import annotations

from typing import Literal

from trueup.cli.answers import opened
from trueup.cli.options import FILE, AsJson, Config


def alerts(action: Literal["test"] | None = None, /, *, as_json: AsJson = False, config: Config = FILE) -> int:
    """Which alerts are firing, and what could not be sent; `trueup alerts test` sends a message to each destination."""
    from trueup import views_alerts
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        if action == "test":
            rows = views_alerts.tried(engine)
            tables.put(
                rows, as_json=as_json, title="destinations", empty='no destination is declared: [alerts] to = ["…"]'
            )
            return 0 if rows and all(row["sent"] for row in rows) else 3
        told = views_alerts.alerts(engine)
    if as_json:
        tables.print_json(told)
    else:
        tables.put(told["alerts"], as_json=False, title="alerts", empty="no alert is firing", hide=("over_since",))
        if told["undelivered"]:
            print("not delivered:")
            tables.put(told["undelivered"], as_json=False, title="undelivered", empty="")
    return 1 if any(row["state"] == "firing" for row in told["alerts"]) else 0
