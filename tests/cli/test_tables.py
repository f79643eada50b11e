"""What tables say of moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from trueup.cli.tables import when


@pytest.mark.parametrize(
    ("seconds", "words"), [(-90, "90 s ago"), (-600, "10 min ago"), (-259200, "3 d ago"), (7300, "in 2 h")]
)
def test_that_were_and_that_will_be(seconds: float, words: str) -> None:
    assert when(datetime.now(UTC) + timedelta(seconds=seconds)) == words
