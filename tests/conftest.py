"""Fixtures for real databases, and the check that required servers are there.

    postgres        URL of an empty PostgreSQL database, emptied again for every test
    postgres_pair   two of them: `.source`, `.target`
    postgres_url    the same database as `postgres`, for the whole session, not emptied
    mariadb         URL of an empty MariaDB database, emptied again for every test
    mariadb_pair    two of them: `.source`, `.target`
    sqlite_url      URL of an SQLite file that does not exist yet
    sqlite_pair     two of them: `.source`, `.target`
    clock           a `FakeClock`

Every pytest-xdist worker has its own scratch databases, so workers cannot meet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.clock import FakeClock
from tests.servers import Mariadb, Pair, Postgres

_HOME = pytest.StashKey[Path]()


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if _is_worker(config):
        config.stash[_HOME] = Path(config.workerinput["embedded_home"])  # type: ignore[attr-defined]
        return
    try:
        servers.check_required(os.environ)
    except servers.ServerMissingError as e:
        raise pytest.UsageError(str(e)) from None
    config.stash[_HOME] = servers.new_embedded_home()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """pytest-xdist: every worker is told one folder, so that they share one embedded server."""
    node.workerinput["embedded_home"] = str(node.config.stash[_HOME])  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
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


def _missing(name: str, reason: str) -> None:
    """Skip, or fail if the server was required and only turned out to be missing now."""
    if name in servers.required(os.environ):
        pytest.fail(f"required, but {servers.MISSING}{reason}", pytrace=False)
    pytest.skip(servers.MISSING + reason)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    manager = servers.postgres_server(os.environ, request.config.stash[_HOME])
    try:
        server = manager.__enter__()
    except servers.ServerMissingError as e:
        _missing("postgres", str(e))
        raise AssertionError("not reached") from None
    yield server
    manager.__exit__(None, None, None)


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
def mariadb_server() -> Mariadb:
    try:
        return servers.mariadb_server(os.environ)
    except servers.ServerMissingError as e:
        _missing("mariadb", str(e))
        raise AssertionError("not reached") from None


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
