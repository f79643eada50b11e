"""kill -9 at the engine's port calls; what is told afterwards is true, and nothing is done twice.

All points of all topologies: `python -m tests.campaign.kill`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.crash import Case, kill_everywhere, scratch
from tests.servers import Pair


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


@pytest.mark.parametrize("first", [0, 1, 2])
def test_one_sqlite_file(folder: Path, first: int) -> None:
    """All points, in three tests that can run side by side."""
    one = files(folder).source
    verify("one sqlite file", folder, Pair(one, one), every=3, first=first)


@pytest.mark.parametrize("first", [0, 2])
def test_two_postgresql_databases(postgres_pair: Pair, folder: Path, first: int) -> None:
    verify("two postgresql databases", folder, postgres_pair, every=4, first=first)


def test_two_sqlite_files(folder: Path) -> None:
    verify("two sqlite files", folder, files(folder), every=4, on_extra="report")


def test_one_postgresql_database(postgres: str, folder: Path) -> None:
    verify("one postgresql database", folder, Pair(postgres, postgres), every=6, on_extra="report")


def test_applying_a_plan(folder: Path) -> None:
    one = files(folder).source
    verify("a plan in one sqlite file", folder, Pair(one, one), every=4, command="apply")


def test_sqlite_without_markers(folder: Path) -> None:
    verify("two sqlite files without markers", folder, files(folder), every=6, markers=False)


def test_postgresql_without_markers(postgres_pair: Pair, folder: Path) -> None:
    verify("two postgresql databases without markers", folder, postgres_pair, every=8, markers=False)
