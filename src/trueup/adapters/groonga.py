"""Groonga: records of a table with a key.

A write can demand that the record still holds the values that were read (`ifexists`). That is no version: values that
came back are taken for values that never changed. And checking and writing is not proven to be one step: acknowledged
writes were seen to be lost, if rarely (tests/campaign/groonga.py). So a repair converges, and promises no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from trueup.adapters import Capabilities, FoundTable, RowOutcome, Unit
from trueup.adapters._alone import Alone, written_back
from trueup.adapters._documents import DocumentStore, held, kinds_of
from trueup.adapters._groonga_http import ANSWER_S, Groonga, rows_of
from trueup.adapters._outcomes import HeldRow
from trueup.adapters._sorting import Row
from trueup.core.binding import Binding, BoundSide, Column, Shape, near
from trueup.core.decide import Action
from trueup.core.guarantee import Writing
from trueup.core.kinds import Kind, Value, canonical
from trueup.core.plan import Everything, Range
from trueup.core.projection import Database, Side
from trueup.core.row import Key, Values, encode, fit
from trueup.errors import BrokenRead, ConfigError, DataProblem, DesignProblem

#: Records of one page.
PAGE = 10_000
_KEY = "_key"
_KINDS: Mapping[str, Kind] = {
    **{f"{sign}Int{bits}": Kind.INTEGER for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **dict.fromkeys(("ShortText", "Text", "LongText"), Kind.TEXT),
    "Bool": Kind.BOOLEAN,
    "Float": Kind.FLOAT,
    "Time": Kind.INSTANT,
}
#: Why a text cannot be in a condition.
_NUL = "a condition of Groonga cannot hold the character NUL"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: From here on a double has no microseconds left.
_TIME_MAX = 2**33


def connect(name: str, database: Database) -> GroongaAdapter:
    return GroongaAdapter(name, database)


class GroongaAdapter(DocumentStore):
    """Reads and repairs tables of one Groonga database."""

    capabilities = Capabilities(
        dialect="",
        writing=Writing(row_locks=False, row_version=False, single_writer=False, compares_values=True),
        places=("table",),
    )
    access = (
        "read page by page in the order of the keys; there is no fence to hold: a stop is looked at before each unit, "
        "and one that is being written is not called back"
    )

    def __init__(self, name: str, database: Database) -> None:
        super().__init__(name, database)
        self.server = Groonga(name, database)

    def close(self) -> None:
        self.server.close()

    # --- shape -----------------------------------------------------------------------------------------------------

    def tables(self) -> list[FoundTable]:
        return [
            FoundTable(name=name, columns=tuple(self._columns(name, table, known)), key=(_KEY,))
            for known in [self._tables()]
            for name, table in known.items()
            if "TABLE_NO_KEY" not in table["flags"]
        ]

    def describe(self, side: Side) -> Shape:
        known = self._tables()
        table = known.get(side.table or "")
        if table is None:
            raise ConfigError(
                f"databases.{self.name}: there is no table {side.table!r}; {near(side.table or '', known)}"
            )
        if "TABLE_NO_KEY" in table["flags"]:
            raise ConfigError(f"databases.{self.name}: table {side.table!r} has no key, so nothing names its records")
        obstacle = ""
        if table["normalizer"]:
            obstacle = f"its keys are changed by {table['normalizer']}, so two keys of the source can be one record"
        columns = self._columns(side.table or "", table, known)
        return Shape(columns=columns, unique=(frozenset({_KEY}),), table=True, obstacle=obstacle)

    def _tables(self) -> dict[str, dict[str, Any]]:
        head, *rows = self.server.ask("table_list")
        names = [column[0] for column in head]
        return {row["name"]: row for row in (dict(zip(names, values, strict=True)) for values in rows)}

    def _columns(self, name: str, table: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Column]:
        head, *rows = self.server.ask("column_list", {"table": name})
        names = [column[0] for column in head]
        columns = {_KEY: _column(_KEY, str(table["domain"]), known)}
        for row in (dict(zip(names, values, strict=True)) for values in rows):
            if row["name"] == _KEY or "COLUMN_INDEX" in row["flags"]:
                continue
            scalar = "COLUMN_SCALAR" in row["flags"]
            column = _column(row["name"], str(row["range"]), known)
            columns[row["name"]] = column if scalar else replace(column, kind=Kind.OPAQUE, type_name="vector")
        return columns

    # --- reading ---------------------------------------------------------------------------------------------------

    def scan(self, binding: Binding, side: BoundSide, part: Everything | Range, *, tokens: bool) -> Iterator[list[Row]]:  # noqa: ARG002
        kinds = kinds_of(binding, side)
        last: Value = None
        while True:
            condition = "true" if last is None else f"{_KEY} > {_literal(last)}"
            hits, found = self._select(side, condition, sort_keys=_KEY, limit=str(PAGE))
            keys = [row[0] for row in found]
            if len(found) != min(hits, PAGE) or any(
                a >= b for a, b in zip([last, *keys], keys, strict=False) if a is not None
            ):
                raise BrokenRead(
                    f"{self.server.where}: {len(found):,} of {hits:,} records of {side.side.table!r} came, or not in "
                    f"the order of their keys; what was read counts for nothing"
                )
            self._spelt_alike(binding, side, keys)
            yield [_row(row, kinds, tokens=tokens) for row in found]
            if hits <= PAGE:
                return
            last = keys[-1]

    def _spelt_alike(self, binding: Binding, side: BoundSide, keys: Sequence[Value]) -> None:
        """Raise DesignProblem for a key that is read as a UUID or a moment, and spelt otherwise than it is asked for:
        its record could not be found again, and a second would be made beside it.
        """
        column, kind = side.key[0], binding.key_kinds[0]
        if column.kind is not Kind.TEXT or kind is Kind.TEXT:
            return
        pairs = zip(keys, canonical(kind, keys), strict=True)
        odd = next((key for key, meant in pairs if _stored(column, meant) != key), None)
        if odd is not None:
            raise DesignProblem(
                f"{self.server.where}: the key {odd!r} in {side.side.table!r} is a {kind} in a spelling of its own, so "
                f"the record could not be found by it. Nothing was compared; give it the key "
                f"{_stored(column, canonical(kind, [odd])[0])!r}, or have the source give its keys as text"
            )

    def fetch(self, binding: Binding, side: BoundSide, keys: Sequence[Key], *, tokens: bool) -> list[Row]:
        if not keys:
            return []
        kinds = kinds_of(binding, side)
        names = []
        for key in keys:
            with suppress(ValueError):  # one that no record can have
                names.append(_literal(_named(side.key[0], key[0])))
        if not names:
            return []
        hits, found = self._select(side, f"in_values({_KEY}, {', '.join(names)})", limit="-1")
        if hits != len(found) or hits > len(keys):
            raise BrokenRead(f"{self.server.where}: {len(found)} records of {hits} came")
        return [_row(row, kinds, tokens=tokens) for row in found]

    def _select(self, side: BoundSide, condition: str, **how: str) -> tuple[int, list[list[Any]]]:
        names = [column.name for column in side.columns]
        asked = {"table": side.side.table or "", "output_columns": ", ".join(names), "filter": condition, "cache": "no"}
        told = self.server.ask("select", {**asked, **how})
        return rows_of(told, names, self.server.where)

    def has_nulls(self, side: BoundSide) -> bool:  # noqa: ARG002
        return False

    # --- repairing -------------------------------------------------------------------------------------------------

    @contextmanager
    def unit(self, binding: Binding, unit: Unit) -> Iterator[GroongaUnit]:  # noqa: ARG002
        yield GroongaUnit(self, binding)

    def statement(self, binding: Binding, action: Action) -> str:
        side = binding.target
        table = side.side.table
        fields = ", ".join(f'"{column.name}": :{column.name}' for column in side.columns)
        same = " && ".join(f"{column.name} == :{column.name}_as_read" for column in side.values)
        return {
            Action.INSERT: f"load --table {table} --ifexists 'false' [{{{fields}}}]",
            Action.UPDATE: f"load --table {table} --ifexists '{same}' [{{{fields}}}]",
            Action.DELETE: f"delete --table {table} --filter '{_KEY} == :{side.key[0].name} && {same}'",
        }.get(action, "")


class GroongaUnit:
    """One repair unit: record by record, each only if it still holds what was read."""

    def __init__(self, adapter: GroongaAdapter, binding: Binding) -> None:
        self._adapter = adapter
        self._binding = binding
        self._side = binding.target
        self._alone = Alone(binding)

    def read(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        return held(self._binding, self._adapter.fetch(self._binding, self._side, keys, tokens=True))

    def write(self, rows: Sequence[RowOutcome]) -> list[RowOutcome]:
        sent = [(row, self._record(row)) for row in rows]  # before the first is written: a value may not fit
        records = {row.key: record for row, record in sent}
        done = self._alone.write(rows, lambda row: self._written(row, records[row.key]))
        return written_back(rows, done, self.read([row.key for row in rows]))

    def _written(self, row: RowOutcome, record: Mapping[str, Any]) -> bool:
        table = self._side.side.table or ""
        if row.after is not None:
            return self._adapter.server.load(table, record, self._same(row.before))
        condition = f"{_KEY} == {_literal(record[_KEY])} && {self._same(row.before)}"
        if "\0" in condition:
            raise DataProblem(f"key {row.key}: {_NUL}, so nothing can demand that the record is still as it was read")
        self._adapter.server.ask("delete", {"table": table, "filter": condition}, timeout_s=ANSWER_S)
        return True  # it does not say; the record is looked for afterwards

    def _record(self, row: RowOutcome) -> dict[str, Any]:
        try:
            record = {_KEY: _named(self._side.key[0], row.key[0])}
            for column, value in zip(self._side.values, row.after or (), strict=False):
                record[column.name] = _stored(column, value)
        except ValueError as lossy:
            raise DataProblem(f"key {row.key}: {lossy}") from None
        return record

    def _same(self, before: Values | None) -> str:
        """Holds for a record that is as it was read."""
        if before is None:
            return "false"
        pairs = zip(self._side.values, before, strict=True)
        return " && ".join(f"{column.name} == {_literal(_stored(column, value))}" for column, value in pairs) or "true"


def _column(name: str, type_: str, known: Mapping[str, Any]) -> Column:
    """A column; one that refers to a table holds that table's keys."""
    of = str(known[type_]["domain"]) if type_ in known else type_
    return Column(name=name, kind=_KINDS.get(of, Kind.OPAQUE), type_name=of, nullable=False)


def _row(row: Sequence[Any], kinds: tuple[Sequence[Kind], Sequence[Kind]], *, tokens: bool) -> Row:
    """What came, as values of the columns' kinds. There is no version: what a record holds stands for it."""
    values = [_understood(kind, value) for kind, value in zip((*kinds[0], *kinds[1]), row, strict=True)]
    return (*values, repr([encode(value) for value in values])) if tokens else tuple(values)


def _understood(kind: Kind, value: Any) -> Value:
    if kind is Kind.INSTANT and isinstance(value, float) and abs(value) < _TIME_MAX:
        return _EPOCH + timedelta(microseconds=round(value * 1_000_000))
    return value


def _named(column: Column, value: Value) -> Any:
    """A key as it is sent; ValueError for one that no record can have, or that cannot be asked for."""
    stored = _stored(column, value)
    if isinstance(stored, str) and "\0" in stored:
        raise ValueError(f"{column.name!r}: {_NUL}")
    return stored


def _stored(column: Column, value: Value) -> Any:
    """A value as it is sent; ValueError for one that Groonga would change: it cuts and wraps what does not fit."""
    if value is None:
        raise ValueError(
            f'{column.name!r}: Groonga has no NULL. Leave the row out, use coalesce() in the query, or nulls = "zero"'
        )
    value = fit(column.kind, value)
    match value:
        case datetime():
            seconds = Decimal((value - _EPOCH) // timedelta(microseconds=1)).scaleb(-6)
            if abs(seconds) >= _TIME_MAX:
                raise ValueError(f"{column.name!r}: {value.isoformat()} is too far away to be stored exactly")
            return float(seconds)
        case int() if column.type_name.lstrip("U").startswith("Int"):
            bits = int(column.type_name.rpartition("t")[2])
            signed = not column.type_name.startswith("U")
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
            if not low <= value < high:
                raise ValueError(f"{column.name!r}: {value} does not fit {column.type_name}")
        case float() if not math.isfinite(value):
            raise ValueError(f"{column.name!r}: {value} is no number that can be sent")
        case str() if column.kind is not Kind.TEXT:
            raise ValueError(f"{column.name!r}: {value!r} is no {column.type_name}")
        case date():
            return value.isoformat()
    return value


def _literal(value: Any) -> str:
    """A value in a condition."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case float():
            return repr(value)
    return str(value)
