"""When the canary is read again, and what is forgotten after a decision."""

from __future__ import annotations

from typing import Any

import pytest

from trueup.core.pace.governor import Limits, Mode, State
from trueup.core.pace.pressure import Health
from trueup.core.pace.tails import Tails
from trueup.pace.deciding import PLENTY, READ_CLOSE_S, READ_S, READ_SELDOM_S, SELDOM, Decided, Pause, decide, pause
from trueup.pace.means import Means

NOW = 100.0
CALM = Health()


def read(kinds: tuple[int, int], *, since: float = NOW - 50) -> Tails:
    tails = Tails()
    for own, many in zip((True, False), kinds, strict=True):
        for at in range(many):
            tails.add(since + at / many, 1.0, own=own)
    return tails


def decided(state: State, tails: Tails, **limits: Any) -> Decided:
    told: dict[str, Any] = {"health": CALM, "cores": None, "protect": 0.1, "busy_s": 0.0, "flown_s": 0.0}
    return decide(state, Limits(**limits), tails, Means(), NOW, **told)


@pytest.mark.parametrize(
    ("plenty", "u", "inflight", "expected"),
    [
        ((False, False), 0.05, False, Pause(READ_S, woken=True)),
        ((False, False), 0.05, True, Pause(READ_CLOSE_S)),
        ((False, False), SELDOM, True, Pause(READ_S, woken=True)),
        ((True, False), 0.05, True, Pause(READ_SELDOM_S)),
        ((True, False), 0.05, False, Pause(READ_S)),
        ((False, True), 0.05, False, Pause(READ_SELDOM_S, woken=True)),
    ],
)
def test_where_there_are_readings_enough_more_are_made_seldom(
    plenty: tuple[bool, bool], u: float, inflight: bool, expected: Pause
) -> None:
    assert pause(plenty, u, inflight=inflight) == expected


def test_enough_are_as_many_beside_the_present_load_too() -> None:
    kept = State(mode=Mode.NORMAL, at=NOW - 1, changed_at=NOW - 55)
    assert decided(kept, read((PLENTY, PLENTY))).plenty == (True, True)
    assert decided(kept, read((PLENTY, PLENTY - 1))).plenty == (True, False)
    new = State(mode=Mode.NORMAL, at=NOW - 1, changed_at=NOW - 1)
    assert decided(new, read((PLENTY, PLENTY))).plenty == (False, False)


def test_readings_of_another_number_of_statements_are_forgotten() -> None:
    tails = read((20, 30))
    state = State(mode=Mode.NORMAL, at=NOW - 1, changed_at=NOW - 55, u=1.5)
    decided(state, tails, most=1.2)  # two at a time before, and two now
    assert tails.count(0) == (20, 30)
    decided(state, tails, most=1.0)
    assert tails.count(0) == (0, 30)


def test_readings_under_pressure_are_forgotten_after_it() -> None:
    tails = read((20, 30))
    under = State(mode=Mode.DEGRADED, at=NOW - 1, changed_at=NOW - 55, clear_since=NOW - 40)
    assert decided(under, tails).state.mode is Mode.RECOVERY
    assert tails.count(0) == (0, 0)
