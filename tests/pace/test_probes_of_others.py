"""What MariaDB, Redis and SQLite say of how they are doing."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis as redis_client

from tests.live.harness import until
from tests.own_servers import own_mariadb
from tests.servers import ServerMissingError, run_mariadb
from trueup.adapters import Looked, connect
from trueup.adapters._mysql_probe import MysqlProbe
from trueup.core.projection import Database
from trueup.errors import Transient


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


@pytest.mark.usefixtures("unhurried")
def test_every_transaction_of_mariadb_counts_those_without_commit_too(mariadb: str) -> None:
    """Com_commit counts the statement COMMIT alone: an application in autocommit mode was taken for nobody."""
    probe = connect("app", Database(url=mariadb)).probe("")
    assert probe is not None
    run_mariadb(mariadb, "CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
    before = probe.look().transactions
    run_mariadb(mariadb, *(f"INSERT INTO t VALUES ({at})" for at in range(20)))
    written = probe.look().transactions
    run_mariadb(mariadb, *["SELECT * FROM t WHERE id = 1"] * 20)
    read = probe.look().transactions
    for _ in range(20):
        probe.canary()
    assert before is not None
    assert written is not None
    assert read is not None
    assert written - before >= 20
    assert read - written >= 20
    probe.close()


@pytest.mark.usefixtures("unhurried")
def test_a_replica_of_mariadb() -> None:
    with contextlib.ExitStack() as stack:
        try:
            primary = stack.enter_context(own_mariadb("--server-id=1", "--log-bin"))
            replica = stack.enter_context(own_mariadb("--server-id=2"))
        except ServerMissingError as missing:
            pytest.skip(str(missing))
        probe = connect("app", Database(url=replica.url.replace("/?", "/mysql?"))).probe("")
        assert isinstance(probe, MysqlProbe)

        def looked() -> Looked:
            probe._asks_at = 0.0
            return probe.look()

        assert (looked().values["behind the primary, s"], looked().lacking) == (None, {})  # it is no replica
        port = urlsplit(primary.url).port
        run_mariadb(
            replica.url,
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='root', MASTER_DELAY=1000",
            "START SLAVE",
        )
        until(lambda: looked().values["behind the primary, s"] == 0, "the replica to follow")
        run_mariadb(primary.url, "CREATE DATABASE shop")
        until(lambda: (looked().values["behind the primary, s"] or 0) >= 1, "the replica to fall behind")
        run_mariadb(replica.url, "STOP SLAVE")
        until(lambda: looked().values["behind the primary, s"] is None, "it to be stopped")
        assert looked().lacking == {"behind the primary, s": "replication has stopped"}
        probe.close()


@pytest.mark.usefixtures("unhurried")
def test_without_the_privilege_replication_of_mariadb_is_not_available(mariadb: str) -> None:
    name = f"plain{secrets.token_hex(4)}"
    run_mariadb(mariadb, f"CREATE USER {name}@'%'", f"GRANT SELECT ON *.* TO {name}@'%'")
    try:
        probe = connect("app", Database(url=mariadb.replace("//root@", f"//{name}@", 1))).probe("")
        assert probe is not None
        for _ in range(2):
            looked = probe.look()
            assert looked.values["behind the primary, s"] is None
            assert "denied" in looked.lacking["behind the primary, s"]
            assert looked.values["lock waits"] is not None  # all else is told
        probe.close()
    finally:
        run_mariadb(mariadb, f"DROP USER {name}@'%'")


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
    assert looked.lacking == {}
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


def test_what_redis_does_not_let_us_see_is_not_available_and_the_canary_goes_on(redis: str) -> None:
    """A refused INFO kept the canary from being read, and nothing that it does not say was taken for a 0."""
    name = f"plain{secrets.token_hex(4)}"
    with closing(redis_client.Redis.from_url(redis)) as admin:
        admin.execute_command("ACL", "SETUSER", name, "on", "nopass", "~*", "+ping", "+client", "+select")
        try:
            probe = connect("app", Database(url=redis.replace("://", f"://{name}:any@", 1))).probe("")
            assert probe is not None
            probe.canary()
            looked = probe.look()
            probe.canary()
            probe.close()
        finally:
            admin.execute_command("ACL", "DELUSER", name)
    assert looked.values == dict.fromkeys(probe.marks)
    assert "INFO was refused" in looked.lacking["health"]


def test_a_reading_of_redis_is_limited(redis: str) -> None:
    probe = connect("app", Database(url=redis)).probe("BLPOP nobody-writes-this 5")  # answers after 5 s
    assert probe is not None
    with pytest.raises(Transient):
        probe.canary()
    probe.close()
