"""A reading of the canary: how long others wait just now."""

from __future__ import annotations

from trueup.adapters import Probe


def read(probe: Probe, trips: int) -> None:
    """As many round trips as a transaction of others makes, one right after the other. Raises Transient."""
    for _ in range(trips):
        probe.canary()
