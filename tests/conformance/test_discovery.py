"""The suite finds the adapters by itself, and a new one cannot slip past it."""

from __future__ import annotations

import pytest

from tests.conformance import worlds
from tests.conformance.stores import STORES
from tests.conformance.worlds import ALL, EACH_SIDE, SETUPS, TABLES, TOGETHER, Pairing, pairings, places
from trueup.adapters import known


def test_every_adapter_is_set_up_and_no_setup_is_stale() -> None:
    adapters = {*SETUPS} - {"file"}  # files are named, not connected to: the matrix reads them
    assert sorted(adapters) == TABLES
    assert sorted([*adapters, *STORES]) == known()


def test_all_pairings_are_there() -> None:
    names = TABLES
    assert {(p.source, p.target) for p in ALL if not p.together} == {(a, b) for a in names for b in names if a != b}
    assert [p.source for p in TOGETHER] == names


def test_an_adapter_without_a_setup_fails_and_does_not_skip(request: pytest.FixtureRequest) -> None:
    new = pairings(["newdb", "other"])[:3]
    assert new[2] == Pairing(source="newdb", target="other")
    for pairing in new:
        with pytest.raises(pytest.fail.Exception, match=r"'(newdb|other)' has no entry in SETUPS"):
            places(pairing, request)


def test_each_side_is_there_once() -> None:
    apart = [pairing for pairing in EACH_SIDE if not pairing.together]
    assert sorted(p.source for p in apart) == sorted(p.target for p in apart) == TABLES
    assert [p.source for p in EACH_SIDE if p.together] == TABLES


def test_a_place_speaks_for_its_adapter() -> None:
    for name, (make, _) in SETUPS.items():
        assert make("x:///").engine == name
        assert make("x:///").types.keys() == worlds.Sqlite.types.keys()
