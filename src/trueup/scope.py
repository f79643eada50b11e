"""What part of a projection a run reads, and in which segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from trueup.again import Again, again, in_turn
from trueup.by_partition import unknown
from trueup.core.again import believed, names_rows
from trueup.core.partition import Slice
from trueup.core.plan import Segment, by_keys
from trueup.core.row import Key, Value
from trueup.job import Job
from trueup.marked import Marks
from trueup.narrow import route
from trueup.store.partitions import partitions_of
from trueup.store.records import OpenWork, RunRow
from trueup.undo import undone_by


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What the first stage of a run works through."""

    segments: list[Segment]
    #: What there is beside them: lots that are put back; rows that are alike.
    work: Sequence[OpenWork] = ()
    #: How they came to be, in words.
    strategy: str
    #: The run that read everything, where these are what may have changed since.
    base: str | None = None
    #: How far each side's changes went before this run began to read.
    marks: dict[str, Value] | None = None
    #: Partitions that were asked for; empty: those that are closed. None: none is left out.
    partitions: tuple[Slice, ...] | None = None


def scope_of(job: Job) -> Scope:
    """The rows of the plan, the keys that were asked for, what may have changed, or everything."""
    if job.plan is not None:
        keys = [item.decision.drift.key for item in job.ledger.decision_rows(job.plan.run)]
        return Scope(strategy=f"the rows of plan {job.plan.id}", segments=[*by_keys(keys)])
    if job.undoing is not None:
        done = undone_by(job, job.undoing)
        lots = [job.ledger.lots.find(lot.lot) for lot in done.lots]
        return Scope(
            strategy=f"the rows that {job.undoing.run} wrote",
            segments=[*by_keys(list(done.rows))],
            work=[OpenWork(span=job.ledger.span_of(lot.segment), lots_of=lot.id) for lot in lots],
        )
    if job.keys is not None:
        return Scope(strategy="explicit keys", segments=[*by_keys(job.keys)])
    changes = job.pair.binding.projection.changes
    if changes is None or job.partitions is not None:
        return _by_turns(job) or _everything(job)
    marks, at = Marks(job, changes), job.clock.now()
    now = marks.now()
    kept = {role: believed(mark, at) for role, mark in now.items()}
    less = "that was asked for" if job.full else again(job, marks, now)
    if isinstance(less, Again):
        return Scope(strategy=less.strategy, segments=less.segments, work=less.alike, base=less.base, marks=kept)
    if (turn := _by_turns(job)) is not None:
        return turn
    scope = _everything(job)
    # Marks are for a run that leaves nothing out: what is taken as unchanged has to have been read.
    left = kept if scope.partitions is None else None
    return replace(scope, strategy=f"{scope.strategy} (everything: {less})", marks=left)


def _by_turns(job: Job) -> Scope | None:
    """What has been unverified for longest, where that is asked for or declared; None: everything is to be read."""
    turn = in_turn(job) if job.by_turns else None
    return None if turn is None else Scope(strategy=turn.strategy, segments=turn.segments, base=turn.base)


def _everything(job: Job) -> Scope:
    """All rows, or those of the partitions that were asked for or are closed."""
    chosen = route(job.pair, job.clock.now(), job.partitions)
    partitions = None if chosen.whole else job.partitions or ()
    return Scope(strategy=chosen.strategy, segments=chosen.segments, partitions=partitions)


def nothing_there(job: Job, run: RunRow) -> str:
    """What to say of a partition that was asked for and that neither side has; empty if there is none such."""
    parts = partitions_of(job.ledger, run.id)
    there = {part for part, seen in parts.items() if seen.counts.source_rows or seen.counts.target_rows}
    for part in parts:
        why = "" if part in there else unknown(job.pair.binding, part, there)
        if why:
            return why
    return ""


def perhaps_settled(job: Job, run: RunRow) -> list[Key]:
    """Rows known to be wrong that this run should have found in its partitions, and did not.

    That they are right is not proven: a row may have moved to a partition that was not looked at.
    """
    looked_at, kinds = partitions_of(job.ledger, run.id), job.pair.binding.key_kinds
    known: dict[str, list[Key]] = {}
    for row in job.standing.drift(job.name):
        if row.run != run.id and names_rows(kinds, row.drift.key):
            known.setdefault(row.run, []).append(row.drift.key)
    found: list[Key] = []
    for earlier, keys in known.items():
        parts = partitions_of(job.ledger, earlier)
        elsewhere = {key for part, seen in parts.items() if part not in looked_at for key in seen.keys}
        found += [key for key in keys if key not in elsewhere]
    return found
