"""What the tests of pacing share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pace.stepped import SteppedClock
from trueup.adapters import _mysql_probe
from trueup.adapters._postgresql_probe import PostgresqlProbe
from trueup.adapters._probing import READING_MS
from trueup.adapters._sqlite_probe import SqliteProbe
from trueup.store import paces as store
from trueup.store.ledger import Ledger
from trueup.store.paces import Paces


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading may take as long as it takes: what it says is looked at, not how soon a busy machine says it."""
    for probe in (PostgresqlProbe, SqliteProbe):
        patient = [setting.replace(str(READING_MS), "60000") for setting in probe.settings]
        assert patient != list(probe.settings)
        monkeypatch.setattr(probe, "settings", patient)
    monkeypatch.setattr(_mysql_probe, "READING_MS", 60_000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SteppedClock:
    """Of the engine and of the ledger."""
    clock = SteppedClock()
    monkeypatch.setattr(store.time, "time", clock.monotonic)
    return clock


@pytest.fixture
def paces(tmp_path: Path) -> Iterator[Paces]:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    yield Paces(ledger)
    ledger.close()
