"""What a run leaves known when it ends: which rows are wrong, and which are right again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice

from trueup.adapters import DIFFERENCES_MAX
from trueup.again import announced
from trueup.core.again import names_rows
from trueup.core.row import Key
from trueup.core.states import Stage
from trueup.job import Job
from trueup.scope import perhaps_settled
from trueup.store.decided import Decided
from trueup.store.records import DecisionRow, Narrowed, RunRow
from trueup.withheld import Withheld
from trueup.work import Work, look


def stand(
    work: Work,
    job: Job,
    run: RunRow,
    decided: Decided,
    seen: Narrowed,
    withheld: Withheld,
    moving: Collection[Key],
) -> None:
    """Write down what this run knows to be wrong, and, where it saw everything, that nothing else is.

    `moving`: rows that were in flight at its last look, of which nothing is known.
    """
    decisions = decided.rows
    if run.stage not in (Stage.CANARY, Stage.REPAIR):
        found = [(item.decision.drift, item.decision.reason) for item in islice(decided, DIFFERENCES_MAX)]
        job.standing.found(run, found, job.clock.now())
    wrong = {item.decision.drift.key for item in decisions}
    if run.whole and not withheld.not_compared(seen):
        job.standing.only(run)
    else:
        job.standing.settled(job.name, _right(work, job, run, decisions, seen, withheld), seen_by=run)
    asked = None if run.whole else job.keys or (tuple(wrong) if job.plan else ())
    withheld.settled(asked, {row.drift.key for row in job.standing.drift(job.name)} | set(moving), seen)


def _right(
    work: Work, job: Job, run: RunRow, decisions: Sequence[DecisionRow], seen: Narrowed, withheld: Withheld
) -> list[Key]:
    """Rows that were known to be wrong, and that this run found to be right."""
    wrong = {item.decision.drift.key for item in decisions}
    unread = withheld.unread(seen)
    if run.whole:
        before = [row.drift.key for row in job.standing.drift(job.name) if row.run != run.id]
        return [key for key in before if not unread(key)]
    if job.keys is not None:
        return [key for key in job.keys if key not in wrong and not unread(key)]
    if run.base is not None:  # all that was known to be wrong when it began was looked at again
        before = [row.drift.key for row in job.standing.drift(job.name)]
        told = announced(job, run, [key for key in before if key not in wrong])
        return [key for key in before if key in told and not unread(key)]
    if run.partitions is not None:
        keys = perhaps_settled(job, run)
        still = look(work, keys)
        settled = [key for key in keys if key not in still and key not in work.unread]
        return settled if run.partitions else [*settled, *_under_another_key(job)]
    return []


def _under_another_key(job: Job) -> list[Key]:
    """Rows that are known to be wrong by a key that none has now: one that read all of them has found them anew."""
    kinds = job.pair.binding.key_kinds
    return [row.drift.key for row in job.standing.drift(job.name) if not names_rows(kinds, row.drift.key)]
