"""The second look: drift, moving, resolved. Lag is not drift."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trueup.core.compare import DriftKind, Suspect
from trueup.core.confirm import LOOKS_MAX, confirm


def suspect(key: int, expected: int | None, observed: int | None, *, token: str = "") -> Suspect:
    kind = DriftKind.EXTRA if expected is None else DriftKind.MISSING if observed is None else DriftKind.DIFFERENT
    return Suspect(
        kind=kind,
        key=(key,),
        expected=None if expected is None else (expected,),
        observed=None if observed is None else (observed,),
        token=token,
    )


def outcome(first: Suspect, second: Suspect | None) -> str:
    seen = confirm([first], {} if second is None else {second.key: second})
    found = [name for name in ("drift", "moving", "resolved") if getattr(seen, name)]
    assert len(found) == 1
    return found[0]


def test_the_same_pair_twice_is_drift() -> None:
    assert outcome(suspect(1, 5, 4), suspect(1, 5, 4)) == "drift"
    assert outcome(suspect(1, 5, None), suspect(1, 5, None)) == "drift"
    assert outcome(suspect(1, None, 4), suspect(1, None, 4)) == "drift"


def test_a_target_that_is_right_now_was_lag() -> None:
    assert outcome(suspect(1, 5, 4), None) == "resolved"


def test_gone_on_both_sides_is_resolved() -> None:
    # The row of the first look exists nowhere any more: there is nothing that differs, and nothing to repair.
    assert outcome(suspect(1, 5, None), None) == "resolved"
    assert outcome(suspect(1, None, 4), None) == "resolved"


def test_values_that_moved_are_in_flight_whichever_side_moved() -> None:
    assert outcome(suspect(1, 5, 4), suspect(1, 6, 4)) == "moving"
    assert outcome(suspect(1, 5, 4), suspect(1, 5, 3)) == "moving"
    assert outcome(suspect(1, 5, None), suspect(1, 5, 4)) == "moving"
    assert outcome(suspect(1, 5, 4), suspect(1, None, 4)) == "moving"
    # Both moved by the same amount: the difference is what it was, the pair is not.
    assert outcome(suspect(1, 5, 4), suspect(1, 6, 5)) == "moving"


def test_a_row_that_was_written_meanwhile_is_moving_though_it_looks_the_same() -> None:
    """On, off and on again: the same pair of values twice, and a writer that is at work on it."""
    seen = confirm([suspect(1, 5, 4, token="old")], {(1,): suspect(1, 5, 4, token="new")})
    assert (seen.drift, [item.token for item in seen.moving]) == ([], ["new"])


def test_moving_carries_the_second_look() -> None:
    # The next look compares with the newest values.
    seen = confirm([suspect(2, 5, 4)], {(2,): suspect(2, 6, 4)})
    assert [item.expected for item in seen.moving] == [(6,)]


@given(
    st.dictionaries(st.integers(0, 5), st.tuples(st.none() | st.integers(0, 2), st.integers(3, 5))),
    st.dictionaries(st.integers(0, 8), st.tuples(st.none() | st.integers(0, 2), st.integers(3, 5))),
)
def test_every_suspect_ends_in_exactly_one_place(
    before: dict[int, tuple[int | None, int]], after: dict[int, tuple[int | None, int]]
) -> None:
    first = [suspect(key, *pair) for key, pair in before.items()]
    seen = confirm(first, {(key,): suspect(key, *pair) for key, pair in after.items()})
    ended = [item.key for item in seen.drift] + [item.key for item in seen.moving] + seen.resolved
    assert sorted(ended) == sorted(item.key for item in first)
    assert {item.key[0] for item in seen.drift} == {key for key in before if after.get(key) == before[key]}
    assert {key for (key,) in seen.resolved} == set(before) - set(after)


def test_a_row_is_looked_at_more_than_once_and_not_for_ever() -> None:
    assert 2 <= LOOKS_MAX <= 10
