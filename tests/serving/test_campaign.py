"""The short form of `python -m tests.campaign.nodes`: real processes, killed, stopped and cut off at random."""

from __future__ import annotations

import pytest

from tests.campaign.nodes import campaign


@pytest.mark.usefixtures("postgres_url")
def test_nodes_that_are_killed_stopped_and_cut_off() -> None:
    found = campaign(ticks=30, count=3, seed=3)
    assert found.problems == []
    assert found.overlaps == 0
    assert sum(found.faults.values()) > 0
