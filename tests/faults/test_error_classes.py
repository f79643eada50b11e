"""Each adapter has one table of which driver error is what; here the servers themselves raise them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.live.harness import Background, Db, blocked
from tests.live.mariadb import MariaDb
from tests.live.mariadb import blocked as blocked_in_mariadb
from trueup import Database, TrueupError
from trueup.adapters import connect
from trueup.errors import Busy, ConnectionFailed, DataProblem, DesignProblem, StatementTimeout, Transient


def told(session: Callable[[], Any], *steps: str | Callable[[], object]) -> TrueupError:
    """What a session's error is translated to; the steps are statements, or what others do meanwhile."""
    try:
        with session() as connection:
            for step in steps:
                result = connection.exec_driver_sql(step) if isinstance(step, str) else step()
                if getattr(result, "returns_rows", False):
                    result.fetchall()
    except TrueupError as error:
        return error
    raise AssertionError("nothing was raised")


@contextmanager
def opened(url: str, **settings: Any) -> Iterator[Any]:
    """An adapter for the database."""
    with closing(connect("a", Database(url=url, **settings))) as adapter:
        yield adapter


@contextmanager
def role(db: Db, rights: str = "") -> Iterator[str]:
    """A role of this process's own."""
    name = f"trueup_test_{os.getpid()}"
    db.sql(f"CREATE ROLE {name} {rights}")
    try:
        yield name
    finally:
        db.sql(f"DROP ROLE {name}")


RAISES = (
    "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not this one''; END'",
    "CREATE TRIGGER no BEFORE UPDATE ON t FOR EACH ROW WHEN (new.n = 13) EXECUTE FUNCTION no()",
)
TABLE = "CREATE TABLE t(id INT PRIMARY KEY, n SMALLINT NOT NULL CHECK (n < 1000), u INT UNIQUE, v VARCHAR(5))"
ROWS = "INSERT INTO t VALUES (1, 1, 1, 'a'), (2, 2, 2, 'b')"


def limit(kind: type[Exception]) -> str:
    """How long statements may take: short only where that is what is looked at."""
    return "0.3s" if kind is StatementTimeout else "60s"


POSTGRES = {
    "a statement that takes too long": ("SELECT pg_sleep(30)", StatementTimeout),
    "NOT NULL": ("UPDATE t SET n = NULL", DataProblem),
    "CHECK": ("UPDATE t SET n = 2000", DataProblem),
    "overflow": ("UPDATE t SET n = 40000", DataProblem),
    "text too long": ("UPDATE t SET v = 'abcdef'", DataProblem),
    "another column's unique index": ("UPDATE t SET u = 2 WHERE id = 1", DataProblem),
    "a trigger that raises": ("UPDATE t SET n = 13 WHERE id = 1", DataProblem),
    "a function that raises a state of its own": ("DO $$BEGIN RAISE SQLSTATE 'P0777'; END$$", DataProblem),
    "a value that cannot be cast": ("SELECT v::int FROM t", DataProblem),
    "bytes that are no text": (r"SELECT convert_from('\xff'::bytea, 'UTF8')", DataProblem),
    "division by zero": ("SELECT 1 / (n - n) FROM t", DataProblem),
    "two rows where one is expected": ("SELECT (SELECT id FROM t)", DataProblem),
    "a year beyond Python's": ("SELECT '20000-01-01'::date", DataProblem),
    "a row too large for an index": (
        "INSERT INTO wide SELECT string_agg(md5(i::text), '') FROM generate_series(1, 999) i",
        DataProblem,
    ),
    "a table that is gone": ("SELECT * FROM nothing", DesignProblem),
    "a column that is gone": ("SELECT nothing FROM t", DesignProblem),
    "no privilege": ("SELECT * FROM secret", DesignProblem),
    "syntax": ("SELEC 1", DesignProblem),
    "writing where only reading is allowed": ("CREATE TABLE x(y INT)", DesignProblem),
    "no slot, memory or disk": (
        "SELECT count(*) FROM (SELECT i FROM generate_series(1, 500000) i ORDER BY i) s",
        Transient,
    ),
    "the session was ended": ("SELECT pg_terminate_backend(pg_backend_pid())", Transient),
}


@pytest.mark.parametrize("what", POSTGRES)
def test_postgresql(postgres: str, what: str) -> None:
    statement, kind = POSTGRES[what]
    db = Db(postgres)
    db.sql(TABLE, ROWS, *RAISES, "CREATE TABLE secret(x INT)", "CREATE TABLE wide(x TEXT PRIMARY KEY)")
    setting = "SET LOCAL work_mem = '64kB'; SET LOCAL temp_file_limit = '100kB'"
    writes = not statement.startswith(("SELECT", "SELEC", "CREATE"))
    with role(db) as nobody, opened(postgres, statement_timeout=limit(kind)) as adapter:
        session = adapter.writing if writes or "count" in statement else adapter.reading
        steps = [f"SET LOCAL ROLE {nobody}"] if what == "no privilege" else []
        error = told(session, setting, *steps, statement)
    assert type(error) is kind
    assert "databases.a" in str(error)


MARIADB = {
    "a statement that takes too long": ("SELECT sum(seq) FROM seq_1_to_90000000 WHERE seq DIV 3 > 9", StatementTimeout),
    "NOT NULL": ("UPDATE t SET n = NULL", DataProblem),
    "CHECK": ("UPDATE t SET n = 2000", DataProblem),
    "overflow": ("UPDATE t SET n = 40000", DataProblem),
    "text too long": ("UPDATE t SET v = 'abcdef'", DataProblem),
    "another column's unique index": ("UPDATE t SET u = 2 WHERE id = 1", DataProblem),
    "a trigger that raises": ("UPDATE t SET n = 13 WHERE id = 1", DataProblem),
    "text that its character set lacks": ("UPDATE t SET latin = '\u4e16' WHERE id = 1", DataProblem),
    "two rows where one is expected": ("SELECT (SELECT id FROM t)", DataProblem),
    "a table that is gone": ("SELECT * FROM nothing", DesignProblem),
    "a column that is gone": ("SELECT nothing FROM t", DesignProblem),
    "syntax": ("SELEC 1", DesignProblem),
    "no room": ("INSERT INTO small SELECT REPEAT('x', 200) FROM seq_1_to_100000", Transient),
    "the session was ended": ("KILL CONNECTION_ID()", Transient),
}


@pytest.mark.parametrize("what", MARIADB)
def test_mariadb(mariadb: str, what: str) -> None:
    statement, kind = MARIADB[what]
    MariaDb(mariadb).sql(
        TABLE,
        ROWS,
        "ALTER TABLE t ADD latin VARCHAR(5) CHARACTER SET latin1",
        "CREATE TABLE small(x CHAR(200)) ENGINE = MEMORY MAX_ROWS = 10",
        "CREATE TRIGGER no BEFORE UPDATE ON t FOR EACH ROW IF new.n = 13 THEN SIGNAL SQLSTATE '45000'; END IF",
    )
    with opened(mariadb, statement_timeout=limit(kind)) as adapter:
        session = adapter.reading if statement.startswith("SELECT") else adapter.writing
        error = told(session, statement, "SELECT 1")  # after KILL it is the next one that says so
    assert type(error) is kind


SQLITE = {
    "a statement that takes too long": (
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
        StatementTimeout,
    ),
    "NOT NULL": ("UPDATE t SET n = NULL", DataProblem),
    "CHECK": ("UPDATE t SET n = 2000", DataProblem),
    "another column's unique index": ("UPDATE t SET u = 2 WHERE id = 1", DataProblem),
    "a trigger that raises": ("UPDATE t SET n = 13 WHERE id = 1", DataProblem),
    "bytes that are no text": ("SELECT CAST(x'ff' AS TEXT)", DataProblem),
    "a sum that overflows": (f"SELECT sum(x) FROM (SELECT {2**63 - 1} AS x UNION ALL SELECT 1)", DataProblem),
    "a table that is gone": ("SELECT * FROM nothing", DesignProblem),
    "no room": ("INSERT INTO t SELECT value, 1, value, NULL FROM generated", Transient),
}


@pytest.mark.parametrize("what", SQLITE)
def test_sqlite(sqlite_url: str, what: str) -> None:
    statement, kind = SQLITE[what]
    Db(sqlite_url).sql(
        TABLE,
        ROWS,
        "CREATE TRIGGER no BEFORE UPDATE ON t WHEN new.n = 13 BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        "CREATE VIEW generated AS WITH RECURSIVE c(value) AS (SELECT 10 UNION ALL SELECT value + 1 FROM c LIMIT 99999) "
        "SELECT value FROM c",
    )
    with opened(sqlite_url, statement_timeout=limit(kind)) as adapter:
        error = told(adapter.writing, "PRAGMA max_page_count = 20", statement)
    assert type(error) is kind


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """Not a limit of the database's: the file system says no."""
    if os.getuid():
        pytest.skip("only root can mount a small disk")
    with small_disk(tmp_path / "disk") as disk:
        url = f"sqlite:///{disk / 'a.db'}"
        Db(url).sql("CREATE TABLE t(x BLOB)")
        with opened(url) as adapter:
            error = told(adapter.writing, *["INSERT INTO t VALUES (zeroblob(100000))"] * 20)
        assert type(error) is Transient
        assert Db(url).one("SELECT count(*) FROM t") == 0


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# --- two sessions ----------------------------------------------------------------------------------------------------


def test_a_deadlock_on_postgresql_is_ours_and_passes(postgres: str) -> None:
    db = Db(postgres)
    db.sql(TABLE, ROWS)
    theirs: list[Background] = []
    with opened(postgres, lock_timeout="60s") as adapter, closing(db.connect()) as app:
        app.execute("SET deadlock_timeout = '30s'")
        app.execute("BEGIN")
        app.execute("UPDATE t SET n = 5 WHERE id = 1")
        error = told(
            adapter.writing,
            "SET LOCAL deadlock_timeout = '20ms'",
            "UPDATE t SET n = 6 WHERE id = 2",
            lambda: theirs.append(Background(lambda: app.execute("UPDATE t SET n = 5 WHERE id = 2"))),
            lambda: blocked(db),
            "UPDATE t SET n = 6 WHERE id = 1",
        )
        theirs[0].join()
        app.execute("COMMIT")
    assert type(error) is Busy
    assert "deadlock" in str(error)
    assert db.sql("SELECT n FROM t ORDER BY id") == [(5,), (5,)]


def test_a_lock_and_a_deadlock_on_mariadb(mariadb: str) -> None:
    db = MariaDb(mariadb)
    db.sql(TABLE, ROWS)
    theirs: list[Background] = []
    with opened(mariadb, lock_timeout="1s") as adapter, closing(db.connect()) as app:
        app.execute("BEGIN")
        app.execute("UPDATE t SET n = 5")
        assert type(told(adapter.writing, "UPDATE t SET n = 6 WHERE id = 2")) is Busy
        app.execute("ROLLBACK")
        app.execute("BEGIN")
        app.execute("INSERT INTO t SELECT seq, 1, seq, NULL FROM seq_10_to_99")  # the smaller one is the victim
        app.execute("UPDATE t SET n = 5 WHERE id = 1")
        error = told(
            adapter.writing,
            "UPDATE t SET n = 6 WHERE id = 2",
            lambda: theirs.append(Background(lambda: app.execute("UPDATE t SET n = 5 WHERE id = 2"))),
            lambda: blocked_in_mariadb(db),
            "UPDATE t SET n = 6 WHERE id = 1",
        )
        theirs[0].join()
        app.execute("COMMIT")
    assert type(error) is Busy
    assert "eadlock" in str(error)


def test_a_snapshot_that_is_overtaken_on_postgresql(postgres: str) -> None:
    db = Db(postgres)
    db.sql(TABLE, ROWS)
    begin = "COMMIT; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM t"
    with opened(postgres) as adapter:
        error = told(adapter.writing, begin, lambda: db.sql("UPDATE t SET n = 9"), "UPDATE t SET n = 8")
    assert type(error) is Busy


def test_no_slot_for_another_connection(postgres: str) -> None:
    """The server says so to who connects, in words and without a code that the driver would pass on."""
    limits = "LOGIN CONNECTION LIMIT 0"
    with role(Db(postgres), limits) as full, opened(postgres.replace("postgres@", f"{full}@", 1)) as adapter:
        error = told(adapter.reading)
    assert type(error) is Transient


@pytest.mark.parametrize("url", ["postgresql://postgres@127.0.0.1:1/x", "mariadb://root@127.0.0.1:1/x"])
def test_nobody_there_is_a_wrong_address_at_first_and_may_pass_later(url: str) -> None:
    with opened(url) as adapter:
        for reached, kind in ((False, ConnectionFailed), (True, Transient)):
            adapter.reached = reached
            assert type(told(adapter.reading)) is kind


def test_the_server_checks_text_of_an_unknown_encoding(postgres: str) -> None:
    """A database of SQL_ASCII hands out bytes; asked for UTF-8 it refuses those that are none."""
    name = f"trueup_ascii_{os.getpid()}"
    admin = Db(postgres)
    admin.sql(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    url = postgres.rpartition("/")[0] + f"/{name}"
    try:
        with psycopg.connect(url, autocommit=True) as c:
            c.execute(r"CREATE TABLE t AS SELECT 1 AS id, convert_from('\xff'::bytea, 'SQL_ASCII') AS v")
            c.execute("CREATE TABLE fine AS SELECT 1 AS id, 'a' AS v")
        with opened(url) as adapter:
            with adapter.reading() as connection:
                assert connection.exec_driver_sql("SELECT v FROM fine").scalar() == "a"
            assert type(told(adapter.reading, "SELECT v FROM t")) is DataProblem
    finally:
        admin.sql(f"DROP DATABASE {name} WITH (FORCE)")
