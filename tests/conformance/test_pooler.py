"""PostgreSQL behind a pooler that gives each transaction another session: nothing is lost, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
import sqlalchemy as sa

import trueup
from tests.backfills.shop import Shop
from tests.faults.pooler import Pooler, pooled
from tests.live.harness import WIDE, until
from tests.servers import MISSING, Pair, free_port, not_installed, run_sql
from trueup import Database, Projection, Side, diff
from trueup.adapters import _postgresql_sessions as sessions
from trueup.adapters import _postgresql_survey, connect
from trueup.adapters._postgresql_probe import PostgresqlProbe
from trueup.adapters._sql import SqlAdapter
from trueup.errors import Refused, Transient

#: Sessions of a pooler; as many transactions of one comparison may be open at a time.
SESSIONS = 6
#: What somebody else leaves behind in each session; none of it may be seen in an answer.
LEFT = (
    *("SET extra_float_digits = -8", "SET search_path = decoy"),
    *("SET TimeZone = 'Asia/Tokyo'", "SET IntervalStyle = sql_standard"),
)
ROWS = 1_000


@pytest.fixture
def poolers(postgres_pair: Pair) -> Iterator[tuple[Pooler, ...]]:
    """One before each database, whose sessions others have used."""
    for url in postgres_pair:
        run_sql(url, "CREATE SCHEMA decoy", "CREATE TABLE decoy.t (id bigint PRIMARY KEY, v float8, at timestamptz)")
    with ExitStack() as after:
        made = [after.enter_context(pooled(url, SESSIONS)) for url in postgres_pair]
        for pooler, _ in made:
            pooler.everywhere(*LEFT)
        yield tuple(pooler for pooler, _ in made)


@pytest.fixture
def through(postgres_pair: Pair, poolers: tuple[Pooler, ...]) -> Pair:
    """Two tables that differ in the tenth digit of one row, read through the poolers."""
    for url in postgres_pair:
        run_sql(
            url,
            "CREATE TABLE t (id bigint PRIMARY KEY, v float8, at timestamptz)",
            f"INSERT INTO t SELECT n, n + 0.123456789, '2026-01-01 00:00Z'::timestamptz + n * interval '1 s'"
            f" FROM generate_series(1, {ROWS}) n",
            "ANALYZE t",
        )
    run_sql(postgres_pair.target, "UPDATE t SET v = 7.123456788 WHERE id = 7")
    named = (sa.make_url(url).set(host="127.0.0.1", port=p.port) for url, p in zip(postgres_pair, poolers, strict=True))
    plain = [url.set(query={"sslmode": "disable", "gssencmode": "disable"}) for url in named]
    return Pair(*(url.render_as_string(hide_password=False) for url in plain))


def found(source: str, target: str, **more: Any) -> set[tuple[str, int]]:
    return {(row["kind"], row["key"]["id"]) for row in diff(source, target, key="id", **more).drift}


def test_the_pooler_gives_each_transaction_another_session(through: Pair) -> None:
    """The control: what a session is given is not there in the next transaction."""
    with psycopg.connect(through.source, autocommit=True) as connection:
        connection.execute("SET work_mem = '77MB'")
        assert connection.execute("SHOW work_mem").fetchone() != ("77MB",)


def test_a_pooler_that_is_closed_begins_no_session(postgres: str) -> None:
    """Where a client goes away in a transaction its session ends, and another one would take its place."""
    with pooled(postgres) as (pooler, through):
        client = psycopg.connect(through)
        client.execute("SELECT 1")
    client.close()
    serving = f"pooled at {pooler.port}"
    until(lambda: serving not in {thread.name for thread in threading.enumerate()}, "that nobody is served")
    assert all(session.connection.closed for session in pooler.sessions)


@pytest.mark.parametrize("exact", [False, True], ids=["digests", "values"])
def test_two_databases(through: Pair, exact: bool) -> None:
    assert found(f"{through.source}#t", f"{through.target}#t", exact=exact) == {("different", 7)}


def test_one_statement_for_many_segments(through: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_postgresql_survey, "SEGMENT_ROWS", 50)
    monkeypatch.setattr(_postgresql_survey, "RANGES_PAY_BELOW", 1e9)
    assert found(f"{through.source}#t", f"{through.target}#t") == {("different", 7)}


def test_one_database_and_a_query(postgres_pair: Pair, through: Pair) -> None:
    """A float and a number meet as texts of the float, which few digits would cut."""
    run_sql(postgres_pair.source, "CREATE TABLE u AS SELECT id, v::numeric(20, 9) AS v FROM t")
    run_sql(postgres_pair.source, "UPDATE u SET v = 9.123456788 WHERE id = 9")
    assert found(f"{through.source}#SELECT id, v FROM t", f"{through.source}#u") == {("different", 9)}


def test_without_settings_of_its_own_a_transaction_would_be_misled(
    through: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positive control: then other tables are compared, and are empty."""
    prepare = sessions.prepare
    monkeypatch.setattr(sessions, "prepare", lambda connection, _info, settings: prepare(connection, {}, settings))
    report = diff(f"{through.source}#t", f"{through.target}#t", key="id")
    assert (report.verdict, report.source_rows) == ("in_sync", 0)


def test_what_others_find_afterwards_is_what_they_left(through: Pair, poolers: tuple[Pooler, ...]) -> None:
    before = {name: poolers[0].shown(name) for name in ("statement_timeout", "row_security", "jit", "work_mem")}
    lent = poolers[0].lent
    assert found(f"{through.source}#t", f"{through.target}#t")
    assert poolers[0].lent > lent + 2
    assert {name: poolers[0].shown(name) for name in before} == before
    assert poolers[0].shown("extra_float_digits") == {"-8"}
    assert poolers[0].shown("TimeZone") == {"Asia/Tokyo"}


def test_each_way_to_read_and_write_has_the_settings(through: Pair) -> None:
    adapter = cast(SqlAdapter, connect("app", Database(url=through.source)))
    asked = "SELECT concat_ws(' ', current_setting('row_security'), current_setting('statement_timeout'))"
    for opened in (adapter.reading, adapter.reading_once, adapter.writing) * 2:
        with opened() as connection:
            assert connection.execute(sa.text(asked)).scalar() == "off 5min"
    with adapter.reading() as connection:  # a cursor on the server
        rows = connection.execution_options(yield_per=10).execute(sa.text(asked))
        assert list(rows.scalars()) == ["off 5min"]
    adapter.close()


def test_a_repair(through: Pair, postgres_pair: Pair, tmp_path: Any) -> None:
    projection = Projection(
        name="t",
        source=Side(database="source", table="t"),
        target=Side(database="target", table="t"),
        key=["id"],
        writers="absolute",
        settle=0,
        limits=WIDE,
    )
    both = {"source": through.source, "target": through.target}
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    with trueup.Trueup(databases=both, projections=[projection], ledger=ledger) as app:
        assert (app.run("t").repaired, app.check("t").verdict) == (1, "in_sync")
    assert run_sql(postgres_pair.target, "SELECT v FROM t WHERE id = 7") == [(7.123456789,)]


def test_a_probe_leaves_nothing_behind(through: Pair, poolers: tuple[Pooler, ...]) -> None:
    """Who is read-only for a reading would make the application's next transaction read-only."""
    probe = connect("app", Database(url=through.source)).probe("SELECT 1")
    assert isinstance(probe, PostgresqlProbe)
    probe.canary()
    probe.look()
    probe.close()
    assert poolers[0].shown("default_transaction_read_only") == {"off"}
    assert poolers[0].shown("lock_timeout") == {"0"}


@pytest.fixture(params=["through", "bouncer"])
def pooled_url(request: pytest.FixtureRequest, postgres_pair: Pair) -> str:
    """A table of one row in the source, and the URL of a pooler before it: ours, and PgBouncer."""
    through = request.getfixturevalue(request.param)
    run_sql(postgres_pair.source, "CREATE TABLE beats (at bigint)", "INSERT INTO beats VALUES (1)")
    return cast(Pair, through).source


def probing(url: str, canary: str = "") -> PostgresqlProbe:
    probe = connect("app", Database(url=url)).probe(canary)
    assert isinstance(probe, PostgresqlProbe)
    return probe


def test_readings_do_not_wait_for_locks(pooled_url: str, postgres_pair: Pair) -> None:
    """They waited for as long as the lock was held, and who ended the run waited for them. This one is let go of by
    the server, so that a reading which waits for it ends well. A heartbeat waits as others do, up to its time limit.
    """
    probe = probing(pooled_url, "SELECT count(*) FROM public.beats")
    asked: dict[str, Callable[[], object]] = {
        "canary": probe.canary,
        "number": lambda: probe.number("SELECT count(*) FROM public.beats"),
        "write": lambda: probe.write("UPDATE public.beats SET at = at + 1"),
    }
    for ask in asked.values():
        ask()
    for what, ask in asked.items():
        with psycopg.connect(postgres_pair.source) as locker:
            locker.execute("SET idle_in_transaction_session_timeout = '2s'")
            locker.execute("LOCK TABLE beats")
            with pytest.raises(Transient, match="statement timeout" if what == "write" else "lock timeout"):
                ask()
            assert locker.execute("SELECT 1").fetchone() == (1,), what
    with pytest.raises(Transient, match="statement timeout"):
        probe.number("SELECT count(pg_sleep(2))")
    probe.close()


def test_readings_have_limits_and_cannot_write(pooled_url: str, postgres_pair: Pair) -> None:
    shown = "SELECT concat_ws(' ', current_setting('statement_timeout'), current_setting('lock_timeout'))"
    probe = probing(pooled_url, "UPDATE public.beats SET at = 7")
    assert probe.number(shown) == "500ms 100ms"
    with pytest.raises(Transient, match="read-only"):
        probe.canary()
    with pytest.raises(Transient, match="read-only"):
        probe.number("UPDATE public.beats SET at = 7 RETURNING at")
    probe.write("UPDATE public.beats SET at = 2;")
    assert run_sql(postgres_pair.source, "SELECT at FROM beats") == [(2,)]
    assert "lock waits" in probe.look().values
    probe.close()


def test_a_reading_is_one_transaction_and_one_round_trip(through: Pair, poolers: tuple[Pooler, ...]) -> None:
    probe = probing(through.source)
    probe.tables = {"t"}
    probe.look()
    for ask in (probe.canary, probe.look, lambda: probe.write("UPDATE public.t SET v = v WHERE id = 1")):
        ask()
        lent = poolers[0].lent
        ask()
        assert poolers[0].lent == lent + 1
    probe.close()
    for setting, value in (("statement_timeout", "0"), ("lock_timeout", "0"), ("transaction_read_only", "off")):
        assert poolers[0].shown(setting) == {value}, setting


@pytest.fixture
def shop(postgres: str, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(postgres, tmp_path)
    yield made
    made.db.dispose()


@pytest.mark.parametrize("noticed", [True, False], ids=["as it is", "not known to be one"])
def test_what_is_tried_on_a_copy_never_reaches_the_original(
    shop: Shop, noticed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pooler drops what makes the copy's URL another one."""
    cents = shop.all("SELECT id, cents FROM customers ORDER BY id")
    with shop.engine() as engine:
        assert engine.rehearse(engine.backfill(shop.money())).report.repaired == 5, "positive control"
    if not noticed:
        prepare = sessions.prepare
        monkeypatch.setattr(sessions, "prepare", lambda connection, _info, settings: prepare(connection, {}, settings))
    with pooled(shop.url, SESSIONS) as (_, shop.url), shop.engine() as engine:
        name = engine.backfill(shop.money())
        with pytest.raises(Refused, match="pooler, so there is no copy" if noticed else "those of schema 'public'"):
            engine.rehearse(name)
    assert shop.all("SELECT id, cents FROM customers ORDER BY id") == cents
    assert not shop.all("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'trueup\\_sandbox%'")


@pytest.fixture
def bouncer(postgres_pair: Pair) -> Iterator[Pair]:
    """PgBouncer itself before both databases, in which a session shows floats with few digits."""
    if why := not_installed("pgbouncer"):
        pytest.skip(f"{MISSING}{why}")
    at = sa.make_url(postgres_pair.source)
    port = free_port()
    told = (
        f"[databases]\n* = host={at.query.get('host', at.host)} port={at.port or 5432} user={at.username}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\nserver_round_robin = 1\n"
    )
    other = ["-u", "nobody"] if os.getuid() == 0 else []  # it refuses to run as root
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as settings:
        settings.write(told)
        settings.flush()
        Path(settings.name).chmod(0o644)
        process = subprocess.Popen(["pgbouncer", "-q", *other, settings.name], stderr=subprocess.DEVNULL)
        until(lambda: _answers(port) or process.poll() is not None, "PgBouncer")
    try:
        for url in postgres_pair:
            name = sa.make_url(url).database
            run_sql(url, f"ALTER DATABASE {name} SET extra_float_digits = -8")
        named = (sa.make_url(url).set(host="127.0.0.1", port=port, query={}) for url in postgres_pair)
        yield Pair(*(url.render_as_string(hide_password=False) for url in named))
    finally:
        process.terminate()
        process.wait()
        for url in postgres_pair:
            run_sql(url, f"ALTER DATABASE {sa.make_url(url).database} RESET extra_float_digits")


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def test_pgbouncer(postgres_pair: Pair, bouncer: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of floats are the same in few digits, as sessions have them by themselves."""
    for url, v in zip(postgres_pair, ("0.123456789", "0.123456788"), strict=True):
        run_sql(url, "CREATE TABLE t (id bigint PRIMARY KEY, v float8)", f"INSERT INTO t VALUES (1, {v})")
    sides = [f"{url}#SELECT id, v::text AS v FROM t" for url in bouncer]
    assert found(*sides) == {("different", 1)}
    with psycopg.connect(bouncer.source, autocommit=True, prepare_threshold=None) as connection:
        assert connection.execute("SHOW row_security").fetchone() == ("on",), "nothing is left"
    prepare = sessions.prepare
    monkeypatch.setattr(sessions, "prepare", lambda connection, _info, settings: prepare(connection, {}, settings))
    assert found(*sides) == set(), "positive control"
