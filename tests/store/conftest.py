"""`ledger_url`: a place for a ledger, once for each kind of database that can hold one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trueup.store.ledger import Ledger


@pytest.fixture(params=["sqlite_url", "postgres"], ids=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    opened = Ledger(ledger_url)
    yield opened
    opened.close()
