"""Whether what a run found may be acted upon: guards and limits, over the whole run, before its first write."""

from __future__ import annotations

from datetime import timedelta

from trueup.adapters import DIFFERENCES_MAX
from trueup.again import emptied
from trueup.core.compare import Counts
from trueup.core.decide import Action, Totals, collapsed, judge, part_collapsed
from trueup.core.plan import describe, partition_of
from trueup.core.shapes import lost_parts, written
from trueup.job import Job
from trueup.store.coverage import Coverage
from trueup.store.decided import Decided
from trueup.store.records import Narrowed, RunRow

#: The window of `limits.daily`.
DAY = timedelta(hours=24)


def source_collapsed(job: Job, run: RunRow, counts: Counts) -> str:
    """Why the source's answer is not believed; empty if it is."""
    parts = run.partitions is not None
    if run.base is not None:
        return emptied(job, run, counts)
    if not run.whole and not parts:
        return ""
    # Of some partitions, what the target holds in them is what their source is judged by.
    before = None if parts else Coverage(job.ledger).last_source_rows(job.name, job.definition)
    target_rows = counts.target_rows - counts.null_keys_target
    return collapsed(counts.keyed_source_rows, target_rows, before, job.pair.binding.projection.limits)


def too_many(seen: Narrowed) -> str:
    """Why nobody can permit what was found: not all of it is known; empty if it is."""
    if seen.counts.differing - seen.in_lots > DIFFERENCES_MAX:
        return f"{seen.counts.differing:,} rows differ: check the definition of the projection before its data"
    return ""


def judged(job: Job, run: RunRow, counts: Counts, decided: Decided) -> str:
    """Why what was decided is beyond the limits; empty if it is within them."""
    writing, deletes = decided.changes()
    totals = Totals(
        source_rows=counts.source_rows,
        target_rows=counts.target_rows,
        source_rows_before=None if run.whole else counts.source_rows,
        changes=writing,
        deletes=deletes,
        drift=len(decided),
    )
    limits = job.pair.binding.projection.limits
    if not run.whole and run.partitions is None:
        # A share of a handful of keys means nothing; rows and deletes still count.
        limits = limits.model_copy(update={"share": 1.0, "collapse": 0.0})
    within = judge(totals, limits.model_copy(update={"collapse": 0.0})) or over_a_day(job, run.id, decided)
    return parts_collapsed(job, run, decided) or within


def parts_collapsed(job: Job, run: RunRow, decided: Decided) -> str:
    """Why the source is not believed where it lacks most of a partition or key range; empty if that is nowhere so.

    Asked only where rows that it lacks would be deleted or reset.
    """
    if not decided.believes_absence:
        return ""
    limits, coverage = job.pair.binding.projection.limits, Coverage(job.ledger)
    gone = lost_parts(coverage.shapes(job.name, job.definition), written(job.pair.binding)) if limits.collapse else []
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        return (
            f"the source was read from {gone[0]}{more} at the last complete run, and is not now. Check that no file is "
            f"missing; if it is right, somebody has to approve"
        )
    for span, counts in coverage.parts(run.id):
        if part_collapsed(counts, limits, declared=partition_of(span) is not None):
            return (
                f"source collapsed in {describe(span)}: it has {counts.source_rows:,} rows there, and the target "
                f"{counts.extra:,} that it lacks. Check the source; if it is right, somebody has to approve"
            )
    return ""


def over_a_day(job: Job, run: str, decided: Decided) -> str:
    """Why what is left of `decided` would be too much for one day; empty if it is not.

    Counted are rows that were written by any run, and those of repair transactions whose outcome is not known yet.
    """
    daily = job.pair.binding.projection.limits.daily
    if daily is None:
        return ""
    written = job.ledger.written(job.name, job.clock.now() - DAY)
    in_lots = job.ledger.lots.written(job.name, job.clock.now() - DAY)
    mine = {key for by, key in written if by == run}
    left = sum(d.decision.action is not Action.REPORT and d.decision.drift.key not in mine for d in decided.rows)
    left += max(sum(lot.count for lot in decided.lots) - in_lots.get(run, 0), 0)
    before = len(written) + sum(in_lots.values())
    if not left or before + left <= daily:
        return ""
    return f"{left:,} rows would be changed, and {before:,} were within the last 24 hours; limits.daily = {daily:,}"
