"""The server itself is killed in mid-run, with everything it has not committed, and comes back: nothing is lost or told
wrong. All points: `python -m tests.campaign.kill servers`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.faults.crash import Case, disaster_everywhere, scratch
from tests.own_servers import OwnServer, own_mariadb, own_postgresql
from tests.servers import MISSING, ServerMissingError, run_mariadb, run_sql, with_database

SERVERS = {"postgresql": own_postgresql, "mariadb": own_mariadb}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = scratch(tmp_path)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def two_databases(server: OwnServer) -> tuple[str, str]:
    run = run_sql if server.url.startswith("postgres") else run_mariadb
    for name in ("trueup_test_here", "trueup_test_there"):
        run(server.url, f"CREATE DATABASE {name}")
    return with_database(server.url, "trueup_test_here"), with_database(server.url, "trueup_test_there")


def killed(server: OwnServer) -> Callable[[], None]:
    def disaster() -> None:
        server.kill()
        server.start()

    return disaster


@pytest.mark.parametrize("kind", sorted(SERVERS))
def test_a_killed_server(kind: str, folder: Path) -> None:
    start: Callable[[], AbstractContextManager[OwnServer]] = SERVERS[kind]
    try:
        with start() as server:
            source, target = two_databases(server)
            case = Case(name=f"two {kind} databases", source=source, target=target, folder=folder)
            case.build()
            points, bad = disaster_everywhere(case, killed(server), every=13, first=4)
    except ServerMissingError as missing:
        pytest.skip(f"{MISSING}{missing}")
    assert points >= 4
    assert not bad, "\n".join(f"{point}: {'; '.join(wrong)}" for point, wrong in bad.items())
