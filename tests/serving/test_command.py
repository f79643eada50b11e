"""`trueup serve` as a user starts it, in a process of its own; what `status`, `queue` and `nodes` say meanwhile."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shop import SCHEMA, Server, Shop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    server = Server()
    made = Shop(folder=tmp_path, server=server, databases={"app": {"url": "sqlite:///app.db"}})
    made.sql(SCHEMA.format("src"), SCHEMA.format("tgt"))
    yield made
    server.close()


def test_it_serves_until_it_is_told_to_end(shop: Shop) -> None:
    shop.fill([(1, 10), (2, 20)], [(1, 10)])
    shop.declare(schedule={"cron": "0 0 1 1 *", "startup": True})
    with shop.running("serve", "--log", "json") as going:
        going.until("repaired in")
        status = shop.run("status", "--json").json["projections"][0]
        assert status["next"].endswith("-01-01T00:00:00+00:00")
        (node,) = shop.run("nodes", "--json").json["nodes"]
        assert node["pid"] == going.process.pid
        going.process.send_signal(signal.SIGTERM)
        ended = going.end()
    assert ended.code == 0, ended
    assert {json.loads(line)["level"] for line in ended.err.splitlines() if line.startswith("{")} == {"info"}
    assert shop.target == [(1, 10, None), (2, 20, None)]
    assert shop.run("nodes", "--json").json["nodes"] == []
    (request,) = shop.run("queue", "--json").json["requests"]
    assert (request["state"], request["answer"], request["asked_by"]) == ("done", "repaired", "startup")
    assert "a node started" in shop.run("queue").out


def test_sigterm_ends_a_run_at_its_border_and_leaves_the_request(shop: Shop) -> None:
    shop.fill([(1, 10)], [])
    shop.declare(schedule={"startup": True}, settle="600s")
    with shop.running("serve") as going:
        going.until("run begun")
        while not shop.sql("SELECT 1 FROM trueup_runs WHERE stage = 'confirm'", database="trueup"):
            pass
        going.process.send_signal(signal.SIGTERM)
        assert going.end().code == 0
    (request,) = shop.run("queue", "--json").json["requests"]
    assert request["state"] == "waiting"
    assert shop.run("status", "--json").json["projections"][0]["state"] == "interrupted"


def test_a_request_waits_for_whoever_serves(shop: Shop) -> None:
    shop.fill([(1, 10), (2, 20)], [(1, 10)])
    shop.declare()
    asked = shop.run("request", "p", "--key", "id=2", "--reason", "a customer called")
    assert asked.code == 0
    assert "no node serves" in asked.err
    assert shop.run("request", "p", "--key", "id=x", "--reason", "why").code == 2
    assert shop.run("request", "p").code == 2, "somebody wants to know why"
    again = shop.run("request", "p", "--key", "id=1", "--reason", "another", "--json").json
    assert (again["merged"], again["request"]) == (2, asked.out.split()[1])
    with shop.running("serve") as going:
        going.until("repaired in")
        going.process.send_signal(signal.SIGTERM)
        assert going.end().code == 0
    assert shop.target == [(1, 10, None), (2, 20, None)]
