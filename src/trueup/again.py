"""A run after one that read everything: which keys may have changed since, and which segments take their turn.

What is taken as unchanged is said in the run's strategy, and so in its report. Wherever the marks cannot be trusted
everything is read, and the reason is said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from trueup.adapters import delivered
from trueup.by_partition import cut
from trueup.core.again import (
    CHANGED_MAX,
    Verified,
    believed,
    due,
    ends_of,
    gone_back,
    longest_unread,
    names_rows,
    other_keys,
)
from trueup.core.compare import Counts
from trueup.core.decide import collapsed
from trueup.core.freshness import due_by_age, looked_at
from trueup.core.plan import KEYS_AT_ONCE, Keys, NullKeys, Range, Segment, by_keys, partition_of
from trueup.core.projection import Limits
from trueup.core.row import Key, Value
from trueup.core.shapes import other_values
from trueup.job import Job
from trueup.marked import Marks
from trueup.side_by_side import Pair
from trueup.store.coverage import Coverage
from trueup.store.records import DecisionRow, OpenWork, RunRow

#: So long a turn aims to take, where nothing else is to be done, seconds.
TURN_S = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """What a run reads that does not read everything."""

    #: The run that did.
    base: str
    segments: list[Segment]
    #: Rows that need not be looked at: they were alike where their marks were read.
    alike: Sequence[OpenWork] = ()
    #: What is read, and what is taken as unchanged, in words.
    strategy: str


def again(job: Job, marks: Marks, now: Mapping[str, Value]) -> Again | str:
    """What to read instead of everything, or why everything is to be read."""
    coverage = Coverage(job.ledger)
    last = coverage.last(job.name, job.definition)
    if last is None or last.marks is None:
        return "no run under this declaration has read everything yet"
    if altered := _altered(job, coverage, last):
        return altered
    if short := coverage.fell_short(last):
        return f"{short} read everything, and could not compare or keep all of it"
    # Those of an older version may be ahead.
    last = replace(last, marks={role: believed(mark, last.started_at) for role, mark in last.marks.items()})
    assert last.marks is not None
    if untrusted := gone_back(last.marks, now):
        return untrusted
    changed = marks.changed(last.marks)
    if changed is None:
        return f"more than {CHANGED_MAX:,} keys may have changed since {last.id}"
    base = last.base or last.id
    verified = coverage.gathered(base)
    known = _known(job, coverage, last)
    if others := _other_keys(job, known, verified):
        return others
    turn = due(verified, job.clock.now(), marks.changes.verify_within)
    if job.in_turn:  # nothing else is to be done
        turn = list(dict.fromkeys([*turn, *longest_unread(verified, _at_a_time(last))]))
    named = dict.fromkeys([*changed.keys, *known])
    read = [key for key in named if key not in changed.alike]
    many = len(changed.keys)
    return Again(
        base=base,
        segments=[*_looked_up(read, turn), *turn, *_new_partitions(job, verified)],
        alike=changed.as_work(),
        strategy=_words(marks, last, many, len(named) - many, turn, verified),
    )


def _altered(job: Job, coverage: Coverage, last: RunRow) -> str:
    """Why what a run found equal, or wrong, says nothing of what is compared now; empty if it does.

    No mark tells of an ALTER. And what is known to be wrong is known by the rules of the run that looked last.
    """
    binding = job.pair.binding
    if other := coverage.declared_otherwise(last):
        return f"{other} was declared otherwise, after {last.id}"
    new = [name for name in binding.columns if name not in last.columns]
    if new:
        return f"{last.id} did not compare {', '.join(new)}"
    words = other_values(last.shapes, binding) if last.shapes else []
    return f"the tables are not as {last.id} read them: {'; '.join(words)}" if words else ""


def in_turn(job: Job) -> Again | None:
    """Parts whose turn it is, and rows known to be wrong; None: no run was complete, and compared what is now.

    Those that have been unverified for longest, as many as a turn has time for; where buckets have periods by age,
    those that are due, and in continuous mode no more of them than that.
    """
    coverage, now = Coverage(job.ledger), job.clock.now()
    base = coverage.complete(job.name, job.definition)
    if base is None:
        return None
    last, declared = coverage.listed(base.id), job.pair.binding.projection.partition
    if _altered(job, coverage, base) or _altered(job, coverage, last):
        return None
    verified = coverage.gathered(base.id)
    parts, many = looked_at(verified, declared, now), _at_a_time(last) if job.in_turn else None
    turn = due_by_age(verified, declared, now)[:many] if declared.verify else longest_unread(parts, many)
    known = _known(job, coverage, last)
    if _other_keys(job, known, verified):
        return None
    named = dict.fromkeys(known)
    new = _new_partitions(job, verified)
    since = min((one.looked_at for one in parts), default=base.started_at)
    which = "whose turn it is by their age" if declared.verify else "that were verified longest ago"
    strategy = f"in turn: the {len(turn):,} of {len(parts):,} parts {which}"
    strategy += f", {len(new):,} that are new" if new else ""
    strategy += f", and {len(named):,} rows that were wrong or moving before" if named else ""
    return Again(
        base=base.id,
        segments=[*_looked_up(named, turn), *turn, *new],
        strategy=f"{strategy}; the rest was verified at {since:%Y-%m-%d %H:%M} UTC or later",
    )


def _at_a_time(last: RunRow) -> int:
    """How many parts a turn reads: as many as take about TURN_S, going by the last run."""
    told = last.report or {}
    done, seconds = told.get("segments", {}).get("done", 0), told.get("seconds", 0.0)
    return max(int(TURN_S * done / max(seconds, 0.001)), 1) if done else 1


def _looked_up(keys: Collection[Key], turn: Sequence[Segment]) -> list[Segment]:
    """The rows of these keys. No row is found by a key with a NULL part, so those rows are looked at together."""
    named = [key for key in keys if None not in key]
    nulls = len(named) < len(keys) and NullKeys() not in turn
    return [*by_keys(named, KEYS_AT_ONCE), *([NullKeys()] if nulls else [])]


def _new_partitions(job: Job, verified: Sequence[Verified]) -> list[Segment]:
    """Partitions that no run has read: where nothing announced their rows, no turn of a known one finds them."""
    binding = job.pair.binding
    if binding.cut_kind is None:
        return []
    known = {partition_of(segment.span) for segment in verified}
    found = cut(job.pair, None, job.clock.now()).segments(binding)
    return [segment for segment in found if partition_of(segment) not in known]


def _words(
    marks: Marks, last: RunRow, keys: int, known: int, turn: Sequence[Segment], verified: Sequence[Verified]
) -> str:
    assert last.marks is not None
    oldest = min((segment.looked_at for segment in verified), default=last.started_at)
    and_known = f" and {known} known to be wrong or moving before" if known else ""
    since = marks.words(last.marks) or "no row had a mark"
    return (
        f"{keys:,} keys that may have changed ({since}){and_known}, and {len(turn)} of "
        f"{len(verified)} segments in turn; the rest is taken as unchanged since {oldest:%Y-%m-%d %H:%M} UTC or later"
    )


def unannounced(job: Job, run: RunRow, decided: Sequence[DecisionRow]) -> str:
    """A warning about rows that drifted though no mark announced a change; empty if there are none."""
    if run.base is None or run.marks is None or not decided:
        return ""
    drifted = [item.decision.drift.key for item in decided]
    told = announced(job, run, drifted)
    silent = sum(key not in told for key in drifted)
    if not silent:
        return ""
    return (
        f"{silent:,} of the rows that drifted had no mark of a change: something writes (or deletes) without setting "
        f"the column that `changes` declares. They were found because their segments took their turn; `--full` reads "
        f"all"
    )


def announced(job: Job, run: RunRow, keys: Collection[Key]) -> set[Key]:
    """Those of these keys that a run looked at by themselves: marked as changed, known to be wrong, or still moving
    before.
    """
    asked, found = set(keys), set[Key]()
    for span in Coverage(job.ledger).spans(run.id) if asked else ():
        if isinstance(span, Keys):
            found |= asked.intersection(span.keys)
        elif span == NullKeys():
            found.update(key for key in asked if None in key)
        if len(found) == len(asked):  # the rest, which may be many, need not be put together
            break
    return found


def _known(job: Job, coverage: Coverage, last: RunRow) -> list[Key]:
    """Rows that are known to be wrong, were moving when `last` or a later run looked, or were accepted since then."""
    kinds = job.pair.binding.key_kinds
    accepted = job.acceptances.keys_since(job.name, last.started_at)  # under whatever key there was then
    return [
        *(row.drift.key for row in job.standing.drift(job.name)),
        *coverage.unsettled(last),
        *(key for key in accepted if names_rows(kinds, key)),
    ]


def _other_keys(job: Job, known: Sequence[Key], verified: Sequence[Verified]) -> str:
    """Why what earlier runs found says nothing of the rows that are there now; empty if it does."""
    return other_keys(job.pair.binding.key_kinds, [*known, *ends_of(one.span for one in verified)])


def outrun(job: Job, run: RunRow) -> str:
    """Why an unfinished run is of no use: everything is asked for, or a later one has ended; empty if it can go on."""
    if run.base is None:
        return ""
    if job.full or (run.marks is None and not job.by_turns):
        return "replaced by a run that reads everything"
    coverage = Coverage(job.ledger)
    last = coverage.last(job.name, job.definition) if run.marks else coverage.complete(job.name, job.definition)
    return f"{last.id} has looked further since" if last and last.started_at > run.started_at else ""


def emptied(job: Job, run: RunRow, counts: Counts) -> str:
    """Why a source that lacks most of what was looked at is not believed; empty if it is.

    A mark proves nothing: it may be in another table, or on the one row that is left. So a doubt is settled by counting
    rows: segments in turn are doubted as a whole run would be, keys only until the source has enough of what it had.
    """
    binding = job.pair.binding
    limits = binding.projection.limits
    in_turn = Coverage(job.ledger).in_turn(run.id)
    if collapsed(in_turn.source_rows, in_turn.target_rows, None, limits):
        held = sum(_rows(job.pair, "target"))
        return _counted(job, held, None, limits)
    if collapsed(counts.source_rows, counts.target_rows, None, limits):
        before = job.ledger.narrowed(run.base or run.id).counts.source_rows or counts.target_rows
        return _counted(job, counts.target_rows, before, limits)
    return ""


def _counted(job: Job, held: int, before: int | None, limits: Limits) -> str:
    """Why the source's rows, counted no further than is needed, are too few; empty if they are not."""
    found = 0
    for rows in _rows(job.pair, "source"):
        found += rows
        if not collapsed(found, held, before, limits):
            return ""
    return collapsed(found, held, before, limits)


def _rows(pair: Pair, role: str) -> Iterator[int]:
    """How many rows a side has, batch by batch."""
    reader, side = pair.side(role)
    for segment in (Range(), NullKeys()):
        stream = reader.stream(pair.binding, side, segment, tokens=False)
        yield from (len(batch) for batch in delivered(stream, f"{pair.name}: the {role}"))
