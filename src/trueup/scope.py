"""What part of a projection a run reads, and in which segments."""

from __future__ import annotations

from dataclasses import dataclass

from trueup.again import Again, Marks, again
from trueup.core.plan import Segment, by_keys
from trueup.core.row import Value
from trueup.job import Job
from trueup.narrow import route


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What the first stage of a run works through."""

    segments: list[Segment]
    #: How they came to be, in words.
    strategy: str
    #: The run that read everything, where these are what may have changed since.
    base: str | None = None
    #: How far each side's changes went before this run began to read.
    marks: dict[str, Value] | None = None


def scope_of(job: Job) -> Scope:
    """The rows of the plan, the keys that were asked for, what may have changed, or everything."""
    if job.plan is not None:
        keys = [item.decision.drift.key for item in job.ledger.decisions(job.plan.run)]
        return Scope(strategy=f"the rows of plan {job.plan.id}", segments=[*by_keys(keys)])
    if job.keys is not None:
        return Scope(strategy="explicit keys", segments=[*by_keys(job.keys)])
    changes = job.pair.binding.projection.changes
    if changes is None:
        chosen = route(job.pair)
        return Scope(strategy=chosen.strategy, segments=chosen.segments)
    marks = Marks(job, changes)
    now = marks.now()
    less = "that was asked for" if job.full else again(job, marks, now)
    if isinstance(less, Again):
        return Scope(strategy=less.strategy, segments=less.segments, base=less.base, marks=now)
    chosen = route(job.pair)
    return Scope(strategy=f"{chosen.strategy} (everything: {less})", segments=chosen.segments, marks=now)
