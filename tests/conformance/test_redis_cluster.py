"""Redis in cluster mode: two masters on this machine, each with half of the slots; no replicas, no failover."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis as driver

from tests.conformance.worlds import UNLIMITED, EngineClock
from tests.live.harness import Db, around, until
from tests.servers import free_port, started_redis
from trueup import Projection, Side, Trueup, Verdict
from trueup.adapters import redis as adapter
from trueup.core.states import Outcome
from trueup.errors import TrueupError

HALF = 8192


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of one of the masters."""
    with ExitStack() as stack:
        nodes = []
        for _ in range(2):
            home = tmp_path_factory.mktemp("node")
            settings = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            nodes.append((stack.enter_context(started_redis(home, *settings)), settings[-1]))
        clients = [stack.enter_context(driver.Redis.from_url(node.url)) for node, _ in nodes]
        clients[0].execute_command("CLUSTER", "ADDSLOTSRANGE", 0, HALF - 1)
        clients[1].execute_command("CLUSTER", "ADDSLOTSRANGE", HALF, 16383)
        other = urlsplit(nodes[1][0].url)
        clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", other.port, nodes[1][1])
        for client in clients:
            until(lambda client=client: client.cluster("INFO")["cluster_state"] == "ok", "the cluster to be whole")
            until(lambda client=client: len(client.execute_command("CLUSTER", "SLOTS")) == 2, "both to know each other")
        yield nodes[0][0].url


class Cluster:
    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.db = Db(f"sqlite:///{folder / 'app.db'}")
        self.client = driver.RedisCluster.from_url(url)

    def engine(self, **side: Any) -> Trueup:
        return Trueup(
            databases={"app": self.db.url, "cache": self.url},
            projections=[
                Projection(
                    name="p",
                    source=Side(database="app", table="src"),
                    target=Side(database="cache", **{"pattern": "r:{id}", **side}),
                    key="id",
                    writers="absolute",
                    settle=0,
                    on_extra="delete",
                    limits=UNLIMITED,
                )
            ],
            ledger=f"sqlite:///{self.folder / 'ledger.db'}",
            clock=EngineClock(),
        )


@pytest.fixture
def keys(cluster: str, tmp_path: Path) -> Iterator[Cluster]:
    """Three hundred rows; in Redis some are missing, too many or wrong, on both masters."""
    made = Cluster(tmp_path, cluster)
    made.client.flushall(target_nodes="primaries")
    made.db.sql("CREATE TABLE src (id INTEGER PRIMARY KEY, n BIGINT)")
    made.db.sql("INSERT INTO src VALUES " + ", ".join(f"({id_}, {id_})" for id_ in range(300)))
    for id_ in range(20, 310):
        made.client.set(f"r:{id_}", 0 if id_ < 40 else id_)
    yield made
    made.client.close()


def test_all_masters_are_read_and_repaired(keys: Cluster) -> None:
    with closing(keys.engine()) as engine:
        report = engine.check("p")
        assert (report.missing, report.different, report.extra, report.target_rows) == (20, 20, 10, 290)
        report = engine.run("p")
        assert (report.verdict, report.repaired, report.left) == (Verdict.REPAIRED, 50, 0)
        assert engine.check("p").verdict is Verdict.IN_SYNC
        assert {o.outcome for o in engine.outcomes(report.run)} == {Outcome.APPLIED}
    assert all(keys.client.get(f"r:{id_}") == str(id_).encode() for id_ in range(300))
    assert not keys.client.keys("trueup:*", target_nodes="primaries")  # a marker would be in another slot


def test_a_delivery_in_between_is_not_overwritten(keys: Cluster) -> None:
    def deliver() -> None:
        keys.db.sql("UPDATE src SET n = 77 WHERE id = 25")
        keys.client.set("r:25", 77)

    racing = around(adapter.RedisUnit, "write", before=lambda: keys.client.get("r:25") == b"0" and deliver())
    with closing(keys.engine()) as engine, racing:
        assert engine.run("p").verdict is Verdict.REPAIRED
    assert keys.client.get("r:25") == b"77"


def test_explicit_keys_are_asked_of_the_master_that_has_them(keys: Cluster) -> None:
    with closing(keys.engine()) as engine:
        report = engine.check("p", keys=[{"id": id_} for id_ in range(15, 45)])
    assert (report.missing, report.different, report.target_rows) == (5, 20, 25)


def test_hash_tags_keep_their_slot(keys: Cluster) -> None:
    keys.client.set("u:{7}:n", 1)
    with closing(keys.engine(pattern="u:{{{id}}}:n")) as engine:
        assert engine.run("p").repaired == 300
    assert keys.client.get("u:{7}:n") == b"7"


def test_slots_that_move_while_they_are_read_are_no_answer(keys: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    unmoved = adapter.Nodes.unmoved

    def moved_meanwhile(self: adapter.Nodes) -> None:
        (first, last, *one), (second, end, *other) = self._asked()
        with monkeypatch.context() as patch:
            patch.setattr(adapter.Nodes, "_asked", lambda _: ((first, last, *other), (second, end, *one)))
            unmoved(self)

    monkeypatch.setattr(adapter.Nodes, "unmoved", moved_meanwhile)
    with closing(keys.engine()) as engine, pytest.raises(TrueupError, match="slots of the cluster moved"):
        engine.check("p")
