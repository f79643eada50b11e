"""kill -9 at the engine's port calls; what is told afterwards is true, and nothing is done twice.

All points of all topologies: `python -m tests.campaign.kill`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.crash import Case, attempt, beyond, kill_everywhere, scratch
from tests.live.harness import instead
from tests.servers import Pair
from trueup import judging


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = scratch(tmp_path)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def files(folder: Path) -> Pair:
    return Pair(source=f"sqlite:///{folder / 'source.db'}", target=f"sqlite:///{folder / 'target.db'}")


def verify(name: str, folder: Path, pair: Pair, *, every: int, first: int = 0, **how: Any) -> None:
    case = Case(name=name, source=pair.source, target=pair.target, folder=folder, **how)
    case.build()
    points, bad = kill_everywhere(case, every=every, first=first)
    print(f"{case.name}: killed at {points} points")
    assert points > 5
    assert not bad, "\n".join(f"{point}: {'; '.join(wrong)}" for point, wrong in bad.items())


@pytest.mark.parametrize("first", [0, 3])
def test_one_sqlite_file(folder: Path, first: int) -> None:
    """Every third point, in two tests that can run side by side."""
    one = files(folder).source
    verify("one sqlite file", folder, Pair(one, one), every=6, first=first)


@pytest.mark.parametrize("first", [0, 5])
def test_two_postgresql_databases(postgres_pair: Pair, folder: Path, first: int) -> None:
    verify("two postgresql databases", folder, postgres_pair, every=10, first=first)


def test_two_sqlite_files(folder: Path) -> None:
    verify("two sqlite files", folder, files(folder), every=9, on_extra="report")


def test_one_postgresql_database(postgres: str, folder: Path) -> None:
    verify("one postgresql database", folder, Pair(postgres, postgres), every=12, on_extra="report")


@pytest.mark.parametrize(("command", "every"), [("run", 13), ("rollback", 13)])
def test_lots_in_one_postgresql_database(postgres: str, folder: Path, command: str, every: int) -> None:
    one = Pair(postgres, postgres)
    verify(f"lots in one postgresql database, {command}", folder, one, every=every, lots=True, command=command)


@pytest.mark.parametrize("first", [0, 6])
def test_two_mariadb_databases(mariadb_pair: Pair, folder: Path, first: int) -> None:
    verify("two mariadb databases", folder, mariadb_pair, every=12, first=first)


def test_one_mariadb_database(mariadb: str, folder: Path) -> None:
    verify("one mariadb database", folder, Pair(mariadb, mariadb), every=12, on_extra="report")


def test_applying_a_plan(folder: Path) -> None:
    one = files(folder).source
    verify("a plan in one sqlite file", folder, Pair(one, one), every=10, command="apply")


def test_between_a_canary_and_the_rest(folder: Path) -> None:
    one = files(folder).source
    verify("a canary in one sqlite file", folder, Pair(one, one), every=12, canary=1)


def test_the_limit_of_a_day(folder: Path) -> None:
    """What was written before a kill, or may have been, counts; what a resumed run has written counts once."""
    verify("two sqlite files, three rows a day", folder, files(folder), every=15, first=2, daily=3)


def test_control_without_the_limit_of_a_day(folder: Path) -> None:
    pair = files(folder)
    case = Case(name="control", source=pair.source, target=pair.target, folder=folder, daily=3)
    case.build()
    case.reset()
    assert attempt(case, 0)
    with instead(judging, "over_a_day", lambda *_: ""):
        assert beyond(case)


def test_rolling_back(folder: Path) -> None:
    one = files(folder).source
    verify("a rollback in one sqlite file", folder, Pair(one, one), every=10, command="rollback")


def test_rolling_back_in_two_postgresql_databases(postgres_pair: Pair, folder: Path) -> None:
    verify("a rollback in two postgresql databases", folder, postgres_pair, every=12, command="rollback")


def test_sqlite_without_markers(folder: Path) -> None:
    verify("two sqlite files without markers", folder, files(folder), every=12, markers=False)


def test_postgresql_without_markers(postgres_pair: Pair, folder: Path) -> None:
    verify("two postgresql databases without markers", folder, postgres_pair, every=12, markers=False)
