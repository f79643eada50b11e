"""What people do with it, from the first look to the rollback, over real tables; each answer has what its view has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.worlds import Api, keys_of
from trueup import views, views_audit, views_causes, views_serving


def test_drift_is_found_planned_approved_applied_and_undone(api: Api) -> None:
    api.world.drift(1, 2, 3)
    checked = api.done("/v1/projections/p/check")
    assert (checked["state"], checked["answer"], checked["actor"], checked["asked_by"]) == (
        "done",
        "drift",
        "operator-1",
        "api",
    )
    assert [row["key"] for row in api.get("/v1/projections/p/drift")["drift"]] == [{"id": 1}, {"id": 2}, {"id": 3}]

    planned = api.done("/v1/projections/p/plan")
    plan = api.get(f"/v1/runs/{planned['run']}")["left_plan"]
    why = {"reason": "looked at"}
    refused = api.ask("POST", f"/v1/plans/{plan}/apply", "operator", **why)
    assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")
    assert "needs 1 approval and has 0" in refused.json()["detail"]
    assert api.ask("POST", f"/v1/plans/{plan}/approve", "operator", **why).status_code == 403
    approved = api.post(f"/v1/plans/{plan}/approve", "approver", **why)
    assert (approved["plan_state"], approved["said"][0]["actor"], approved["said"][0]["actor_by"]) == (
        "ready",
        "approver-1",
        "token",
    )
    applied = api.done(f"/v1/plans/{plan}/apply")
    assert (applied["answer"], applied["about"]) == ("repaired", plan)
    assert api.world.right()
    assert {row["outcome"] for row in api.get(f"/v1/runs/{applied['run']}")["changes"]} == {"applied"}
    assert api.ask("POST", f"/v1/plans/{plan}/apply", "operator", **why).status_code == 409

    undone = api.done(f"/v1/runs/{applied['run']}/rollback", keys=[{"id": 2}])
    assert api.world.right()  # it is a plan, and no more
    back = api.get(f"/v1/runs/{undone['run']}")["left_plan"]
    assert api.get(f"/v1/plans/{back}")["rows_deleted"] == 1
    api.post(f"/v1/plans/{back}/approve", "approver", **why)
    assert api.done(f"/v1/plans/{back}/apply")["answer"] == "repaired"
    assert api.world.db.sql("SELECT id FROM t_p ORDER BY id") == [(1,), (3,)]
    with api.engine() as engine:
        assert engine.audit.verify().problems == []
        lines = engine.audit.lines(limit=1000)
    assert {line["act"] for line in lines if line["actor"]["name"] == "approver-1"} == {"plan.approved"}


def test_each_answer_has_what_its_view_has(api: Api) -> None:
    """Shapes are written beside the views; what a view gives and a shape lacks would be left out in silence."""
    api.world.drift(1, 2)
    api.world.drift(7, name="hidden")
    run = api.done("/v1/projections/p/check")["run"]
    api.done("/v1/projections/hidden/run")
    plan = api.get(f"/v1/runs/{api.done('/v1/projections/p/plan')['run']}")["left_plan"]
    api.post(f"/v1/plans/{plan}/reject", "approver", reason="not now")
    accepted = {"keys": [{"id": 1}], "reason": "known", "owner": "team", "until": "2100-01-01"}
    (row,) = api.post("/v1/projections/p/accept", "approver", **accepted)
    assert (row["state"], row["owner"], row["actor"]) == ("active", "team", "approver-1")
    api.ask("PUT", "/v1/pace/held", most=1.5, reason="sale", for_s=60)
    with api.engine() as engine:
        engine.audit.seal()
        same: dict[str, Any] = {
            "/v1/projections": views.status(engine),
            "/v1/projections/p": views.status(engine, ["p"])[0],
            "/v1/projections/p/drift": {"drift": views.drift(engine, "p"), "causes": views_causes.causes(engine, "p")},
            "/v1/projections/p/explain": views.explanation(engine.explain("p")),
            "/v1/accepted": views.accepted(engine),
            "/v1/runs": views.runs(engine),
            f"/v1/runs/{run}": views.show(engine, run),
            "/v1/plans": views.plans(engine),
            f"/v1/plans/{plan}": views.show(engine, plan),
            "/v1/requests": views.queue(engine),
            "/v1/nodes": views.nodes(engine),
            "/v1/pace": views_serving.paces(engine),
            "/v1/pace/held": views_serving.pace(engine, "held"),
            "/v1/audit": views_audit.audit(engine),
            "/v1/audit/lines": engine.audit.lines(),
            "/v1/audit/lines/0": json.loads(engine.audit.line(0)),
            "/v1/tokens": views_serving.tokens(engine),
        }
    for path, view in same.items():
        assert view, path
        assert keys_of(api.get(path, "admin")) == keys_of(view), path
    assert api.get("/v1/projections/hidden/drift")["drift"] == []
    shown = api.get(f"/v1/runs/{api.get('/v1/runs?projection=hidden')[0]['run']}")
    assert [change["after"] for change in shown["changes"]] == [{"n": "•••"}]
    (back,) = api.post("/v1/projections/p/withdraw", "approver", keys=[{"id": 1}], reason="it is not")
    assert back["key"] == {"id": 1}


def test_rows_that_the_database_refuses(api: Api) -> None:
    api.world.db.sql("CREATE UNIQUE INDEX one_n ON t_hidden (n)", "INSERT INTO s_hidden VALUES (1, 5), (2, 5)")
    api.done("/v1/projections/hidden/run")
    (held,) = api.get("/v1/projections/hidden/quarantine")
    assert (held["trouble"], held["attempts"], held["repairs"]) == ("refused", 1, [])
    api.world.db.sql("DROP INDEX one_n")
    retried = api.done("/v1/projections/hidden/quarantine/retry")
    assert (retried["answer"], retried["keys"]) == ("repaired", [held["key"]])
    assert api.world.right("hidden")
    nothing = api.ask("POST", "/v1/projections/hidden/quarantine/drop", "operator", keys=[held["key"]])
    assert (nothing.status_code, "not in quarantine" in nothing.json()["detail"]) == (422, True)


def test_switches_hold_runs_up(small: Api) -> None:
    small.world.drift(1)
    assert small.post("/v1/projections/p/pause", reason="sale")["state"] == "paused"
    assert small.done("/v1/projections/p/check")["state"] == "waiting"
    assert small.post("/v1/projections/p/resume")["state"] != "paused"
    small.node.step()
    assert small.get("/v1/requests")[0]["answer"] == "drift"
    assert small.post("/v1/projections/p/stop", reason="wrong")["state"] == "stopped"
    assert {row["state"] for row in small.post("/v1/stop", reason="all")} == {"stopped"}
    with small.engine() as engine:
        engine.audit.seal()
        switched = [line for line in engine.audit.lines(limit=99) if line["act"].startswith("control.")]
    assert {(line["actor"]["name"], line["actor"]["by"]) for line in switched} == {("operator-1", "token")}


def test_the_audit_log_is_checked_and_given_out(small: Api) -> None:
    small.world.drift(1)
    small.done("/v1/projections/p/check")
    checked = small.post("/v1/audit/verify")
    assert (checked["problems"], checked["heads"] > 0) == ([], True)
    (head, *_) = small.get("/v1/audit/heads")
    assert head["note"].splitlines()[1] == str(head["size"])
    answer = small.ask("POST", "/v1/audit/export", "operator", form="jsonl")
    assert answer.headers["content-type"] == "application/jsonl"
    assert [json.loads(line)["seq"] for line in answer.text.splitlines()] == list(range(answer.text.count("\n")))
    csv = small.ask("POST", "/v1/audit/export", "operator", form="csv", projection="p")
    assert csv.text.splitlines()[0].startswith("seq,at,act")
    wrong = small.ask("POST", "/v1/audit/export", "operator", since="yesterday")
    assert wrong.status_code == 422


def test_what_an_admin_does(small: Api) -> None:
    small.world.drift(1, name="hidden")
    small.done("/v1/projections/hidden/run")
    assert small.post("/v1/projections/hidden/erase", "admin", keys=[{"id": 1}]) == {"rows": 2}
    told = small.ask("PUT", "/v1/pace/held", reason="sale", most=1.5, for_s=60).json()
    assert (told["override"], told["override_by"]) == ({"most": 1.5}, "admin-1")
    assert small.ask("DELETE", "/v1/pace/held").json()["override"] == {}
    assert small.ask("PUT", "/v1/pace/app", most=1.5).status_code == 422  # it is not paced
    assert small.ask("PUT", "/v1/pace/held", most=-1.0).status_code == 422


def test_the_doctor_looks_at_one_projection(small: Api) -> None:
    (told,) = small.post("/v1/projections/p/doctor")["projections"]
    assert (told["projection"], told["exit_code"]) == ("p", 0)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v1/projections/q", 404, "there is no projection"),
        ("/v1/runs/r-nothere", 404, "there is no run"),
        ("/v1/plans/p-nothere", 404, "there is no plan"),
        ("/v1/requests/q-nothere", 404, "there is no request"),
        ("/v1/audit/lines/99999", 404, "no line"),
        ("/v1/projections/p%2F..%2Fq", 404, "Not Found"),
        ("/v1/runs?limit=1001", 422, "limit"),
        ("/v1/runs?projection=%00", 422, "projection"),
        ("/v1/pace/app", 422, "not paced"),
        ("/v1/nothing", 404, "Not Found"),
    ],
)
def test_what_is_wrong_is_said_as_a_problem(small: Api, path: str, status: int, said: str) -> None:
    answer = small.ask("GET", path, "viewer")
    problem = answer.json()
    assert (answer.status_code, problem["status"], said in problem["detail"]) == (status, status, True), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
