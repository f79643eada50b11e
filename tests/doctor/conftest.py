"""`world`: edges and their counter, on each database that can be repaired."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doctor.worlds import World
from trueup.adapters import _race

KINDS = ("postgresql", "mariadb", "sqlite", "duckdb")


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    match request.param:
        case "postgresql":
            return str(request.getfixturevalue("postgres"))
        case "mariadb":
            return str(request.getfixturevalue("mariadb"))
        case kind:
            return f"{kind}:///{tmp_path / 'app.db'}"


@pytest.fixture(autouse=True)
def race_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe on a database that is served gives up in time; here its answer is waited for."""
    monkeypatch.setattr(_race, "GIVES_UP_S", 240.0)


@pytest.fixture
def world(url: str, tmp_path: Path) -> World:
    return World.made(url, tmp_path)


@pytest.fixture
def pg(postgres: str, tmp_path: Path) -> World:
    return World.made(postgres, tmp_path)


@pytest.fixture
def maria(mariadb: str, tmp_path: Path) -> World:
    return World.made(mariadb, tmp_path)
