"""`small`: the API over SQLite; `api`: over SQLite and PostgreSQL, with the ledger in the same kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.worlds import Api
from tests.serving.worlds import World, sqlite_world


def _served(world: World) -> Iterator[Api]:
    world.declare("p", approval="one")
    world.declare("hidden", sensitive=["n"])
    made = Api(world)
    yield made
    made.close()
    world.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Api]:
    yield from _served(sqlite_world(tmp_path))


@pytest.fixture(params=["sqlite", "postgresql"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    if request.param == "sqlite":
        yield from _served(sqlite_world(tmp_path))
    else:
        pair = request.getfixturevalue("postgres_pair")
        yield from _served(World(pair.source, pair.target))
