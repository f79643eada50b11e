"""Which rows may have changed since an earlier run: those at or above the marks that it left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from trueup.access import hashing_of
from trueup.adapters import delivered
from trueup.by_digest import KEYS_MIN
from trueup.core.again import CHANGED_MAX, bind_marks, marked_side, not_of_kind, since
from trueup.core.binding import Binding, BoundSide, Column
from trueup.core.compare import Counts
from trueup.core.digest import Hashing
from trueup.core.plan import KEYS_AT_ONCE, Everything, Range, by_keys
from trueup.core.projection import Changes
from trueup.core.row import Key, Kind, Value, canonical
from trueup.errors import DataProblem, DesignProblem, StatementTimeout
from trueup.job import Job
from trueup.side_by_side import both
from trueup.store.records import OpenWork

Answer = TypeVar("Answer")

#: What looking up a row of both sides in one database costs at least, seconds. Where reading the marks took longer than
#: that for each key, no index serves them, and to read them once more costs more than to look the rows up.
LOOK_UP_S = 50e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """Keys of rows that may have changed since the marks."""

    keys: Collection[Key]
    #: Those whose rows were alike on both sides, at `read_at` or later.
    alike: Set[Key] = frozenset()
    read_at: datetime

    def as_work(self) -> list[OpenWork]:
        """What is alike, as it is written down: dealt with."""
        parts = by_keys([key for key in self.keys if key in self.alike], KEYS_AT_ONCE)
        many = [len(part.keys) for part in parts]
        return [
            OpenWork(span=part, looked_at=self.read_at, counted=Counts(source_rows=rows, target_rows=rows))
            for part, rows in zip(parts, many, strict=True)
        ]


class Marks:
    """The declared marks of a projection, bound to what the databases hold.

    Raises ConfigError for a mark that is not there or does not grow.
    """

    def __init__(self, job: Job, changes: Changes) -> None:
        self.changes = changes
        self.name = job.name
        self._pair = job.pair
        self._clock = job.clock
        self._bound: dict[str, tuple[Binding, BoundSide]] = {}
        for role, mark in changes.marks.items():
            reader, own = job.pair.side(role)
            other = mark.table is not None
            shape = reader.describe(marked_side(job.pair.binding, role, mark)) if other else own.shape
            self._bound[role] = bind_marks(job.pair.binding, role, mark, shape)

    def now(self) -> dict[str, Value]:
        """How far each side's changes go, before anything else is read."""
        return dict(zip(self._bound, self._of_each(self._greatest), strict=True))

    def _greatest(self, role: str) -> Value:
        binding, side = self._bound[role]
        kind = binding.key_kinds[0]
        reader, _ = self._pair.side(role)
        try:
            greatest = reader.greatest(side)
        except DataProblem as unread:  # what else it says is of columns that are compared
            words = str(unread).partition(". ")[0]
            holds = self._holds(role, side.key[0].name)
            raise DataProblem(
                f"{holds} what cannot be read as a mark ({words}); mend that row, or leave it out with a view that has "
                f"NULL there"
            ) from unread
        (found,) = canonical(kind, [greatest])
        self._demand(role, side.key[0].name, kind, [found])
        return found

    def _demand(self, role: str, column: str, kind: Kind, values: Sequence[Value]) -> None:
        """Raise DesignProblem if one of these values is none that a column of `kind` holds.

        SQLite keeps text in a column declared INTEGER: as a mark it sorts above all numbers, as a key it finds no row.
        """
        each = dict(zip(map(type, values), values, strict=True))  # the type decides
        wrong = next((value for value in each.values() if not_of_kind(kind, value)), None)
        if wrong is not None:
            raise DesignProblem(
                f"{self._holds(role, column)} {wrong!r}, which is no {kind}; mend that row, or leave it out "
                f"with a view that casts the column"
            )

    def _holds(self, role: str, column: str) -> str:
        where = self.changes.marks[role].table or f"the {role}"
        return f"projections.{self.name}.changes.{role}: column {column!r} of {where} holds"

    def changed(self, marks: Mapping[str, Value]) -> Changed | None:
        """Keys of rows that may have changed since these marks; None if they are too many to look at one by one."""
        hashing, read_at, begun = self._hashing(), self._clock.now(), self._clock.monotonic()
        try:
            found = self._read(marks, hashing)
        except (DataProblem, StatementTimeout):
            if hashing is None:
                raise
            found = self._read(marks, None)  # a row that cannot be hashed is looked at by itself later, if at all
        keys = dict.fromkeys(key for some in found for key in some)
        if len(keys) > CHANGED_MAX:
            return None
        took_s = self._clock.monotonic() - begun
        alike = frozenset[Key]()
        if hashing is not None:
            alike = _alike(*found)
        elif self._pair.binding.one_database and len(keys) >= KEYS_MIN and took_s <= len(keys) * LOOK_UP_S:
            alike = self._alike_inside(marks, *found) if self._own() else alike
        return Changed(keys=keys, alike=alike, read_at=read_at)

    def _alike_inside(
        self, marks: Mapping[str, Value], source: Mapping[Key, Value], target: Mapping[Key, Value]
    ) -> frozenset[Key]:
        """Keys whose rows are alike, as the database says that compares those at or above the marks; none if it cannot
        say of all of them. A row below the mark, which it does not see, may have the same key where keys can repeat.
        """
        binding = self._pair.binding
        if not (binding.source.unique and binding.target.unique):
            return frozenset()
        marked = replace(
            binding,
            source=replace(binding.source, since=self._since("source", marks)),
            target=replace(binding.target, since=self._since("target", marks)),
        )
        try:
            look = self._pair.source.differences(marked, Everything())
        except (DataProblem, StatementTimeout):  # they are looked at by themselves later, if at all
            return frozenset()
        if look is None or look.counts.differing > len(look.suspects) or look.counts.not_compared:
            return frozenset()
        if look.counts.source_rows < len(source) or look.counts.target_rows < len(target):
            return frozenset()  # of rows that have gone below the marks meanwhile it says nothing
        unlike = {suspect.key for suspect in look.suspects}
        return frozenset(key for key in source if key in target and key not in unlike and None not in key)

    def _since(self, role: str, marks: Mapping[str, Value]) -> tuple[Column, Value] | None:
        """Which rows of one side may have changed; None: all of them."""
        mark, (_, side) = marks.get(role), self._bound[role]
        first = None if mark is None else since(mark, self.changes.overlap)
        return None if first is None else (side.key[0], first)

    def _own(self) -> bool:
        """Are both sides' own rows marked, all of them as they are?"""
        sides = (self._pair.binding.source, self._pair.binding.target)
        own = [mark.table is None for mark in self.changes.marks.values()]
        return own == [True, True] and not any(side.queued for side in sides)

    def _hashing(self) -> Hashing | None:
        """How rows are hashed where they are read for their marks, if both sides' own rows are."""
        return None if self._pair.binding.one_database or not self._own() else hashing_of(self._pair)[0]

    def _read(self, marks: Mapping[str, Value], hashing: Hashing | None) -> list[dict[Key, Value]]:
        return self._of_each(lambda role: self._marked(role, marks, hashing))

    def _of_each(self, ask: Callable[[str], Answer]) -> list[Answer]:
        """What each marked side answers; both are asked at the same time, where one database serves two readers."""
        source = self._pair.source
        apart = source is not self._pair.target or min(source.capabilities.readers, source.connections()) > 1
        if len(self._bound) == 2 and apart:
            return [*both(lambda: ask("source"), lambda: ask("target"))]
        return [ask(role) for role in self._bound]

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
        first = self._since(role, marks)
        lower = None if first is None else first[1:]
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


def _alike(source: Mapping[Key, Value], target: Mapping[Key, Value]) -> frozenset[Key]:
    """Keys whose rows have one hash on both sides."""
    return frozenset(key for key, content in source.items() if content is not None and content == target.get(key))
