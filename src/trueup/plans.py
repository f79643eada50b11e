"""What a run may not do by itself is left as a plan, and people agree to it: an approval binds to the plan's hash.

It is a ceiling. Whoever approves permits at most these rows with these values; a row that has moved since is left
alone when the plan is applied, and listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from trueup.core.approval import PlanState, Said, Vote, approvers, may_not_vote, people_needed, state_of
from trueup.core.compare import Counts
from trueup.core.counted import counted
from trueup.core.projection import Projection
from trueup.errors import Refused, UsageError
from trueup.job import Job, new_id
from trueup.judging import judged, over_a_day
from trueup.store.decided import Decided, decided_by
from trueup.store.ledger import Ledger
from trueup.store.plans import PlanRow, Plans, VoteRow, plan_hash
from trueup.store.records import RunRow
from trueup.who import Actor


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanStanding:
    """A plan, what was said about it, and what can be done with it now."""

    plan: PlanRow
    state: PlanState
    #: People that have to approve it.
    needs: int
    #: Of these, how many have.
    have: int
    votes: list[VoteRow]


def standing_of(plans: Plans, plan: PlanRow, projection: Projection, now: datetime) -> PlanStanding:
    """How `plan` stands under what is declared now: more people may be asked for than when it was made."""
    votes = plans.votes(plan.id)
    facts = plan.facts(people_needed(projection.approval, beyond=bool(plan.beyond or _beyond_now(plan, projection))))
    said = [row.vote for row in votes]
    return PlanStanding(
        plan=plan,
        state=state_of(facts, said, now),
        needs=facts.needs,
        have=len(approvers(facts, said, now)),
        votes=votes,
    )


def _beyond_now(plan: PlanRow, projection: Projection) -> bool:
    """Were the limits lowered since the plan was made?"""
    return plan.changes > projection.limits.rows or plan.deletes > projection.limits.deletes


# --- a run leaves a plan ---------------------------------------------------------------------------------------------


def not_by_itself(job: Job, run: RunRow, counts: Counts, decided: Decided) -> tuple[PlanRow, str] | None:
    """What was decided as a plan, and why it is not done at once ("": a plan is all that was asked for); None: it may
    be done.
    """
    approval = job.pair.binding.projection.approval
    beyond = judged(job, run, counts, decided)
    writing, _ = decided.changes()
    asked = job.command == "plan" or job.only_plan
    if not asked and not (writing and people_needed(approval, beyond=bool(beyond))):
        return None
    plan = leave(job, run, decided, beyond)
    if asked and not beyond:
        return plan, ""
    why = beyond or f'approval = "{approval.within}"'
    return plan, f"{why}; {next_step(job, plan)}"


def leave(job: Job, run: RunRow, decided: Decided, beyond: str) -> PlanRow:
    """What `run` decided, as a plan; `beyond`: why it is beyond the limits. One that is waiting already is not doubled:
    a run that comes back every ten minutes leaves one plan.
    """
    same = plan_hash(run, decided)
    now, projection = job.clock.now(), job.pair.binding.projection
    for plan in job.plans.newest(job.name):
        usable = plan.hash == same and plan.state == "open" and now < plan.expires_at
        if usable and standing_of(job.plans, plan, projection, now).state in (PlanState.WAITING, PlanState.READY):
            return plan
    expires_at = now + timedelta(seconds=projection.approval_expires)
    changes = decided.changes()
    return job.plans.add(new_id("p"), run, changes, hash=same, beyond=beyond, at=now, expires_at=expires_at)


def plan_needs(job: Job, plan: PlanRow) -> int:
    """People that have to approve `plan`."""
    return standing_of(job.plans, plan, job.pair.binding.projection, job.clock.now()).needs


def next_step(job: Job, plan: PlanRow) -> str:
    """What has to happen before `plan` is carried out, in words."""
    found = standing_of(job.plans, plan, job.pair.binding.projection, job.clock.now())
    if found.state is PlanState.READY:
        return f"plan {plan.id} keeps it, and may be applied: trueup apply {plan.id}"
    people = counted(found.needs, "approval")
    people += f" ({found.have} so far)" if found.have else ""
    return (
        f"plan {plan.id} keeps it, and needs {people}: trueup show {plan.id}; "
        f"trueup approve {plan.id} --reason …; trueup apply {plan.id}"
    )


# --- carrying it out -------------------------------------------------------------------------------------------------


def untouched(ledger: Ledger, plan: PlanRow, definition: str) -> None:
    """Raise Refused if the plan is not what its hash was made of, or was made under another declaration."""
    planned = ledger.run(plan.run)
    if planned.definition != definition:
        raise Refused(
            f"plan {plan.id}: the declaration of {plan.projection} changed since it was made; make a new plan"
        )
    if plan_hash(planned, decided_by(ledger, plan.run)) != plan.hash:
        raise Refused(f"plan {plan.id}: its rows are not those that its hash was made of; make a new plan")


def permitted(plans: Plans, plan: PlanRow, projection: Projection, now: datetime) -> PlanStanding:
    """How the plan stands; raises Refused if it may not be carried out now."""
    found = standing_of(plans, plan, projection, now)
    name = plan.projection
    match found.state:
        case PlanState.READY:
            return found
        case PlanState.APPLIED:
            raise Refused(f"plan {plan.id} was applied already; make a new one: trueup plan {name}")
        case PlanState.REJECTED:
            said = next(row for row in found.votes if row.vote.said is Said.REJECTED)
            raise Refused(
                f"plan {plan.id} was rejected by {said.actor}: {said.reason}; make a new one: trueup plan {name}"
            )
        case PlanState.EXPIRED:
            raise Refused(
                f"plan {plan.id} expired at {plan.expires_at:%Y-%m-%d %H:%M} UTC; make a new one: trueup plan {name}"
            )
    why = f"beyond the limits ({plan.beyond})" if plan.beyond else f'approval = "{projection.approval.within}"'
    wanted = counted(found.needs, "approval")
    raise Refused(f"plan {plan.id} needs {wanted} and has {found.have}: {why}; trueup approve {plan.id} --reason …")


def permitted_now(job: Job, plan: PlanRow) -> None:
    """The same for the plan as it is in the ledger now, and with what was written today.

    Whoever approved it has permitted these rows, whatever else was written; a plan that needed nobody may need somebody
    by now.
    """
    projection, now = job.pair.binding.projection, job.clock.now()
    plan = job.plans.find(plan.id) or plan
    if permitted(job.plans, plan, projection, now).needs:
        return
    begun = next((run.id for run in job.ledger.unfinished(job.name, job.holds) if run.plan == plan.id), "")
    why = over_a_day(job, begun, decided_by(job.ledger, plan.run))
    if why:
        permitted(job.plans, job.plans.now_beyond(plan, why), projection, now)


# --- people ----------------------------------------------------------------------------------------------------------


def vote(
    plans: Plans, plan: PlanRow, projection: Projection, actor: Actor, word: Said, reason: str, now: datetime
) -> PlanStanding:
    """A person approves or rejects `plan`; how it stands then.

    Raises UsageError without a reason, Refused where this person cannot say that now.
    """
    if not reason.strip():
        raise UsageError(f"plan {plan.id}: say why: --reason TEXT; it is kept in the record")
    found = standing_of(plans, plan, projection, now)
    said = [row.vote for row in found.votes]
    why_not = may_not_vote(plan.facts(found.needs), said, word, actor.person, now)
    if why_not:
        raise Refused(f"plan {plan.id}: {why_not}")
    if word is Said.APPROVED and not found.needs:
        raise Refused(f"plan {plan.id} is within the limits and needs no approval: trueup apply {plan.id}")
    expires_at = now + timedelta(seconds=projection.approval_expires)
    given = Vote(said=word, person=actor.person, hash=plan.hash, at=now, expires_at=expires_at)
    plans.vote(plan, actor, given, reason.strip())
    return standing_of(plans, plan, projection, now)
