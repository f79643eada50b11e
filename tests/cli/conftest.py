"""`shop`: one database with a source and a target table, and one projection `p` over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shop import SCHEMA, Server, Shop


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def shop(tmp_path: Path, server: Server) -> Shop:
    shop = Shop(folder=tmp_path, server=server, databases={"app": {"url": "sqlite:///app.db"}})
    shop.sql(SCHEMA.format("src"), SCHEMA.format("tgt"))
    shop.declare()
    return shop
