"""Fixtures for real databases, and the check that required servers are there.

    postgres        URL of an empty PostgreSQL database, emptied again for every test
    postgres_pair   two of them: `.source`, `.target`
    postgres_url    the same database as `postgres`, for the whole session, not emptied
    mariadb         URL of an empty MariaDB database, emptied again for every test
    mariadb_pair    two of them: `.source`, `.target`
    redis           URL of an empty Redis or Valkey database, on a server of this test process
    opensearch      URL of an empty server that speaks OpenSearch's protocol (the wheel osmem-server)
    groonga         URL of an empty Groonga database
    rabbitmq, nats  URL of a broker; not emptied
    sqlite_url      URL of an SQLite file that does not exist yet
    sqlite_pair     two of them: `.source`, `.target`
    clock           a `FakeClock`

Every pytest-xdist worker has its own scratch databases, so workers cannot meet.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests import compiling, own_servers, searching, servers
from tests.clock import FakeClock
from tests.servers import Mariadb, Pair, Postgres

_HOME = pytest.StashKey[Path]()

# Property tests: the same examples each time, however long one takes on a busy machine. Here, since a module's own
# settings are completed by the profile loaded when it is imported. `--hypothesis-profile search` looks for more.
settings.register_profile("trueup", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("trueup"), derandomize=False, max_examples=2_000)
settings.load_profile("trueup")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    compiling.once()
    _keep_compiled_modules()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        # As a job in the background pytest is started deaf to Ctrl-C, and so would be whatever its tests interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if _is_worker(config):
        config.stash[_HOME] = Path(config.workerinput["embedded_home"])  # type: ignore[attr-defined]
        return
    try:
        servers.check_required(os.environ)
    except servers.ServerMissingError as e:
        raise pytest.UsageError(str(e)) from None
    _temporary_files_in_memory()
    config.stash[_HOME] = servers.new_embedded_home()


def _keep_compiled_modules() -> None:
    """Tests start Python many times, and some images have it compile every module each time."""
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


def _temporary_files_in_memory() -> None:
    """`tmp_path` where a commit waits for no disk."""
    if folder := servers.memory():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """pytest-xdist: every worker is told one folder, so that they share one embedded server."""
    node.workerinput["embedded_home"] = str(node.config.stash[_HOME])  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    gc.unfreeze()
    if not _is_worker(config) and (home := config.stash.get(_HOME, None)):
        servers.remove_embedded_home(home)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """With -q pytest does not say why it skipped; a missing server must be said."""
    counts: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if servers.MISSING in reason:
            reason = reason.partition(servers.MISSING)[2]
            counts[reason] = counts.get(reason, 0) + 1
    for reason, count in sorted(counts.items()):
        terminalreporter.write_line(f"skipped {count} tests, {servers.MISSING}{reason}", yellow=True)


def missing_server(name: str, reason: str) -> None:
    """Skip, or fail if the server was required and only turned out to be missing now."""
    if name in servers.required(os.environ):
        pytest.fail(f"required, but {servers.MISSING}{reason}", pytrace=False)
    pytest.skip(servers.MISSING + reason)


Given = TypeVar("Given")


def _served(name: str, manager: AbstractContextManager[Given]) -> Iterator[Given]:
    """What a server's manager gives; a server that is missing skips the test, or fails it."""
    with ExitStack() as stack:
        try:
            given = stack.enter_context(manager)
        except servers.ServerMissingError as e:
            missing_server(name, str(e))
            raise AssertionError("not reached") from None
        yield given


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    yield from _served("postgres", own_servers.postgres_server(os.environ, request.config.stash[_HOME]))


def _worker() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture(scope="session")
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    with servers.scratch_database(postgres_server, _worker()) as url:
        yield url


@pytest.fixture(scope="session")
def _postgres_second_url(postgres_server: Postgres) -> Iterator[str]:
    with servers.scratch_database(postgres_server, f"{_worker()}b") as url:
        yield url


@pytest.fixture
def postgres(postgres_url: str) -> str:
    servers.reset_database(postgres_url)
    return postgres_url


@pytest.fixture
def postgres_pair(postgres: str, _postgres_second_url: str) -> Pair:
    servers.reset_database(_postgres_second_url)
    return Pair(source=postgres, target=_postgres_second_url)


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Mariadb]:
    yield from _served("mariadb", own_servers.mariadb_server(os.environ))


@pytest.fixture(scope="session")
def _mariadb_url(mariadb_server: Mariadb) -> Iterator[str]:
    with servers.scratch_mariadb(mariadb_server, _worker()) as url:
        yield url


@pytest.fixture(scope="session")
def _mariadb_second_url(mariadb_server: Mariadb) -> Iterator[str]:
    with servers.scratch_mariadb(mariadb_server, f"{_worker()}b") as url:
        yield url


@pytest.fixture
def mariadb(_mariadb_url: str) -> str:
    servers.reset_mariadb(_mariadb_url)
    return _mariadb_url


@pytest.fixture
def mariadb_pair(mariadb: str, _mariadb_second_url: str) -> Pair:
    servers.reset_mariadb(_mariadb_second_url)
    return Pair(source=mariadb, target=_mariadb_second_url)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _served("redis", servers.redis_server(os.environ, tmp_path_factory.mktemp("redis"), _worker()))


@pytest.fixture
def redis(redis_server: str) -> str:
    servers.reset_redis(redis_server)
    return redis_server


@pytest.fixture(scope="session")
def opensearch_server() -> Iterator[str]:
    yield from _served("opensearch", searching.started_opensearch())


@pytest.fixture
def opensearch(opensearch_server: str) -> str:
    searching.reset_opensearch(opensearch_server)
    return opensearch_server


@pytest.fixture(scope="session")
def groonga_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from _served("groonga", searching.started_groonga(tmp_path_factory.mktemp("groonga")))


@pytest.fixture
def groonga(groonga_server: str) -> str:
    searching.reset_groonga(groonga_server)
    return groonga_server


@pytest.fixture(scope="session")
def rabbitmq() -> str:
    return _broker("rabbitmq", "amqp://guest:guest@127.0.0.1:5672/")


@pytest.fixture(scope="session")
def nats() -> str:
    return _broker("nats", "nats://127.0.0.1:4222")


def _broker(name: str, local: str) -> str:
    """URL of a broker that several tests share: what they make on it has names of their own."""
    if reason := servers.why_not(servers.SERVERS[name], os.environ):
        missing_server(name, reason)
    return os.environ.get(servers.SERVERS[name].variable) or local


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return _sqlite(tmp_path / "trueup.db")


@pytest.fixture
def sqlite_pair(tmp_path: Path) -> Pair:
    return Pair(source=_sqlite(tmp_path / "source.db"), target=_sqlite(tmp_path / "target.db"))


def _sqlite(path: Path) -> str:
    return f"sqlite:///{path}"  # the path begins with a slash: four in all


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
