"""Figures are what the ledger says, in a form that Prometheus reads, and the same whichever node is asked."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from tests.api.worlds import Api
from trueup import views
from trueup.api.metrics import Metrics
from trueup.pace.admission import Caused
from trueup.store import schema as t

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"


def figures(text: str) -> dict[tuple[str, ...], float]:
    """Name and values of labels -> value."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(api: Api) -> dict[tuple[str, ...], float]:
    answer = api.ask("GET", "/metrics", "viewer")
    assert answer.headers["content-type"].startswith("text/plain; version=1.0.0")
    return figures(answer.text)


def test_drift_and_repairs(api: Api) -> None:
    api.world.db.sql(
        "INSERT INTO s_p VALUES (1, 5), (2, 7), (3, 9)", "INSERT INTO t_p VALUES (2, 10), (3, -90), (4, 1)"
    )
    api.world.db.sql("INSERT INTO s_hidden VALUES (1, 5)", "INSERT INTO t_hidden VALUES (1, 77)")
    api.done("/v1/projections/p/check")
    api.done("/v1/projections/hidden/check")
    found = read(api)
    kinds = {kind: found["trueup_drift_rows", kind, "p"] for kind in ("missing", "extra", "different")}
    assert kinds == {"missing": 1, "extra": 1, "different": 2}
    assert found["trueup_drift_largest", "n", "p"] == 99
    assert ("trueup_drift_largest", "n", "hidden") not in found  # it is sensitive
    assert found["trueup_run_seconds_count", "check", "drift", "p"] == 1
    with api.engine() as engine:
        assert sum(kinds.values()) == views.status(engine, ["p"])[0]["known_drift"]
    api.later(60)
    assert read(api)["trueup_drift_oldest_seconds", "p"] >= 60
    assert read(api)["trueup_unreconciled_seconds", "p"] >= 60

    plan = api.get(f"/v1/runs/{api.done('/v1/projections/p/plan')['run']}")["left_plan"]
    api.post(f"/v1/plans/{plan}/approve", "approver", reason="right")
    run = api.done(f"/v1/plans/{plan}/apply")["run"]
    found = read(api)
    with api.engine() as engine, engine.ledger.reading() as c:
        outcomes = sa.select(sa.func.count()).where(t.outcomes.c.run == run, t.outcomes.c.outcome == "applied")
        assert found["trueup_rows_repaired_total", "p"] == c.execute(outcomes).scalar() == 3
    assert found["trueup_rows_left_wrong_total", "p"] == 1  # what is extra is only reported
    assert found["trueup_drift_rows", "different", "p"] == 0
    assert found["trueup_drift_rows", "extra", "p"] == 1
    assert ("trueup_drift_largest", "n", "p") not in found
    with api.engine() as engine:  # another node tells the same of the ledger
        other = figures(Metrics(dict).text(engine).decode())
    ours = (
        "trueup_http",
        "trueup_process",
        "process",
        "trueup_last_run_age",
        "trueup_drift_oldest",
        "trueup_audit",
        "trueup_unreconciled",
    )
    same = {key: value for key, value in found.items() if not key[0].startswith(ours)}
    assert {key: value for key, value in other.items() if key in same} == same


def test_the_queue_the_switches_and_the_log(small: Api) -> None:
    small.post("/v1/projections/p/pause", reason="sale")
    asked = small.ask("POST", "/v1/projections/p/check", "operator", reason="look")
    assert asked.status_code == 202
    small.node.begin()
    small.later(30)
    found = read(small)
    assert found["trueup_requests", "waiting"] == 1
    assert found["trueup_queue_oldest_seconds",] >= 30
    assert (found["trueup_nodes",], found["trueup_audit_unsequenced",] > 0) == (1, True)
    assert [found["trueup_projection_switch", "p", state] for state in ("running", "paused", "stopped")] == [0, 1, 0]
    assert found["trueup_pace_state", "held", "idle"] == 1
    assert found["trueup_http_requests_total", "POST", "/v1/projections/{name}/check", "202"] == 1


def test_what_this_process_asked_of_databases(small: Api) -> None:
    with small.engine() as engine:
        caused = Caused(statements=1, seconds=0.2, changes=Counter(degraded=1))
        caused += Caused(statements=2, seconds=0.3, changes=Counter(degraded=1, recovery=1))
        told = figures(Metrics(lambda: {"app": caused}).text(engine).decode())
    assert told["trueup_pace_changes_total", "app", "degraded"] == 2
    assert told["trueup_process_statement_seconds_count", "app"] == 3
    assert told["trueup_process_statement_seconds_sum", "app"] == 0.5


def test_each_figure_is_described(small: Api) -> None:
    """In docs/metrics.md, under the name that Prometheus has it by; and nothing is described that is not there."""
    small.world.db.sql("INSERT INTO s_p VALUES (1, 5)", "INSERT INTO t_p VALUES (1, 6)")
    small.done("/v1/projections/p/run")
    given = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(small.ask("GET", "/metrics", "viewer").text)
    }
    told = set(re.findall(r"^\| `(\w+)`", DOCS.read_text(), re.MULTILINE))
    sometimes = {"trueup_pace_slowed", "trueup_pace_budget", "trueup_pace_pressure", "trueup_pace_statement_seconds"}
    sometimes |= {"trueup_process_statement_seconds", "trueup_pace_changes_total", "trueup_unreconciled_aim_seconds"}
    mine = {name for name in given if name.startswith("trueup_") and not name.endswith("_created")}
    assert mine - told == set()
    assert told - mine <= sometimes
