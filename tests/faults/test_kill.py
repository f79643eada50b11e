"""kill -9 at the engine's port calls; what is told afterwards is true, and nothing is done twice.

All points of all topologies: `python -m tests.campaign.kill`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.crash import Case, kill_everywhere
from tests.servers import Pair


def verify(case: Case, *, every: int, first: int = 1) -> None:
    case.build()
    points, bad = kill_everywhere(case, every=every, first=first)
    print(f"{case.name}: killed at {points} points")
    assert points > 20
    assert not bad, "\n".join(f"{point}: {'; '.join(wrong)}" for point, wrong in bad.items())


def test_one_sqlite_file(sqlite_url: str, tmp_path: Path) -> None:
    verify(Case(name="one sqlite file", source=sqlite_url, target=sqlite_url, folder=tmp_path), every=1)


def test_two_sqlite_files(sqlite_pair: Pair, tmp_path: Path) -> None:
    verify(Case(name="two sqlite files", **sqlite_pair._asdict(), folder=tmp_path, on_extra="report"), every=3)


def test_one_postgresql(postgres: str, tmp_path: Path) -> None:
    case = Case(name="one postgresql", source=postgres, target=postgres, folder=tmp_path, on_extra="report")
    verify(case, every=3)


def test_two_postgresql(postgres_pair: Pair, tmp_path: Path) -> None:
    verify(Case(name="two postgresql", **postgres_pair._asdict(), folder=tmp_path), every=1)


@pytest.mark.parametrize("kind", ["sqlite_pair", "postgres_pair"])
def test_without_markers(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    pair: Pair = request.getfixturevalue(kind)
    verify(Case(name=f"{kind} without markers", **pair._asdict(), folder=tmp_path, markers=False), every=3)
