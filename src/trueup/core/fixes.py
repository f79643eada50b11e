"""What a backfill makes of rows: the function is called, what it gives back is checked, and what changes is kept.

Whole column batches are looked at: a function that gives back whole rows, and changes nothing but what it may, costs no
look at single rows. Where it does not, each row is looked at by itself, and one on which it fails is left alone with
the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from hashlib import blake2b
from itertools import chain
from json import dumps
from operator import ne
from types import NoneType
from typing import Any, cast
from uuid import UUID

from trueup.core.backfill import Backfill
from trueup.core.binding import Binding
from trueup.core.compare import Counts, DriftKind, Suspect
from trueup.core.lot import Lot, packed
from trueup.core.row import Batch, Key, Kind, Value, canonical, encode_row
from trueup.core.values import Interval, Json, plain
from trueup.errors import DesignProblem, TrueupError

Row = dict[str, Any]
#: Why rows are passed over.
UNCHANGED, BEFORE = "unchanged", "done before"
#: Types of values that a row may have, and kinds whose values need no other form to be shown.
_TYPES = frozenset({NoneType, bool, int, float, Decimal, str, bytes, UUID, date, time, datetime, Json, Interval, tuple})
_AS_THEY_ARE = frozenset({Kind.INTEGER, Kind.BOOLEAN, Kind.TEXT, Kind.DECIMAL, Kind.FLOAT, Kind.UUID, Kind.DATE})


@dataclass(frozen=True, slots=True)
class Failed:
    """A row on which the function failed."""

    error: Exception | SystemExit


#: What a function makes of rows: each of them whole or in part, None where it stays as it is, or why it failed.
Results = Sequence[Row | Failed | None]
Fix = Callable[[list[Row]], Results]


class Changes:
    """The rows of a segment that are to be changed, as columns."""

    def __init__(self, binding: Binding, declared: Backfill, fix: Fix | None) -> None:
        """`fix`: None where the new values come with the rows."""
        self.binding = binding
        self.fix = fix
        self.counts = Counts()
        self.failures: list[Suspect] = []
        #: Hashes of the rows that the function leaves as they are.
        self.unchanged: list[bytes] = []
        self.names = (*binding.projection.key, *binding.columns)
        self.writes = [binding.columns[at] for at in binding.written]
        self._skipped = _skipped(binding, declared)
        self._keys: list[list[Value]] = [[] for _ in binding.key_kinds]
        self._observed: list[list[Value]] = [[] for _ in binding.columns]
        self._expected: list[list[Value]] = [[] for _ in self.writes]
        self._tokens: list[str] = []

    def add(self, batch: Batch, known: Collection[bytes]) -> None:
        """Compute the rows of a batch."""
        self.counts.source_rows += len(batch)
        self.counts.target_rows += len(batch)
        width = len(self.binding.columns)
        given, computed = replace(batch, values=batch.values[:width]), batch.values[width:]
        if known or self._skipped:
            places = self._to_do(given, known)
            given, computed = _chosen(given, places), tuple(_at(column, places) for column in computed)
        if not len(given):
            return
        if self.fix is None:
            self._changed(given, computed)
        else:
            self._fixed(given, self.fix)

    def _to_do(self, batch: Batch, known: Collection[bytes]) -> list[int]:
        """Rows that are neither done nor to be skipped."""
        places = []
        for at, row in enumerate(_rows(batch)):
            if (reason := self._skipped.get(batch.key(at))) is not None:
                self._pass_over(f"skipped: {reason}")
            elif known and hashed(row) in known:
                self._pass_over(BEFORE)
            else:
                places.append(at)
        return places

    def _pass_over(self, why: str, count: int = 1) -> None:
        self.counts.passed_over[why] = self.counts.passed_over.get(why, 0) + count

    # --- by the function ---------------------------------------------------------------------------------------------

    def _fixed(self, batch: Batch, fix: Fix) -> None:
        results = fix([dict(zip(self.names, row, strict=True)) for row in zip(*self._shown(batch), strict=True)])
        if len(results) != len(batch):
            raise DesignProblem(
                f"{self.binding.projection.name}: the function was given {len(batch):,} rows and gave back "
                f"{len(results):,}; it has to give back one for each, in their order"
            )
        columns = self._whole(batch, results)
        if columns is None:
            batch, columns = self._one_by_one(batch, results)
        kinds = [self.binding.value_kinds[at] for at in self.binding.written]
        new = [canonical(kind, column) for kind, column in zip(kinds, columns, strict=True)]
        self._changed(batch, new, remember=True)

    def _shown(self, batch: Batch) -> list[list[Value]]:
        """The columns as Python has them."""
        columns = zip(self.binding.kinds, (*batch.keys, *batch.values), strict=True)
        return [column if kind in _AS_THEY_ARE else list(map(plain, column)) for kind, column in columns]

    def _whole(self, batch: Batch, results: Results) -> list[list[Value]] | None:
        """The written columns, where each result is a whole row in which nothing else was changed, as is the rule."""
        width = len(self.names)
        if not all(type(row) is dict and len(row) == width for row in results):
            return None
        try:
            columns = {name: [row[name] for row in results] for name in self.names}  # type: ignore[index]
        except KeyError:
            return None
        for name, column in zip(self.names, self._shown(batch), strict=True):
            if name not in self.writes and columns[name] != column:
                return None
        written = [columns[name] for name in self.writes]
        return written if _storable(chain.from_iterable(written)) else None

    def _one_by_one(self, batch: Batch, results: Results) -> tuple[Batch, list[list[Value]]]:
        """The rows that the function gave something back for, and their written columns."""
        places: list[int] = []
        columns: list[list[Value]] = [[] for _ in self.writes]
        shown = zip(*self._shown(batch), strict=True)
        for at, (row, values, result) in enumerate(zip(_rows(batch), shown, results, strict=True)):
            if result is None:
                self._pass_over(UNCHANGED)
                self.unchanged.append(hashed(row))
                continue
            given = dict(zip(self.names, values, strict=True))
            problem = _told(result.error, hide=any(self.binding.hidden)) if isinstance(result, Failed) else ""
            if isinstance(result, dict):
                problem = self._misfit(given, result)
            if problem:
                self._fail(batch, at, problem)
                continue
            places.append(at)
            for name, column in zip(self.writes, columns, strict=True):
                column.append(cast(Row, result).get(name, given[name]))
        return _chosen(batch, places), columns

    def _misfit(self, given: Row, result: Row) -> str:
        """Why a result is not taken; empty: it is. What it does to other columns is a mistake for all rows."""
        for name, value in result.items():
            if name not in given:
                raise DesignProblem(
                    f"{self.binding.projection.name}: the function gives back {name!r}, which it was not given"
                )
            if name not in self.writes and value != given[name]:
                raise DesignProblem(
                    f"{self.binding.projection.name}: the function changes {name!r}, which is not in `writes`"
                )
        odd = next((value for value in result.values() if not _storable([value])), None)
        return "" if odd is None else f"TypeError: a value of type {type(odd).__name__} cannot be stored"

    def _fail(self, batch: Batch, at: int, problem: str) -> None:
        values = tuple(column[at] for column in batch.values)
        token = (batch.tokens or [""])[at] if batch.tokens else ""
        self._pass_over(f"failed: {problem.partition(':')[0]}")
        self.counts.different += 1
        self.failures.append(
            Suspect(
                kind=DriftKind.DIFFERENT,
                key=batch.key(at),
                expected=values,
                observed=values,
                token=token,
                instant=True,
                problem=problem,
            )
        )

    # --- what changes ------------------------------------------------------------------------------------------------

    def _changed(self, batch: Batch, new: Sequence[Sequence[Value]], *, remember: bool = False) -> None:
        """Keep the rows that are to become something else."""
        old = [batch.values[at] for at in self.binding.written]
        differ = [list(map(ne, was, will)) for was, will in zip(old, new, strict=True)]
        for name, flags in zip(self.writes, differ, strict=True):
            if count := sum(flags):
                by_column = self.counts.different_by_column
                by_column[name] = by_column.get(name, 0) + count
        places = [at for at, changed in enumerate(map(any, zip(*differ, strict=True))) if changed]
        if len(places) < len(batch):
            self._pass_over(UNCHANGED, len(batch) - len(places))
            if remember:
                changing = set(places)
                self.unchanged += [hashed(row) for at, row in enumerate(_rows(batch)) if at not in changing]
            batch, new = _chosen(batch, places), [_at(column, places) for column in new]
        self.counts.different += len(batch)
        kept = (*self._keys, *self._observed, *self._expected)
        for mine, column in zip(kept, (*batch.keys, *batch.values, *new), strict=True):
            mine.extend(column)
        self._tokens += batch.tokens or [""] * len(batch)

    # --- what was found ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._tokens)

    def one_by_one(self, places: Sequence[int]) -> list[Suspect]:
        """Rows that failed, and those at these places."""
        return [*self.failures, *map(self._suspect, places)]

    def lots(self, rows: int, without: Collection[int] = ()) -> list[Lot]:
        """The rows in lots of so many, those at some places left out."""
        count, binding = len(self), self.binding
        places: Sequence[int] = sorted(set(range(count)).difference(without)) if without else range(count)
        lots = []
        for begin in range(0, len(places), rows):
            some = places[begin : begin + rows]
            whole = len(some) == some[-1] - some[0] + 1
            part = slice(some[0], some[-1] + 1) if whole else some
            lots.append(
                packed(
                    keys=[_at(column, part) for column in self._keys],
                    observed=[_at(column, part) for column in self._observed],
                    expected=[_at(column, part) for column in self._expected],
                    tokens=_at(self._tokens, part),
                    written=binding.written,
                    key_kinds=binding.key_kinds,
                    value_kinds=binding.value_kinds,
                )
            )
        return lots

    def apart(self, keys: Collection[Key], first: int) -> set[int]:
        """Places of rows with these keys, and of so many others, evenly spread."""
        count = len(self)
        wanted = min(first, count)
        spread = {turn * count // wanted for turn in range(wanted)}
        return spread | ({at for at in range(count) if self._key(at) in keys} if keys else set())

    def _key(self, at: int) -> Key:
        return tuple(column[at] for column in self._keys)

    def _suspect(self, at: int) -> Suspect:
        observed = [column[at] for column in self._observed]
        expected = list(observed)
        for place, column in zip(self.binding.written, self._expected, strict=True):
            expected[place] = column[at]
        return Suspect(
            kind=DriftKind.DIFFERENT,
            key=self._key(at),
            expected=tuple(expected),
            observed=tuple(observed),
            token=self._tokens[at],
            instant=True,
        )


def hashed(row: Sequence[Value]) -> bytes:
    """What a row is known by: its key and all that the backfill reads of it."""
    return blake2b(dumps(encode_row(row)).encode(), digest_size=16).digest()


def row_by_row(fix: Callable[[Row], Row | None]) -> Fix:
    """A function of one row, for many."""

    def of_rows(rows: list[Row]) -> Results:
        found: list[Row | Failed | None] = []
        rest = iter(rows)
        while True:
            try:
                for row in rest:
                    found.append(fix(row))  # noqa: PERF401 - what was found stays when the next fails
                return found
            except TrueupError:
                raise
            except (Exception, SystemExit) as error:
                found.append(Failed(error))

    return of_rows


def all_at_once(fix: Callable[[list[Row]], Sequence[Row | None]]) -> Fix:
    """A function of many rows; where it fails, the rows that are to blame are found by halving."""

    def of_rows(rows: list[Row]) -> Results:
        try:
            return list(fix([dict(row) for row in rows]))
        except TrueupError:
            raise
        except (Exception, SystemExit) as error:
            if len(rows) == 1:
                return [Failed(error)]
        middle = len(rows) // 2
        return [*of_rows(rows[:middle]), *of_rows(rows[middle:])]

    return of_rows


def _storable(values: Iterable[Any]) -> bool:
    return _TYPES.issuperset(map(type, values))


def _told(error: Exception | SystemExit, *, hide: bool) -> str:
    name = type(error).__name__
    if hide:
        return f"{name}: what it says may hold values of sensitive columns, and is not kept"
    return f"{name}: {' '.join(str(error).split())}"[:500]


def _skipped(binding: Binding, declared: Backfill) -> Mapping[Key, str]:
    def key(named: Mapping[str, Any]) -> Key:
        parts = zip(binding.key_kinds, binding.projection.key, strict=True)
        return tuple(canonical(kind, [named[name]])[0] for kind, name in parts)

    return {key(skip.key): skip.reason for skip in declared.skip}


def _rows(batch: Batch) -> list[tuple[Value, ...]]:
    return list(zip(*batch.keys, *batch.values, strict=True))


def _at(column: Sequence[Any], places: slice | Sequence[int]) -> list[Any]:
    return list(column[places]) if isinstance(places, slice) else [column[at] for at in places]


def _chosen(batch: Batch, places: Sequence[int]) -> Batch:
    return Batch(
        keys=tuple(_at(column, places) for column in batch.keys),
        values=tuple(_at(column, places) for column in batch.values),
        tokens=None if batch.tokens is None else _at(batch.tokens, places),
    )
