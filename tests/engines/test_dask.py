"""Segments read by the worker processes of a Dask cluster: the same answer and the same ledger as with threads."""

from __future__ import annotations

import os
import pickle
import signal
import time
from pathlib import Path

import pytest
from distributed import LocalCluster

from tests.engines.conftest import Cluster, url_of
from tests.engines.worlds import TENANTS, Each, declare, fill, kept, opened, slow
from tests.servers import Pair, run_sql
from trueup._version import __version__
from trueup.core.plan import Everything
from trueup.core.states import Verdict
from trueup.engines import dask, task
from trueup.errors import ConfigError, ConnectionFailed, DataProblem, Transient

pytestmark = pytest.mark.xdist_group("dask")


@pytest.mark.parametrize("killed", [False, True], ids=["well", "a worker is killed"])
def test_the_answer_and_the_ledger_are_those_of_threads(postgres: str, cluster: Cluster, killed: bool) -> None:
    fill(postgres)
    path = declare(cluster.config, postgres, engine=cluster.url)
    before, dead = cluster.pids(), []

    def kill() -> None:
        if killed and len(told.compared_s) == 3:  # the next two are being read
            os.kill(before[0], signal.SIGKILL)
            dead.append(before[0])

    told = Each(kill)
    with opened(path, progress=told) as engine:
        report = engine.check("p")
        elsewhere = kept(engine, report.run)
    assert (report.missing, report.extra, report.different) == (TENANTS, TENANTS, TENANTS)
    assert len(told.compared_s) == TENANTS
    assert len(dead) == killed
    with opened(declare(cluster.config, postgres)) as engine:
        assert kept(engine, engine.check("p").run) == elsewhere


def test_rows_are_repaired_by_the_run_itself(postgres: str, cluster: Cluster) -> None:
    fill(postgres)
    with opened(declare(cluster.config, postgres, engine=cluster.url)) as engine:
        assert engine.run("p").verdict is Verdict.REPAIRED
        assert engine.check("p").verdict is Verdict.IN_SYNC
        assert {o.witness for o in engine.outcomes(engine.runs("p")[1].id)} == {"unit"}


def test_a_worker_that_is_configured_otherwise_reads_nothing(postgres: str, cluster: Cluster) -> None:
    fill(postgres)
    path = declare(cluster.config, postgres, engine=cluster.url, on_extra="report")
    with opened(path) as engine:
        declare(cluster.config, postgres, engine=cluster.url)
        with pytest.raises(ConfigError, match=r"of a worker on .* it declares 'p' otherwise"):
            engine.check("p")
        declare(cluster.config, postgres, engine=cluster.url, on_extra="report")
        report = engine.check("p")
    assert report.resumed
    assert report.different == TENANTS


def test_what_a_worker_cannot_read_is_told_in_words_that_may_be_shown(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database quotes the value that it stumbles over, and its driver's error would travel with it."""
    fill(postgres)
    run_sql(postgres, "ALTER TABLE s ADD secret text DEFAULT 'hunter2'", "ALTER TABLE t ADD secret integer")
    broken = {"database": "app", "query": "SELECT tenant, id, secret::integer AS secret FROM s"}
    for sensitive, shown in ([], True), (["secret"], False):
        path = declare(tmp_path / "trueup.toml", postgres, columns=["secret"], sensitive=sensitive, source=broken)
        monkeypatch.setenv("TRUEUP_CONFIG", str(path))
        with opened(path) as engine:
            bound = engine.binding("p", writing=False)
            told = task.Told(binding=bound, definition=engine.definition("p"), conduct=engine.conduct("p"))
        failed = task.read(__version__, pickle.dumps(told), Everything(), False)
        assert isinstance(failed, task.Failed)
        assert failed.kind is DataProblem
        assert ("hunter2" in repr(failed)) is shown
        old = task.read("0.0.1", pickle.dumps(told), Everything(), False)
        assert isinstance(old, task.Failed)
        assert "install the same on both" in old.words


def test_a_cluster_without_workers(postgres: str, tmp_path: Path) -> None:
    """It is tried again, and then the projection is paused, as with a database that is away."""
    fill(postgres)
    with LocalCluster(n_workers=0, dashboard_address=":0", host="127.0.0.1") as empty:
        path = declare(tmp_path / "trueup.toml", postgres, engine=url_of(empty), retry={"tries": 2, "first": "10ms"})
        with opened(path) as engine:
            with pytest.raises(Transient, match="the cluster has no workers"):
                engine.check("p")
            assert engine.standing.control("p").state == "paused"


def test_a_scheduler_that_is_not_there(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(postgres)
    monkeypatch.setattr(dask, "CONNECT_S", 0.5)
    path = declare(tmp_path / "trueup.toml", postgres, engine="dask://127.0.0.1:1")
    with opened(path) as engine, pytest.raises(ConnectionFailed, match="no Dask scheduler answers there"):
        engine.check("p")


def test_workers_never_use_more_than_the_budget_together(postgres_pair: Pair, cluster: Cluster) -> None:
    """Each is a node that asks the ledger for its share. The judge is the server: how long statements were active."""
    budget, url, ledger = 0.25, postgres_pair.source, postgres_pair.target
    fill(url)
    paced = {"pace": {"adaptive": False, "fixed": budget, "least": 0.1}}
    loads: dict[str, float] = {}
    nodes: set[str] = set()

    def look() -> None:
        nodes.update(node for (node,) in run_sql(ledger, "SELECT node FROM trueup_pace_nodes WHERE u > 0"))

    for name, database in {"warm": {}, "control": {}, "paced": paced}.items():
        source = {"database": "app", "query": slow(0.1)}
        path = declare(cluster.config, url, engine=cluster.url, ledger=ledger, database=database, source=source)
        with opened(path, progress=Each(look)) as engine:
            before, begun = active_s(url), time.monotonic()
            report = engine.check("p", partitions=range(2 if name == "warm" else 4))
            loads[name] = (active_s(url) - before) / (time.monotonic() - begun)
        assert report.different == report.segments["done"]
    assert len(nodes) >= 2
    assert loads["paced"] < budget * 1.25, loads
    assert loads["control"] > budget * 1.5, loads


def active_s(url: str) -> float:
    """How long statements against a database have been going on altogether, as its server counts."""
    told = "SELECT active_time / 1000 FROM pg_stat_database WHERE datname = current_database()"
    return float(run_sql(url, "SELECT pg_stat_clear_snapshot()", told)[0][0])
