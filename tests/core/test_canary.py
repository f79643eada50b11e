"""Which rows go first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trueup.core.canary import choose
from trueup.core.compare import DriftKind, Suspect
from trueup.core.decide import Action, Decision
from trueup.core.projection import Canary


def decided(actions: list[Action]) -> list[Decision]:
    return [
        Decision(
            drift=Suspect(kind=DriftKind.DIFFERENT, key=(at,), expected=(1,), observed=(2,)),
            action=action,
            reason="" if action is not Action.REPORT else "why",
        )
        for at, action in enumerate(actions)
    ]


@given(st.lists(st.sampled_from(Action), max_size=60), st.integers(1, 30))
def test_a_few_of_each_kind_and_nothing_that_is_only_reported(actions: list[Action], rows: int) -> None:
    decisions = decided(actions)
    writing = {item.drift.key: item.action for item in decisions if item.action is not Action.REPORT}
    chosen = choose(decisions, Canary(rows=rows))
    if rows >= len(writing):
        assert chosen == []
        return
    assert set(chosen) <= writing.keys()
    assert chosen == sorted(set(chosen))
    assert {writing[key] for key in chosen} == set(writing.values())
    # A share of each kind is rounded, and each kind has one row at least.
    assert abs(len(chosen) - rows) <= len(set(writing.values()))


def test_spread_over_all_keys() -> None:
    assert choose(decided([Action.UPDATE] * 100), Canary(rows=4)) == [(0,), (25,), (50,), (75,)]


@pytest.mark.parametrize(
    ("spelt", "of", "rows"),
    [(20, 100, 20), ("20", 100, 20), ("1%", 250, 3), ({"share": "29%"}, 100, 29)],
)
def test_how_many(spelt: object, of: int, rows: int) -> None:
    assert Canary.model_validate(spelt).size_of(of) == rows


@pytest.mark.parametrize("spelt", ["", "x", "0", "-1", "101%", {}, {"rows": 1, "share": "1%"}, {"wait": "1s"}])
def test_what_is_no_canary(spelt: object) -> None:
    with pytest.raises(ValidationError):
        Canary.model_validate(spelt)
