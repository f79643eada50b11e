"""Lag is not drift, however long reading took: what differs settles from the moment at which it was seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Docs, QuickClock
from trueup import sweep
from trueup.adapters import _postgresql_survey

SETTLE_S = 10.0


class LateClock(QuickClock):
    """One that somebody can put forward."""

    passed = timedelta()

    def now(self) -> datetime:
        return super().now() + self.passed


@pytest.mark.parametrize("hours", [0, 1])
def test_a_segment_that_took_long_to_read_settles_as_long_as_others(
    hours: int, postgres_pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does where its run is paused in the middle of it."""
    docs = Docs(postgres_pair.source, postgres_pair.target)
    for db in (docs.source, docs.target):
        db.sql("INSERT INTO doc SELECT n, n FROM generate_series(1, 2000) n")
    docs.source.sql("UPDATE doc SET val = 0 WHERE id = 7")
    for db in (docs.source, docs.target):
        db.sql("ANALYZE doc")
    monkeypatch.setattr(_postgresql_survey, "SEGMENT_ROWS", 500)
    monkeypatch.setattr(_postgresql_survey, "RANGES_PAY_BELOW", 1e9)
    monkeypatch.setattr(_postgresql_survey, "SERVED_BELOW", 1e9)
    clock = LateClock(lambda: docs.put(docs.target, 7, 0))  # it is delivered in the first pause
    narrow = sweep.narrow

    def reads_long(*asked: Any, **more: Any) -> Iterator[Any]:
        pieces = list(narrow(*asked, **more))
        if any(piece.suspects for piece in pieces):
            clock.passed += timedelta(hours=hours)
        yield from pieces

    monkeypatch.setattr(sweep, "narrow", reads_long)
    with docs.engine(tmp_path, clock=clock, settle=f"{SETTLE_S:g}s") as engine:
        report = engine.check("doc")
    assert report.segments["planned"] > 1
    assert (report.drifted, report.in_flight) == (0, 0)
    assert clock.waits[0] == pytest.approx(SETTLE_S, abs=5)
