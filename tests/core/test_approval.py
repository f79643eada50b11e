"""The states of plans: who may say what about one, and when it may be carried out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trueup.core.approval import Facts, PlanState, Said, Vote, approvers, may_not_vote, people_needed, state_of
from trueup.core.projection import Approval

MADE = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HASH = "a" * 64
PEOPLE = ["ann", "bob", "cem", "requester"]

facts = st.builds(
    Facts,
    hash=st.just(HASH),
    requester=st.just("requester"),
    expires_at=st.just(MADE + DAY),
    needs=st.integers(0, 2),
    applied=st.booleans(),
)
moments = st.integers(0, 50).map(lambda hours: MADE + timedelta(hours=hours))
votes = st.lists(
    st.builds(
        lambda said, person, hash_, at: Vote(said=said, person=person, hash=hash_, at=at, expires_at=at + DAY),
        st.sampled_from([Said.APPROVED, Said.APPROVED, Said.APPROVED, Said.REJECTED]),
        st.sampled_from(PEOPLE),
        st.sampled_from([HASH, "b" * 64]),
        moments,
    ),
    max_size=6,
)


def approved(person: str, *, at: datetime = MADE, hash_: str = HASH) -> Vote:
    return Vote(said=Said.APPROVED, person=person, hash=hash_, at=at, expires_at=at + DAY)


def plan(needs: int, *, applied: bool = False) -> Facts:
    return Facts(hash=HASH, requester="requester", expires_at=MADE + DAY, needs=needs, applied=applied)


@pytest.mark.parametrize(
    ("needs", "said", "hours", "state"),
    [
        (0, [], 0, PlanState.READY),
        (0, [], 24, PlanState.EXPIRED),
        (1, [], 0, PlanState.WAITING),
        (1, [], 24, PlanState.EXPIRED),
        (1, [approved("requester")], 1, PlanState.READY),
        (1, [approved("ann", hash_="b" * 64)], 1, PlanState.WAITING),
        (2, [approved("ann")], 1, PlanState.WAITING),
        (2, [approved("ann"), approved("ann")], 1, PlanState.WAITING),
        (2, [approved("ann"), approved("requester")], 1, PlanState.WAITING),
        (2, [approved("ann"), approved("bob")], 1, PlanState.READY),
        # An approval holds for a day from when it was given, also where the plan itself would have expired.
        (1, [approved("ann", at=MADE + timedelta(hours=20))], 43, PlanState.READY),
        (1, [approved("ann", at=MADE + timedelta(hours=20))], 44, PlanState.EXPIRED),
    ],
)
def test_states(needs: int, said: list[Vote], hours: int, state: PlanState) -> None:
    assert state_of(plan(needs), said, MADE + timedelta(hours=hours)) is state


@given(facts, votes, moments)
def test_ready_only_with_as_many_people_as_are_needed(plan: Facts, said: Sequence[Vote], now: datetime) -> None:
    if state_of(plan, said, now) is not PlanState.READY:
        return
    assert not plan.applied
    assert Said.REJECTED not in {vote.said for vote in said}
    counted = {vote.person for vote in said if vote.hash == plan.hash and now < vote.expires_at}
    if plan.needs > 1:
        counted -= {plan.requester}
    assert len(counted) >= plan.needs
    if not plan.needs:
        assert now < plan.expires_at


@given(facts, votes, moments)
def test_nobody_can_say_anything_about_a_plan_that_is_over(plan: Facts, said: Sequence[Vote], now: datetime) -> None:
    over = state_of(plan, said, now) not in (PlanState.WAITING, PlanState.READY)
    for person in PEOPLE:
        for word in Said:
            if over:
                assert may_not_vote(plan, said, word, person, now)
        if not over:
            assert not may_not_vote(plan, said, Said.REJECTED, person, now)


@given(facts, votes, moments, st.sampled_from(PEOPLE))
def test_a_vote_that_may_be_given_counts(plan: Facts, said: Sequence[Vote], now: datetime, person: str) -> None:
    """No approval is taken that would not bring the plan one person nearer."""
    if not plan.needs or may_not_vote(plan, said, Said.APPROVED, person, now):
        return
    before = approvers(plan, said, now)
    after = approvers(plan, [*said, approved(person, at=now)], now)
    assert after - before == {person}


@pytest.mark.parametrize(
    ("declared", "within", "beyond"),
    [
        ("none", 0, 1),
        ("one", 1, 1),
        ("two", 2, 2),
        ({"within": "none", "beyond": "two"}, 0, 2),
        ({"within": "two"}, 2, 2),
    ],
)
def test_how_many_people(declared: object, within: int, beyond: int) -> None:
    approval = Approval.model_validate(declared)
    assert (people_needed(approval, beyond=False), people_needed(approval, beyond=True)) == (within, beyond)


@pytest.mark.parametrize("declared", ["three", {"beyond": "none"}, {"within": 1}, 2])
def test_what_is_no_number_of_people(declared: object) -> None:
    with pytest.raises(ValidationError):
        Approval.model_validate(declared)
