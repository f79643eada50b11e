"""Backfills over HTTP: their files are on the nodes, what is asked for goes through the queue, no code comes along."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.worlds import Api, keys_of
from trueup import views_backfills


def values(api: Api) -> list[int]:
    return [n for (n,) in api.world.db.sql("SELECT n FROM t_p ORDER BY id")]


@pytest.fixture
def filled(api: Api) -> Api:
    api.world.db.sql("INSERT INTO t_p VALUES (1, 10), (2, 20)")
    return api


def left_plan(api: Api, path: str) -> str:
    return str(api.get(f"/v1/runs/{api.done(path)['run']}")["left_plan"])


def test_from_the_list_to_the_rollback(filled: Api, tmp_path: Path) -> None:
    assert filled.get("/v1/backfills") == []
    name = filled.backfill(tmp_path)
    (listed,) = filled.get("/v1/backfills")
    with filled.engine() as engine:
        assert keys_of(listed) == keys_of(views_backfills.backfill(engine, name))
    assert (listed["backfill"], listed["database"], listed["table"], listed["writes"]) == (name, "app", "t_p", ["n"])
    assert (listed["file"], listed["verdict"]) == (str(tmp_path / "more.sql"), "drift")
    assert filled.get(f"/v1/backfills/{name}") == listed
    assert filled.ask("GET", "/v1/backfills/p").status_code == 404  # it is a projection

    assert filled.done(f"/v1/projections/{name}/check")["answer"] == "drift"
    plan = left_plan(filled, f"/v1/projections/{name}/plan")
    assert filled.get(f"/v1/plans/{plan}")["changes"][0]["after"] == {"n": 11}
    assert values(filled) == [10, 20]
    applied = filled.done(f"/v1/plans/{plan}/apply")
    assert (applied["answer"], values(filled)) == ("repaired", [11, 21])
    back = left_plan(filled, f"/v1/runs/{applied['run']}/rollback")
    assert filled.done(f"/v1/plans/{back}/apply")["answer"] == "repaired"
    assert values(filled) == [10, 20]
    assert {row["projection"] for row in filled.get("/v1/projections")} == {"p", "hidden"}  # asked for by name only
    assert len(filled.get(f"/v1/projections/{name}/definitions")) == 1


def test_a_file_is_read_anew_for_each_request(filled: Api, tmp_path: Path) -> None:
    """A node lives for months, and what it read once is not what lies there now."""
    name = filled.backfill(tmp_path)
    plan = left_plan(filled, f"/v1/projections/{name}/plan")
    assert filled.done(f"/v1/projections/{name}/run")["answer"] == "repaired"
    assert values(filled) == [11, 21]
    filled.backfill(tmp_path, adds=100, version=2, known=False)
    refused = filled.done(f"/v1/plans/{plan}/apply")
    assert (refused["state"], values(filled)) == ("failed", [11, 21])
    assert filled.done(f"/v1/projections/{name}/run")["answer"] == "repaired"
    assert values(filled) == [111, 121]
    assert filled.get(f"/v1/backfills/{name}")["version"] == "2"
    assert [row["code"]["file"] for row in filled.get(f"/v1/projections/{name}/definitions")] == [
        str(tmp_path / "more.sql")
    ] * 2


def test_a_file_that_is_not_there_any_more(filled: Api, tmp_path: Path) -> None:
    name = filled.backfill(tmp_path)
    run = filled.done(f"/v1/projections/{name}/run")["run"]
    (tmp_path / "more.sql").unlink()
    failed = filled.done(f"/v1/projections/{name}/run")
    assert (failed["state"], "its file is lost" in failed["answer"]) == ("failed", True)
    assert filled.get(f"/v1/backfills/{name}")["last_run"] == run
    back = left_plan(filled, f"/v1/runs/{run}/rollback")
    assert filled.done(f"/v1/plans/{back}/apply")["answer"] == "repaired"
    assert values(filled) == [10, 20]


def test_it_never_runs_beside_what_reads_or_writes_its_table(small: Api, tmp_path: Path) -> None:
    small.world.drift(1)
    name = small.backfill(tmp_path)
    for asked in ("p", name, "hidden"):
        assert small.ask("POST", f"/v1/projections/{asked}/run", reason="both at once").status_code == 202
    node = small.world.node(at_once=False, workers=4, databases=small.databases)
    node.step()
    begun = {request.projection for request, _ in node.busy.values()}
    assert len(begun & {"p", name}) == 1  # the control: there was room for more
    assert "hidden" in begun


def test_where_its_database_is_not_declared_it_waits_for_another_node(small: Api, tmp_path: Path) -> None:
    name = small.backfill(tmp_path)
    assert small.ask("POST", f"/v1/projections/{name}/check", reason="now").status_code == 202
    without = small.world.node(databases=small.databases)
    del without.engine.databases["app"]
    without.step()
    assert small.get("/v1/requests")[0]["state"] == "waiting"
    assert views_backfills.backfills(without.engine) == []
    small.node.step()
    assert small.get("/v1/requests")[0]["state"] == "done"
