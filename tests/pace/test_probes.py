"""What databases say of how they are doing; what they do not let us see is not available, and never zero."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.live.harness import Background, until
from trueup.adapters import Probe, _mysql_probe, connect
from trueup.adapters._postgresql_probe import PostgresqlProbe
from trueup.adapters._probing import READING_MS
from trueup.adapters._sqlite_probe import SqliteProbe
from trueup.core.projection import Database
from trueup.errors import Transient
from trueup.pace import host as host_module
from trueup.pace.host import Host
from trueup.urls import here


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading may take as long as it takes: what it says is looked at, not how soon a busy machine says it."""
    for probe in (PostgresqlProbe, SqliteProbe):
        patient = [setting.replace(str(READING_MS), "60000") for setting in probe.settings]
        assert patient != list(probe.settings)
        monkeypatch.setattr(probe, "settings", patient)
    monkeypatch.setattr(_mysql_probe, "READING_MS", 60_000)


@pytest.mark.usefixtures("unhurried")
def test_postgresql_tells_others_from_us(postgres: str) -> None:
    probe = connect("app", Database(url=postgres)).probe("")
    assert probe is not None
    assert probe.here
    probe.canary()
    with (
        psycopg.connect(postgres, application_name="shop", autocommit=True) as other,
        psycopg.connect(postgres, application_name="trueup", autocommit=True) as ours,
        psycopg.connect(postgres, autocommit=True) as judge,
    ):
        sleeping = [Background(partial(one.execute, "SELECT pg_sleep(30)")) for one in (other, ours)]
        running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)' AND state = 'active'"
        until(lambda: judge.execute(running).fetchone() == (2,), "both to run")
        until(lambda: probe.look().own == 1, "nobody else of ours to be at work on this server")
        looked = probe.look()
        for one, asleep in zip((other, ours), sleeping, strict=True):
            one.cancel_safe()
            with pytest.raises(psycopg.errors.QueryCanceled):
                asleep.join()
        named = "SELECT application_name FROM pg_stat_activity WHERE query LIKE '%%xact_commit%%' AND pid <> %s"
        assert judge.execute(named, (judge.info.backend_pid,)).fetchone() == ("trueup:probe",)
    assert looked.own is not None
    assert looked.own >= 1
    assert looked.active is not None
    assert looked.active >= 1
    assert looked.on_core is not None
    assert looked.on_core < looked.active  # one sleeps, and takes no core
    assert looked.lacking == {}
    assert looked.values["lock waits"] is not None
    assert looked.values["replica lag, s"] is None  # there is none: not 0
    assert looked.values["segments to archive"] is None
    assert looked.commits is not None
    probe.close()


@pytest.mark.usefixtures("unhurried")
def test_a_vacuum_of_our_table_is_seen_and_of_no_other(postgres: str) -> None:
    probe = connect("app", Database(url=postgres)).probe("")
    assert probe is not None
    with psycopg.connect(postgres, autocommit=True) as other, psycopg.connect(postgres, autocommit=True) as judge:
        judge.execute('CREATE TABLE "Ours" AS SELECT generate_series(1, 20000) AS id')
        other.execute("SET vacuum_cost_limit = 1")
        other.execute("SET vacuum_cost_delay = 100")
        slow = Background(partial(other.execute, 'VACUUM "Ours"'))
        vacuum = "SELECT 1 FROM pg_stat_progress_vacuum WHERE relid = to_regclass('\"Ours\"')"
        until(lambda: judge.execute(vacuum).fetchone() is not None, "our vacuum")
        seen = {}
        for tables in (["elsewhere", "pg_class"], ["public.Ours"], ["Ours"]):
            probe.tables = tables
            seen[tables[0]] = probe.look().values["vacuums of our tables"]
        other.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            slow.join()
    assert seen == {"elsewhere": 0, "public.Ours": 1, "Ours": 1}
    probe.close()


@pytest.mark.usefixtures("unhurried")
def test_checkpoints_that_were_asked_for_are_counted(postgres: str) -> None:
    probe = connect("app", Database(url=postgres)).probe("")
    assert probe is not None
    probe.look()
    with psycopg.connect(postgres, autocommit=True) as other:
        for _ in range(2):
            other.execute("CHECKPOINT")
    until(lambda: (probe.look().values["checkpoints asked for, a minute"] or 0) >= 2, "two checkpoints")
    probe.close()


@pytest.mark.usefixtures("unhurried")
def test_without_the_privilege_others_are_not_available(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as admin, psycopg.connect(postgres):
        admin.execute("DROP ROLE IF EXISTS trueup_test_plain")
        admin.execute("CREATE ROLE trueup_test_plain LOGIN")
        try:
            user = postgres.replace("//postgres@", "//trueup_test_plain@")
            probe = connect("app", Database(url=user)).probe("")
            assert probe is not None
            looked = probe.look()
            assert (looked.active, looked.values["lock waits"]) == (None, None)
            assert "pg_read_all_stats" in looked.lacking["active"]
            probe.close()
        finally:
            admin.execute("DROP ROLE trueup_test_plain")


def test_a_probe_that_cannot_look_says_so_and_comes_back(postgres: str) -> None:
    probe = connect("app", Database(url=postgres)).probe("SELECT pg_sleep(5)")
    assert probe is not None
    with pytest.raises(Transient, match="cannot be looked at"):
        probe.canary()  # limited to half a second
    until(lambda: looks(probe), "it to look again")
    probe.close()
    gone = connect("app", Database(url=postgres + "_not_there")).probe("")
    assert gone is not None
    with pytest.raises(Transient):
        gone.canary()


def looks(probe: Probe) -> bool:
    """Whether a reading came within its limit."""
    with contextlib.suppress(Transient):
        probe.look()
        return True
    return False


@pytest.mark.usefixtures("unhurried")
def test_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    adapter = connect("app", Database(url=f"sqlite:///{path}"))
    probe = adapter.probe("")
    assert probe is not None
    with pytest.raises(Transient, match="no file"):
        probe.canary()
    assert not path.exists()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE t (a)")
        probe.canary()
        size = probe.look().values["log, MB"]
        assert size is not None
        assert size > 0
        assert probe.look().active is None
    probe.close()


def test_host_pressure(tmp_path: Path) -> None:
    host = Host(tmp_path)
    assert set(host.look(0.0).values()) == {None}
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "io").write_text("some avg10=0 avg60=0 avg300=0 total=1000000\nfull avg10=0 total=5\n")
    assert host.look(1.0)["waits for disk"] is None
    (tmp_path / "pressure" / "io").write_text("some avg10=0 avg60=0 avg300=0 total=1500000\nfull avg10=0 total=5\n")
    looked = host.look(2.0)
    assert looked["waits for disk"] == pytest.approx(0.5)
    assert looked["waits for memory"] is None


def test_how_busy_the_cores_are_that_we_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "_mine", lambda: {0, 2})
    host, second = Host(tmp_path), os.sysconf("SC_CLK_TCK")
    assert host.processors(0.0) is None  # there is no such file
    rows = (
        "cpu {0} 0 0 0 0 0 0 0 0 0\ncpu0 {0} 0 0 0 0 0 0 0 0 0\ncpu1 9{0} 0 0 0 0 0 0 0 0 0\ncpu2 0 0 0 {0} 0 0 0 {1}\n"
    )
    for at, used, stolen in ((1.0, 0, 0), (3.0, second, second // 2)):
        (tmp_path / "stat").write_text(rows.format(used, stolen) + "intr 5\nprocs_running 7\n")
        seen = host.processors(at)
        assert (seen is None) is (at == 1.0)
    assert seen is not None
    assert (seen.busy, seen.passed_s, seen.runnable) == (pytest.approx(0.75), 2.0, 7.0)  # idle time is none
    (tmp_path / "stat").write_text("cpu0\n")
    assert host.processors(4.0) is None


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("postgresql://u:p@127.0.0.1:5432/db", True),
        ("postgresql:///db?host=/run/postgresql", True),
        ("postgresql://db.example.com/db", False),
        ("postgresql:///db?host=db.example.com", False),
        ("mysql://u@localhost/db", True),
    ],
)
def test_is_it_here(url: str, local: bool) -> None:
    assert here(url) is local


@pytest.mark.usefixtures("unhurried")
def test_mariadb(mariadb: str) -> None:
    probe = connect("app", Database(url=mariadb)).probe("")
    assert probe is not None
    probe.canary()
    probe.look()
    looked = probe.look()
    assert looked.running is not None
    assert looked.running >= 0
    assert looked.active is None  # of whom is not told
    assert looked.values["lock waits"] is not None
    assert looked.values["waits for a free page"] is not None
    assert 0 <= (looked.values["checkpoint age"] or 0) <= 1
    assert set(looked.values) == set(probe.marks)
    probe.close()


def test_a_reading_of_mariadb_is_limited(mariadb: str) -> None:
    slow = connect("app", Database(url=mariadb)).probe("SELECT sleep(5) FROM information_schema.schemata")
    assert slow is not None
    with pytest.raises(Transient):
        slow.canary()
    slow.close()


def test_redis(redis: str) -> None:
    probe = connect("app", Database(url=redis)).probe("")
    assert probe is not None
    probe.canary()
    probe.look()
    looked = probe.look()
    assert set(looked.values) == set(probe.marks)
    assert looked.values["thread busy"] is not None
    assert looked.values["saves"] == 0
    assert looked.values["memory used"] is None  # there is no limit: not 0
    assert looked.values["replica lag, s"] is None  # there is no replica: not 0
    assert looked.active is None
    probe.close()
    wrong = connect("app", Database(url=redis)).probe("NOSUCHCOMMAND a")
    assert wrong is not None
    with pytest.raises(Transient):
        wrong.canary()
    wrong.close()
