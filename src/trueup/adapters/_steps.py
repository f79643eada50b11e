"""The steps of a repair unit on an open connection: lock, read, insert, update, delete, each row exactly once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from trueup.adapters import LotUnit, RowOutcome, Unit
from trueup.adapters._dialect import Expression
from trueup.adapters._markers import applied, fences
from trueup.adapters._outcomes import HeldRow, by_key, outcome_to_json
from trueup.adapters._relations import Slot
from trueup.core.binding import Binding, Column
from trueup.core.plan import Keys
from trueup.core.row import Batch, Key, Value, Values, batch_of, fit
from trueup.errors import BrokenRead, DataProblem, Refused, TakenOver

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter


class Fenced:
    """What any repair transaction does about its fence and its marker; it has just begun on an open connection."""

    def __init__(self, connection: sa.Connection, unit: Unit | LotUnit) -> None:
        self.connection = connection
        self.unit = unit

    def hold_fence(self) -> None:
        held = self.connection.execute(
            sa.select(fences.c.token, fences.c.stop).where(fences.c.fence == self.unit.fence).with_for_update(read=True)
        ).one_or_none()
        if held is not None and held.stop:
            raise Refused(f"{self.unit.fence}: stopped by `trueup stop`; nothing more is written until `trueup resume`")
        if held is None or held.token != self.unit.token:
            raise TakenOver(f"{self.unit.fence}: another run has taken over; this one writes no more")

    def leave_marker(self) -> None:
        self.connection.execute(applied.insert().values(unit=self.unit.id, closed=False, images=""))

    def sign(self, images: Value) -> None:
        """Write down in the marker what the unit did, as JSON."""
        mine = applied.c.unit == self.unit.id
        self.connection.execute(applied.update().where(mine).values(images=json.dumps(images)))


class UnitTransaction(Fenced):
    """The steps of one unit on an open connection whose transaction has begun."""

    unit: Unit

    def __init__(self, adapter: SqlAdapter, connection: sa.Connection, binding: Binding, unit: Unit) -> None:
        super().__init__(connection, unit)
        self.adapter = adapter
        self.binding = binding
        self.table = adapter.relations.table(binding.target)

    # --- the steps ---------------------------------------------------------------------------------------------

    def lock(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        """The target's rows of `keys`, locked against other writers. One that is missing here is absent or busy."""
        statement = self.adapter.relations.rows(self.binding.target, Keys(keys=tuple(keys)), tokens=True, order=True)
        return self._held(self.adapter.locking(statement, wait=self.unit.wait))

    def read_target(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        statement = self.adapter.relations.rows(self.binding.target, Keys(keys=tuple(keys)), tokens=True, order=False)
        return self._held(statement)

    def read_source_here(self, keys: Sequence[Key]) -> dict[Key, Values]:
        """The source's rows of `keys` by a new statement of this same transaction."""
        statement = self.adapter.relations.rows(self.binding.source, Keys(keys=tuple(keys)), tokens=False, order=False)
        return by_key([self._read(statement, tokens=False)])

    def insert_placeholders(self, expected: dict[Key, Values]) -> set[Key]:
        """Insert rows that are absent; the keys that this made. Somebody else's row stays as it is."""
        columns = self.binding.target.columns
        rows = []
        for key, values in expected.items():
            stored = zip(columns, self._fitted(columns, (*key, *values)), strict=True)
            rows.append({c.name: sa.literal(value, self.adapter.type_of(c)) for c, value in stored})
        made = self.adapter.insert_absent(self.connection, self.table, rows) if rows else []
        return {key for key, here in zip(expected, made, strict=True) if here}

    def update(self, rows: dict[Key, Values]) -> None:
        written, key = self.binding.written, self.binding.target.key
        new = [self.binding.target.values[at] for at in written]
        slots = {
            column.name: self.adapter.relations.bound(column, Slot(f"trueup_v{at}")) for at, column in enumerate(new)
        }
        given = [
            _given("k", self._spelt(key, row)) | _given("v", self._fitted(new, [values[at] for at in written]))
            for row, values in rows.items()
        ]
        self._each(self.table.update().where(*self._is_the_key(), *self._is_no_newer(slots)).values(slots), given)

    def delete(self, keys: Iterable[Key]) -> None:
        given = [_given("k", self._spelt(self.binding.target.key, key)) for key in keys]
        self._each(self.table.delete().where(*self._is_the_key()), given)

    def least(self, column: Column) -> int:
        """The least number in a column of the target; 0 where there is none."""
        ((found,),) = self.adapter.answered(self.connection, sa.select(sa.func.min(self.table.c[column.name])))
        return int(found or 0)

    def sign_marker(self, outcomes: Sequence[RowOutcome]) -> None:
        """Write the images into the marker: after a crash they are the only witness of what was overwritten."""
        self.sign([outcome_to_json(outcome) for outcome in outcomes])

    # --- helpers -----------------------------------------------------------------------------------------------

    def _read(self, statement: sa.Select[Any], *, tokens: bool) -> Batch:
        rows = self.adapter.answered(self.connection, statement)
        batch = batch_of(rows, self.binding.kinds, len(self.binding.key_kinds), tokens=tokens)
        return batch.clean(self.binding.value_kinds)

    def _held(self, statement: sa.Select[Any]) -> dict[Key, HeldRow]:
        batch = self._read(statement, tokens=True)
        tokens = batch.tokens or []
        return {
            batch.key(at): HeldRow(values=tuple(column[at] for column in batch.values), token=token)
            for at, token in enumerate(tokens)
        }

    def _is_the_key(self) -> list[sa.ColumnElement[bool]]:
        """Exactly the key that the slots `trueup_k0`, … are given."""
        same, parts = self.adapter.relations.same, self.table.c
        return [same(c, parts[c.name], Slot(f"trueup_k{at}")) for at, c in enumerate(self.binding.target.key)]

    def _is_no_newer(self, slots: Mapping[str, Expression]) -> list[Expression]:
        """Where the source issues versions: what is written over is no newer, whatever became of the lock."""
        if self.binding.version is None:
            return []
        name = self.binding.target.values[self.binding.version].name
        held = self.table.c[name]
        return [sa.or_(held.is_(None), held <= slots[name])]

    def _spelt(self, columns: Sequence[Column], values: Sequence[Value]) -> list[Value]:
        return [self.adapter.spell(column, value) for column, value in zip(columns, values, strict=True)]

    def _fitted(self, columns: Sequence[Column], values: Sequence[Value]) -> list[Value]:
        """Values as these columns store them."""
        fitted = []
        for column, value in zip(columns, values, strict=True):
            try:
                fitted.append(fit(column.kind, value))
            except ValueError as lossy:
                raise DataProblem(f"{self.unit.fence}: column {column.name!r}: {lossy}") from None
        return self._spelt(columns, fitted)

    def _each(self, statement: sa.Update | sa.Delete, given: Sequence[dict[str, Value]]) -> None:
        """Execute `statement` for each row of slot values; each has to change exactly one row."""
        if given:
            self._one_row_each(self.connection.execute(statement, list(given)).rowcount, len(given))

    def _one_row_each(self, changed: int, keys: int) -> None:
        if changed != keys:
            raise BrokenRead(
                f"{self.unit.fence}: writing {keys} keys changed {changed} rows; the unit was rolled back. Does a "
                f"trigger or a rule of the target swallow writes or move keys, or is the key's unique index not what "
                f"it seems (collation, partition)?"
            )


def _given(prefix: str, values: Sequence[Value]) -> dict[str, Value]:
    """Values for the slots `trueup_k0`, `trueup_k1`, … (prefix "k")"""
    return {f"trueup_{prefix}{at}": value for at, value in enumerate(values)}
