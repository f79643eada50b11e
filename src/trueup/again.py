"""A run after one that read everything: which keys may have changed since, and which segments take their turn.

What is taken as unchanged is said in the run's strategy, and so in its report. Wherever the marks cannot be trusted
everything is read, and the reason is said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from trueup.adapters import delivered
from trueup.by_digest import hashing_of
from trueup.by_partition import cut
from trueup.core.again import (
    CHANGED_MAX,
    Verified,
    bind_marks,
    due,
    ends_of,
    gone_back,
    in_the_future,
    longest_unread,
    marked_side,
    not_of_kind,
    other_keys,
    since,
)
from trueup.core.binding import Binding, BoundSide
from trueup.core.compare import Counts
from trueup.core.decide import collapsed
from trueup.core.digest import Hashing
from trueup.core.freshness import due_by_age, looked_at
from trueup.core.plan import KEYS_AT_ONCE, Keys, NullKeys, Range, Segment, by_keys, partition_of
from trueup.core.projection import Changes, Limits
from trueup.core.row import Key, Kind, Value, canonical
from trueup.core.shapes import other_values
from trueup.errors import DataProblem, DesignProblem, StatementTimeout
from trueup.job import Job
from trueup.side_by_side import Pair, both
from trueup.store.coverage import Coverage
from trueup.store.records import DecisionRow, RunRow

#: So long a turn aims to take, where nothing else is to be done, seconds.
TURN_S = 30.0


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
        self.name = job.name
        self._pair = job.pair
        self._bound: dict[str, tuple[Binding, BoundSide]] = {}
        for role, mark in changes.marks.items():
            reader, _ = job.pair.side(role)
            shape = reader.describe(marked_side(job.pair.binding, role, mark))
            self._bound[role] = bind_marks(job.pair.binding, role, mark, shape)

    def now(self) -> dict[str, Value]:
        """How far each side's changes go, before anything else is read."""
        found = {}
        for role, (binding, side) in self._bound.items():
            kind = binding.key_kinds[0]
            reader, _ = self._pair.side(role)
            found[role] = canonical(kind, [reader.greatest(side)])[0]
            self._demand(role, side.key[0].name, kind, [found[role]])
        return found

    def _demand(self, role: str, column: str, kind: Kind, values: Sequence[Value]) -> None:
        """Raise DesignProblem if one of these values is none that a column of `kind` holds.

        SQLite keeps text in a column declared INTEGER: as a mark it sorts above all numbers, as a key it finds no row.
        """
        each = {type(value): value for value in values}  # the type decides
        wrong = next((value for value in each.values() if not_of_kind(kind, value)), None)
        if wrong is not None:
            declared = self.changes.marks[role]
            raise DesignProblem(
                f"projections.{self.name}.changes.{role}: column {column!r} of "
                f"{declared.table or f'the {role}'} holds {wrong!r}, which is no {kind}; mend that row, or leave it "
                f"out with a view that casts the column"
            )

    def changed(self, marks: Mapping[str, Value]) -> dict[Key, None] | None:
        """Keys of rows that may have changed since these marks; None if they are too many to look at one by one.

        The pair learns which of them are alike on both sides (`Learned.alike`), for `narrow` to leave them out.
        """
        self._pair.learned.alike = frozenset()
        hashing = self._hashing()
        try:
            found = self._read(marks, hashing)
        except (DataProblem, StatementTimeout):
            if hashing is None:
                raise
            found = self._read(marks, None)  # a row that cannot be hashed is looked at by itself later, if at all
        keys = dict.fromkeys(key for some in found for key in some)
        if len(keys) > CHANGED_MAX:
            return None
        alike = frozenset() if hashing is None else _alike(*found)
        self._pair.learned.alike = alike
        return dict.fromkeys(sorted(keys, key=alike.__contains__))  # those that are to be read are read together

    def _hashing(self) -> Hashing | None:
        """How rows are hashed where they are read for their marks, if both sides' own rows are."""
        sides = (self._pair.binding.source, self._pair.binding.target)
        own = [mark.table is None for mark in self.changes.marks.values()]
        if self._pair.binding.one_database or own != [True, True] or any(side.queued for side in sides):
            return None
        return hashing_of(self._pair)[0]

    def _read(self, marks: Mapping[str, Value], hashing: Hashing | None) -> list[dict[Key, Value]]:
        reads = [partial(self._marked, role, marks, hashing) for role in self._bound]
        if len(reads) == 2 and self._pair.source is not self._pair.target:
            return [*both(*reads)]
        return [read() for read in reads]

    def _marked(self, role: str, marks: Mapping[str, Value], hashing: Hashing | None) -> dict[Key, Value]:
        """Keys of one side's rows at or above its mark, less the overlap; where they are too many, not all of them.

        With the hash of each row; None where it has none.
        """
        binding, side = self._bound[role]
        reader, own = self._pair.side(role)
        width = len(side.values)
        if hashing is not None:
            hashed = reader.row_hash(own, hashing)
            side = replace(side, values=(*side.values, hashed))
            binding = replace(binding, value_kinds=(*binding.value_kinds, hashed.kind))
        mark = marks.get(role)
        first = None if mark is None else since(mark, self.changes.overlap)
        lower = None if first is None else (first,)
        stream = reader.stream(binding, side, Range(lower=lower), tokens=False)
        keys: dict[Key, Value] = {}
        for batch in delivered(stream, f"{self.name}: the {role}'s changes"):
            columns = batch.clean(binding.value_kinds).values
            for column, kind, values in zip(side.values, binding.value_kinds, columns, strict=True):
                self._demand(role, column.name, kind, values)
            hashes = columns[width] if hashing is not None else [None] * len(batch)
            keys.update(zip(zip(*columns[:width], strict=True), hashes, strict=True))
            if len(keys) > CHANGED_MAX:
                return keys
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
    if altered := _altered(job, last):
        return altered
    untrusted = gone_back(last.marks, now) or in_the_future(last.marks, job.clock.now())
    if untrusted:
        return untrusted
    keys = marks.changed(last.marks)
    if keys is None:
        return f"more than {CHANGED_MAX:,} keys may have changed since {last.id}"
    known = _known(job) + coverage.unsettled(last.id) + job.acceptances.keys_since(job.name, last.started_at)
    base = last.base or last.id
    verified = coverage.gathered(base)
    ends = ends_of(one.span for one in verified)
    if others := other_keys(job.pair.binding.key_kinds, [*known, *ends]):
        return others
    turn = due(verified, job.clock.now(), marks.changes.verify_within)
    if job.in_turn:  # nothing else is to be done
        turn = list(dict.fromkeys([*turn, *longest_unread(verified, _at_a_time(last))]))
    named = dict.fromkeys([*keys, *known])
    return Again(
        base=base,
        segments=[*_looked_up(named, turn), *turn, *_new_partitions(job, verified)],
        strategy=_words(marks, last, len(keys), len(named) - len(keys), turn, verified),
    )


def _altered(job: Job, last: RunRow) -> str:
    """Why what a run found equal says nothing of what is compared now; empty if it does. No mark tells of an ALTER."""
    binding = job.pair.binding
    new = [name for name in binding.columns if name not in last.columns]
    if new:
        return f"{last.id} did not compare {', '.join(new)}"
    words = other_values(last.shapes, binding) if last.shapes else []
    return f"the tables are not as {last.id} read them: {'; '.join(words)}" if words else ""


def _alike(source: Mapping[Key, Value], target: Mapping[Key, Value]) -> frozenset[Key]:
    """Keys whose rows have one hash on both sides."""
    return frozenset(key for key, content in source.items() if content is not None and content == target.get(key))


def in_turn(job: Job) -> Again | None:
    """Parts whose turn it is, and rows known to be wrong; None: no run was complete, and compared what is now.

    Those that have been unverified for longest, as many as a turn has time for; where buckets have periods by age,
    those that are due, and in continuous mode no more of them than that.
    """
    coverage, now = Coverage(job.ledger), job.clock.now()
    base = coverage.complete(job.name, job.definition)
    if base is None or _altered(job, base):
        return None
    last, declared = coverage.listed(base.id), job.pair.binding.projection.partition
    verified = coverage.gathered(base.id)
    parts, many = looked_at(verified, declared, now), _at_a_time(last) if job.in_turn else None
    turn = due_by_age(verified, declared, now)[:many] if declared.verify else longest_unread(parts, many)
    known = [*_known(job), *coverage.unsettled(last.id), *job.acceptances.keys_since(job.name, last.started_at)]
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
    return (
        f"{keys:,} keys that may have changed ({marks.words(last.marks)}){and_known}, and {len(turn)} of "
        f"{len(verified)} segments in turn; the rest is taken as unchanged since {oldest:%Y-%m-%d %H:%M} UTC or later"
    )


def unannounced(job: Job, run: RunRow, decided: Sequence[DecisionRow]) -> str:
    """A warning about rows that drifted though no mark announced a change; empty if there are none."""
    if run.base is None or run.marks is None or not decided:
        return ""
    told = announced(job, run, decided)
    silent = sum(item.decision.drift.key not in told for item in decided)
    if not silent:
        return ""
    return (
        f"{silent:,} of the rows that drifted had no mark of a change: something writes (or deletes) without setting "
        f"the column that `changes` declares. They were found because their segments took their turn; `--full` reads "
        f"all"
    )


def announced(job: Job, run: RunRow, decided: Sequence[DecisionRow]) -> set[Key]:
    """Keys that a run looked at by themselves: marked as changed, known to be wrong, or still moving before."""
    spans = Coverage(job.ledger).spans(run.id)
    keys = {key for span in spans if isinstance(span, Keys) for key in span.keys}
    if NullKeys() in spans:
        rows = [item.decision.drift.key for item in decided]
        keys.update(key for key in [*rows, *_known(job)] if None in key)
    return keys


def _known(job: Job) -> list[Key]:
    return [row.drift.key for row in job.standing.drift(job.name)]


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
