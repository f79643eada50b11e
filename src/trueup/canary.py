"""The rows that go first: chosen, and looked at again before the others follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trueup.by_lot import work_of
from trueup.core.canary import choose
from trueup.core.row import Key
from trueup.core.states import Outcome, Stage
from trueup.errors import Interrupted
from trueup.job import Job
from trueup.store.decided import Decided
from trueup.store.records import DecisionRow, OpenWork, OutcomeRow, RunRow
from trueup.work import Work, confirmed, look

#: Keys that a refusal names.
NAMED = 5


def first(job: Job, decided: Decided) -> list[Key]:
    """Keys of the rows that go first, of those that were decided on one by one; none where no canary is asked for, or
    there would be no rest.
    """
    if job.canary is None:
        return []
    return choose([item.decision for item in decided.rows], job.canary, others=sum(lot.count for lot in decided.lots))


def begins(job: Job, decided: Decided) -> tuple[Stage, list[OpenWork]]:
    """What is written first: the rows that go first, or all of what was decided."""
    if chosen := first(job, decided):
        return Stage.CANARY, work_of(job.ledger, chosen)
    return Stage.REPAIR, work_of(job.ledger, [item.decision.drift.key for item in decided.rows], decided.lots)


def rest(job: Job, run: RunRow, decided: Sequence[DecisionRow]) -> list[Key]:
    """Keys of the rows that follow."""
    gone = set(job.ledger.keys_of(run.id, Stage.CANARY))
    return [key for item in decided if (key := item.decision.drift.key) not in gone]


def fails(work: Work, job: Job, run: RunRow, last: Mapping[Key, OutcomeRow]) -> str:
    """Why the others do not follow; empty if they may. `last`: the last word on each row of the run.

    Looked at are the rows that were written, after they had time to settle. Rows that had moved on say nothing; where
    all had, nothing is known.
    """
    keys = job.ledger.keys_of(run.id, Stage.CANARY)
    wait_s = work.settle_s if job.canary is None or job.canary.wait is None else job.canary.wait
    if keys and wait_s and work.clock.wait(wait_s):
        raise Interrupted(f"{job.name}: stopped while the canary's rows settle; run again to go on")
    differing = look(work, keys)
    written = {key for key in keys if key in last and last[key].outcome in (Outcome.APPLIED, Outcome.CONVERGED)}
    wrong, _, _ = confirmed(work, [row for row in differing.values() if row.key in written], first_wait_s=work.settle_s)
    bad = [row.key for row in wrong]
    bad += [key for key in keys if key in last and last[key].outcome is Outcome.FAILED]
    back = f"put its rows back with: trueup rollback {run.id}"
    if bad:
        told = ", ".join(str(job.pair.binding.named_key(key)) for key in bad[:NAMED])
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        return (
            f"canary: {len(bad)} of {len(keys)} rows are wrong after their repair ({told}{more}), and no other was "
            f"touched; {back}"
        )
    if all(key in differing for key in keys):
        return f"canary: none of its {len(keys)} rows could be written, so nothing is known of the others; run again"
    return ""
