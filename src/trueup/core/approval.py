"""Plans and who agreed to them: what state a plan is in, and who may say something about it.

An approval binds to the plan's hash, and is a ceiling: it permits at most these rows with these values, for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from trueup.core.projection import PEOPLE, Approval


class PlanState(StrEnum):
    """What can be done with a plan."""

    #: Approvals are missing.
    WAITING = "waiting"
    #: It may be applied.
    READY = "ready"
    #: Somebody said no. Final.
    REJECTED = "rejected"
    #: Nobody carried it out in time. Final, as nobody may approve it any more.
    EXPIRED = "expired"
    #: It was carried out. Final.
    APPLIED = "applied"


class Said(StrEnum):
    """What a person said about a plan."""

    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """One person's word on one plan."""

    said: Said
    #: The person, by what tells people apart.
    person: str
    #: Hash of the plan that was looked at.
    hash: str
    at: datetime
    #: From when on an approval counts no more.
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What decides the state of a plan, apart from the votes and the time."""

    hash: str
    #: The person who asked for it.
    requester: str
    expires_at: datetime
    #: People that have to approve it.
    needs: int
    applied: bool = False


def people_needed(approval: Approval, *, beyond: bool) -> int:
    """How many people have to approve; `beyond`: the plan is beyond the limits."""
    return max(PEOPLE[approval.within], PEOPLE[approval.beyond] if beyond else 0)


def approvers(plan: Facts, votes: Iterable[Vote], now: datetime) -> set[str]:
    """People whose approval of exactly this plan counts now."""
    counted = {
        vote.person for vote in votes if vote.said is Said.APPROVED and vote.hash == plan.hash and now < vote.expires_at
    }
    return counted - {plan.requester} if plan.needs > 1 else counted


def state_of(plan: Facts, votes: Sequence[Vote], now: datetime) -> PlanState:
    """What can be done with `plan` now."""
    if plan.applied:
        return PlanState.APPLIED
    if any(vote.said is Said.REJECTED for vote in votes):
        return PlanState.REJECTED
    if len(approvers(plan, votes, now)) >= plan.needs > 0:
        return PlanState.READY
    if now >= plan.expires_at:
        return PlanState.EXPIRED
    return PlanState.WAITING if plan.needs else PlanState.READY


def may_not_vote(plan: Facts, votes: Sequence[Vote], said: Said, person: str, now: datetime) -> str:
    """Why `person` cannot say this about the plan now; empty if they can."""
    match state_of(plan, votes, now):
        case PlanState.APPLIED:
            return "it was applied already: there is nothing left to say about it"
        case PlanState.REJECTED:
            return "it was rejected, and that is final; make a new plan"
        case PlanState.EXPIRED:
            return f"it expired at {plan.expires_at:%Y-%m-%d %H:%M} UTC; make a new plan"
    if said is Said.REJECTED:
        return ""
    if plan.needs > 1 and person == plan.requester:
        return f"{person} asked for it; where two people have to agree, both have to be others"
    if person in approvers(plan, votes, now):
        others = f"; {plan.needs} people have to, and they have to be different" if plan.needs > 1 else ""
        return f"{person} approved it already{others}"
    return ""
