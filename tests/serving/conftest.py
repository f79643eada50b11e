"""`world`: on SQLite, and on PostgreSQL, with the ledger in the same kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.worlds import World, sqlite_world


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "sqlite":
        made = sqlite_world(tmp_path)
    else:
        pair = request.getfixturevalue("postgres_pair")
        made = World(pair.source, pair.target)
    yield made
    made.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[World]:
    """On SQLite only, where the store makes no difference."""
    made = sqlite_world(tmp_path)
    yield made
    made.close()
