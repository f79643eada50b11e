"""A run after one that read everything: which keys may have changed since, and which segments take their turn.

What is taken as unchanged is said in the run's strategy, and so in its report. Wherever the marks cannot be trusted
everything is read, and the reason is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from trueup.core.again import CHANGED_MAX, Verified, bind_marks, due, gone_back, marked_side, since
from trueup.core.binding import Binding, BoundSide
from trueup.core.plan import Keys, Range, Segment, by_keys
from trueup.core.projection import Changes
from trueup.core.row import Key, Value, canonical
from trueup.errors import BrokenRead
from trueup.job import Job
from trueup.store.coverage import Coverage
from trueup.store.records import RunRow

#: Keys that are looked at by one statement.
KEYS_AT_ONCE = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """What a run reads that does not read everything."""

    #: The run that did.
    base: str
    segments: list[Segment]
    #: What is read, and what is taken as unchanged, in words.
    strategy: str


class Marks:
    """The declared marks of a projection, bound to what the databases hold.

    Raises ConfigError for a mark that is not there or does not grow.
    """

    def __init__(self, job: Job, changes: Changes) -> None:
        self.changes = changes
        self._readers = {"source": job.pair.source, "target": job.pair.target}
        self._bound: dict[str, tuple[Binding, BoundSide]] = {}
        for role, mark in changes.marks.items():
            shape = self._readers[role].describe(marked_side(job.pair.binding, role, mark))
            self._bound[role] = bind_marks(job.pair.binding, role, mark, shape)

    def now(self) -> dict[str, Value]:
        """How far each side's changes go, before anything else is read."""
        found = {}
        for role, (binding, side) in self._bound.items():
            found[role] = canonical(binding.key_kinds[0], [self._readers[role].greatest(side)])[0]
        return found

    def changed(self, marks: Mapping[str, Value]) -> dict[Key, None] | None:
        """Keys of rows that may have changed since these marks; None if they are too many to look at one by one."""
        keys: dict[Key, None] = {}
        for role, (binding, side) in self._bound.items():
            mark = marks.get(role)
            lower = None if mark is None else (since(mark, self.changes.overlap),)
            stream = self._readers[role].stream(binding, side, Range(lower=lower), tokens=False)
            for batch in stream:
                keys |= dict.fromkeys(zip(*batch.clean(binding.value_kinds).values, strict=True))
                if len(keys) > CHANGED_MAX:
                    return None
            if not stream.ended:
                raise BrokenRead(f"{binding.projection.name}: reading the {role}'s changes stopped before its end")
        return keys

    def words(self, marks: Mapping[str, Value]) -> str:
        """Since when, in words."""
        columns = {role: f"{mark.table or role}.{mark.column}" for role, mark in self.changes.marks.items()}
        told = {role: since(marks[role], self.changes.overlap) for role in columns if marks.get(role) is not None}
        return ", ".join(f"{columns[role]} >= {value}" for role, value in told.items())


def again(job: Job, marks: Marks, now: Mapping[str, Value]) -> Again | str:
    """What to read instead of everything, or why everything is to be read."""
    coverage = Coverage(job.ledger)
    last = coverage.last(job.name, job.definition)
    if last is None or last.marks is None:
        return "no run under this declaration has read everything yet"
    back = gone_back(last.marks, now)
    if back:
        return back
    keys = marks.changed(last.marks)
    if keys is None:
        return f"more than {CHANGED_MAX:,} keys may have changed since {last.id}"
    known = [row.drift.key for row in job.standing.drift(job.name)]
    base = last.base or last.id
    verified = coverage.verified(base)
    turn = due(verified, _began(job, last, base), job.clock.now(), marks.changes.verify_within)
    return Again(
        base=base,
        segments=[*by_keys([*keys, *known], KEYS_AT_ONCE), *turn],
        strategy=_words(marks, last, len(keys), len(known), turn, verified),
    )


def _began(job: Job, last: RunRow, base: str) -> datetime:
    run = last if last.id == base else job.ledger.run(base)
    return run.ended_at or run.started_at


def _words(
    marks: Marks, last: RunRow, keys: int, known: int, turn: Sequence[Segment], verified: Sequence[Verified]
) -> str:
    assert last.marks is not None
    oldest = min((segment.looked_at for segment in verified), default=last.started_at)
    and_known = f" and {known} known to be wrong" if known else ""
    return (
        f"{keys:,} keys that may have changed ({marks.words(last.marks)}){and_known}, and {len(turn)} of "
        f"{len(verified)} segments in turn; the rest is taken as unchanged since {oldest:%Y-%m-%d %H:%M} UTC or later"
    )


def unannounced(job: Job, run: RunRow) -> str:
    """A warning about rows that drifted though no mark announced a change; empty if there are none."""
    if run.base is None:
        return ""
    spans = Coverage(job.ledger).spans(run.id)
    announced = {key for span in spans if isinstance(span, Keys) for key in span.keys}
    silent = sum(item.decision.drift.key not in announced for item in job.ledger.decisions(run.id))
    if not silent:
        return ""
    return (
        f"{silent:,} of the rows that drifted had no mark of a change: something writes (or deletes) without setting the "
        f"column that `changes` declares. They were found because their segments took their turn; `--full` reads all"
    )
