"""Events of other services, signed; they ask for runs, and say nothing to who cannot sign."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.worlds import Api, keys_of
from tests.serving.worlds import sqlite_world
from trueup import views
from trueup.core.webhook import signed

SECRET = "a secret that is long enough"
PATH = "/v1/hooks/orders"


@pytest.fixture
def hooked(tmp_path: Path) -> Iterator[Api]:
    world = sqlite_world(tmp_path)
    world.declare("orders", triggers=[{"kind": "webhook", "secret": SECRET}])
    world.declare("p")
    made = Api(world)
    yield made
    made.close()
    world.close()


def sent(api: Api, event: Any, path: str = PATH, secret: str = SECRET, late_s: int = 0) -> Any:
    body, moment = json.dumps(event).encode(), str(int(api.world.clock.now().timestamp()) - late_s)
    headers = {"webhook-id": "m1", "webhook-timestamp": moment}
    headers["webhook-signature"] = signed(secret.encode(), "m1", moment, body)
    return api.client.post(path, content=body, headers=headers)


def test_an_event_asks_for_its_keys(hooked: Api) -> None:
    hooked.world.drift(1, 2, name="orders")
    answer = sent(hooked, {"id": 1})
    assert (answer.status_code, answer.json()["keys"], answer.json()["asked_by"]) == (202, [{"id": 1}], "webhook")
    assert sent(hooked, {"id": 1}).headers["location"] == answer.headers["location"]  # merged
    hooked.node.step()
    request = hooked.get(answer.headers["location"])
    assert (request["answer"], request["merged"]) == ("repaired", 2)
    assert hooked.world.db.sql("SELECT id FROM t_orders") == [(1,)]


@pytest.mark.parametrize(
    "forged",
    [{"secret": "another that is long enough"}, {"late_s": 3600}, {"path": "/v1/hooks/p"}, {"path": "/v1/hooks/x"}],
    ids=["another secret", "an hour old", "none is declared", "no such projection"],
)
def test_who_cannot_sign_learns_nothing(hooked: Api, forged: dict[str, Any]) -> None:
    answers = [sent(hooked, {"id": 1}, **forged), hooked.client.post(PATH, content=b"{}")]
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.text for answer in answers}) == 1
    assert hooked.get("/v1/requests") == []
    assert [hooked.client.post(PATH).status_code for _ in range(12)][-1] == 429


def test_triggers_are_told_of(hooked: Api) -> None:
    with hooked.engine() as engine:
        view = views.triggers(engine)
    (told,) = hooked.get("/v1/triggers")
    assert (keys_of([told]), told["projection"], told["state"]) == (keys_of(view), "orders", "api")
    assert hooked.get("/v1/triggers?projection=p") == []
    assert SECRET not in str(told)


def test_what_cannot_be_read_is_said_to_who_can_sign(hooked: Api) -> None:
    answer = sent(hooked, {"order": 1})
    assert (answer.status_code, "cannot be read" in answer.json()["detail"]) == (422, True)
