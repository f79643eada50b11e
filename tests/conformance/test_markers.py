"""Markers of units whose outcome is in the ledger are deleted, and no others."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trueup import Database
from trueup.adapters import Adapter, connect

#: None of them asks what a unit was about.
ANY: Any = None


@pytest.fixture(params=["sqlite_url", "postgres", "mariadb", "redis"])
def adapter(request: pytest.FixtureRequest) -> Any:
    url = str(request.getfixturevalue(request.param))
    if request.param == "sqlite_url":
        Path(url.removeprefix("sqlite:///")).touch()
    with closing(connect("app", Database.model_validate({"url": url}))) as opened:
        yield opened


def test_markers_are_deleted_by_their_units(adapter: Adapter) -> None:
    adapter.forget(["u-none"])  # before there are any tables
    adapter.raise_fence("f")
    for unit in ("u-1", "u-2"):
        assert adapter.claim(ANY, unit) is not None
    adapter.forget(["u-1", "u-none"])
    assert left(adapter, "u-2")
    assert not left(adapter, "u-1")


def left(adapter: Any, unit: str) -> bool:
    """Is the marker there?"""
    if hasattr(adapter, "nodes"):
        with adapter.nodes.entry.session() as session:
            return bool(session.ask("EXISTS", b"trueup:applied:" + unit.encode()))
    with adapter.reading() as connection:
        found = connection.exec_driver_sql(f"SELECT count(*) FROM trueup_applied WHERE unit = '{unit}'")
        return bool(found.scalar_one())
