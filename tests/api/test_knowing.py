"""What is going on and how Trueup is kept, as the commands tell it: each answer has what its view has."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from tests.alerting.receivers import web
from tests.api.worlds import Api, keys_of
from tests.discover import worlds
from trueup import views, views_alerts, views_discover
from trueup.core.alert_rules import Alerts
from trueup.core.alerts import Alert, Message
from trueup.store.alerts import AlertLedger


def test_definitions_and_what_changed(api: Api) -> None:
    first = api.done("/v1/projections/p/check")["run"]
    api.later(60)
    api.world.declared["p"] = api.world.declared["p"].model_copy(update={"on_extra": "report"})
    with api.engine() as engine:
        second = engine.check("p").run
        view = views.definitions(engine, "p")
    told = api.get("/v1/projections/p/definitions")
    assert keys_of(told) == keys_of(view)
    assert {"field": "declared.on_extra", "before": None, "after": "report"} in told[1]["changed"]
    assert api.get(f"/v1/projections/p/definitions?run={first}&run={second}")[1] == told[1]
    assert api.get("/v1/projections/p/definitions?limit=1") == told[1:]
    wrong = api.ask("GET", f"/v1/projections/p/definitions?run={first}", "viewer")
    assert (wrong.status_code, "give two runs" in wrong.json()["detail"]) == (422, True)


def test_the_quarantine_of_all_projections(small: Api) -> None:
    small.world.db.sql(
        "CREATE UNIQUE INDEX one_n ON t_hidden (n)", "INSERT INTO s_hidden VALUES (1, 5), (2, 5), (3, 5)"
    )
    small.done("/v1/projections/hidden/run")
    with small.engine() as engine:
        view = views.quarantined(engine)
    told = small.get("/v1/quarantine")
    assert (keys_of(told), {row["projection"] for row in told}) == (keys_of(view), {"hidden"})
    assert len(told) == 2
    assert small.get("/v1/quarantine?limit=1") == told[:1]
    assert len(small.get("/v1/projections/hidden/quarantine?limit=1")) == 1
    assert small.get("/v1/quarantine?projection=p") == []


def test_what_fires_and_what_was_not_delivered(small: Api) -> None:
    """Moments and texts only: where a message goes is a secret."""
    small.declared["alerts"] = Alerts(to=(SecretStr("json://hooks.example/s3cr3t"),))
    with small.engine() as engine:
        kept, now = AlertLedger(engine.ledger), engine.clock.now()
        alert = Alert(rule="drift", subject="p", state="firing", since=now, told_at=now, what="7 rows", next="look")
        to = views_alerts.destinations(engine.alerts.to)
        kept.note([alert], [Message(id="a-1", subject="p", title="drift", body="7 rows")], to, now)
        kept.failed(kept.due(now)[0], "no answer", now)
        view = views_alerts.alerts(engine)
    answer = small.ask("GET", "/v1/alerts", "viewer")
    assert keys_of(answer.json()) == keys_of(view)
    assert answer.json()["alerts"][0]["what"] == "7 rows"
    assert (answer.json()["undelivered"][0]["destination"], "s3cr3t" in answer.text) == ("json, number 1", False)


@pytest.mark.parametrize("private", [True, False])
def test_a_message_to_try_each_destination(small: Api, private: bool) -> None:
    with web() as got:
        to = tuple(SecretStr(f"json://127.0.0.1:{got.port}/s3cr3t{n}") for n in range(2))
        small.declared["alerts"] = Alerts(to=to, allow_private=private)
        answer = small.ask("POST", "/v1/alerts/test")
    assert [row["destination"] for row in answer.json()] == ["json, number 1", "json, number 2"]
    assert {row["sent"] for row in answer.json()} == {private}
    assert (len(got.got), "s3cr3t" in answer.text) == (2 * private, False)


def test_discovering_in_a_declared_database(small: Api) -> None:
    worlds.build(small.world.url)
    asked: dict[str, Any] = {"only": ["posts", "orders", "comments"], "seconds": 10.0}
    told = small.post("/v1/databases/app/discover", **asked)
    with small.engine() as engine:
        view = views_discover.discovered_in(engine, "app", limit=0, **asked)
    assert keys_of(told) == keys_of(view)
    wrong = {each["column"]: each["wrong"] for each in told["proposals"]}
    assert (told["database"], told["verdict"], wrong["posts.comments_count"]) == ("app", "drift", 12)
    assert len(small.post("/v1/databases/app/discover?limit=1", **asked)["proposals"]) == 1
    unknown = small.ask("POST", "/v1/databases/app/discover", only=["nothing"])
    assert (unknown.status_code, "there is no such table" in unknown.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("name", "status"),
    [("nowhere", 404), ("sqlite:%2F%2F%2F.%2Fother.db", 404), ("sqlite:other.db", 422), ("%3Cfiles%3E", 422)],
)
def test_no_request_says_where_a_database_is(small: Api, name: str, status: int) -> None:
    assert small.ask("POST", f"/v1/databases/{name}/discover", only=[]).status_code == status
    url = {"url": "sqlite:///other.db"}
    assert small.ask("POST", "/v1/databases/app/discover", **url).status_code == 422


def test_lines_of_one_projection_and_a_head_on_request(small: Api) -> None:
    small.done("/v1/projections/p/check")
    small.done("/v1/projections/hidden/check")
    small.post("/v1/projections/p/pause", reason="sale")  # no run is at whose end a head is made
    head = small.post("/v1/audit/sequence")["head"]
    assert head["note"].splitlines()[1] == str(head["size"])
    assert small.post("/v1/audit/sequence") == {"head": None}
    lines = small.get("/v1/audit/lines?projection=p&limit=100")
    assert {line["projection"] for line in lines} == {"p"}
    assert len(lines) < len(small.get("/v1/audit/lines?limit=100"))
    with small.engine() as engine:
        assert engine.audit.lines(limit=100, projection="p", among=1) == lines[:1]


def test_what_a_projection_does_by_itself(small: Api) -> None:
    small.world.drift(1)
    done = small.done("/v1/projections/p/request")
    assert (done["command"], done["asked_by"], done["answer"]) == ("run", "api", "refused")
