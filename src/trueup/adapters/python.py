"""Python functions as sides: another system behind an API, a legacy one behind a layer that speaks its language.

A function is asked for a part and yields batches; what it yields counts only if it ends with an `End`, and as many rows
came as that says. Order does not matter: rows are sorted here. A write is the function's own: it is told what the row
held, so a repair converges, and promises no more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from trueup.adapters import Capabilities, RowOutcome, Unit
from trueup.adapters._alone import Alone, written_back
from trueup.adapters._documents import DocumentStore, held, kinds_of
from trueup.adapters._outcomes import HeldRow
from trueup.adapters._sorting import Row, in_key_order
from trueup.core.binding import Binding, BoundSide, Column, Shape, near
from trueup.core.decide import Action
from trueup.core.guarantee import Writing
from trueup.core.kinds import Kind, canonical
from trueup.core.plan import Everything, Range
from trueup.core.projection import Database, Side
from trueup.core.row import Key, Values, encode
from trueup.core.text import TYPES
from trueup.core.values import Json
from trueup.errors import BrokenRead, ConfigError, DataProblem, DesignProblem, StatementTimeout
from trueup.python.found import find, translated
from trueup.python.sides import Change, Declared, End, Part, declared


def connect(name: str, database: Database) -> PythonAdapter:
    return PythonAdapter(name, database)


class PythonAdapter(DocumentStore):
    """Reads, and where a function says how, repairs what Python functions deliver."""

    capabilities = Capabilities(
        dialect="",
        writing=Writing(row_locks=False, row_version=False, single_writer=False, compares_values=True),
        places=("python",),
    )
    access = "a Python function, read in one pass and sorted here"

    def __init__(self, name: str, database: Database) -> None:
        super().__init__(name, database)
        #: Folder that functions are looked for in, after what is installed.
        self.folder = database.url.get_secret_value().partition("://")[2]

    def close(self) -> None:
        """There is nothing open: a function that keeps a connection keeps it for itself."""

    # --- shape -----------------------------------------------------------------------------------------------------

    def describe(self, side: Side) -> Shape:
        told = declared(self._function(side))
        types = {**told.columns, **side.types}
        for name, type_ in types.items():
            if type_ not in TYPES:
                raise ConfigError(f"types: {type_!r} of {name!r} is no type of a value; known: {', '.join(TYPES)}")
        for name in told.key:
            if told.columns and name not in types:
                raise ConfigError(f"its key names {name!r}, which is none of its columns; {near(name, types)}")
        columns = {
            name: Column(name=name, kind=TYPES[type_], type_name=type_, nullable=name not in told.key)
            for name, type_ in types.items()
        }
        return Shape(
            columns=columns,
            unlisted=None if told.columns else Column(name="", kind=Kind.ANY, type_name="Python value"),
            unique=(frozenset(told.key),) if told.key else (),
            table=told.writer is not None,
        )

    def _function(self, side: Side) -> Callable[[Part], Iterable[Any]]:
        return find(side.python or "", self.folder)

    # --- reading ---------------------------------------------------------------------------------------------------

    def in_order(self, side: BoundSide, pages: Iterable[Sequence[Row]], width: int) -> Iterator[Row]:
        """Nothing is left out: a key that comes twice is either reported, or shows that the reading was no good."""
        rows = in_key_order(pages, width, distinct=False)
        return self._once(side, rows, width) if side.unique else rows

    def _once(self, side: BoundSide, rows: Iterable[Row], width: int) -> Iterator[Row]:
        last: Row | None = None
        for row in rows:
            if last is not None and row[:width] == last[:width]:
                raise BrokenRead(
                    f"{side.side.python}: the row {_named(side.key, row)} came twice, so the list moved while it was "
                    f"paged through, and others may be missing. Page by key (after the last one), and run again"
                )
            last = row
            yield row

    def scan(self, binding: Binding, side: BoundSide, part: Everything | Range, *, tokens: bool) -> Iterator[list[Row]]:
        lower, upper = (part.lower, part.upper) if isinstance(part, Range) else (None, None)
        asked = self._part(
            side,
            lower=None if lower is None else _named(side.key, lower),
            upper=None if upper is None else _named(side.key, upper),
        )
        return self._read(binding, side, asked, tokens=tokens)

    def fetch(self, binding: Binding, side: BoundSide, keys: Sequence[Key], *, tokens: bool) -> list[Row]:
        if not keys:
            return []
        asked, wanted = self._part(side, keys=[_named(side.key, key) for key in keys]), set(keys)
        width = len(side.key)
        pages = self._read(binding, side, asked, tokens=tokens)
        return list(self.in_order(side, ([row for row in page if row[:width] in wanted] for page in pages), width))

    def _part(self, side: BoundSide, **asked: Any) -> Part:
        columns = tuple(dict.fromkeys(column.name for column in side.columns))
        return Part(columns=columns, until=time.monotonic() + side.side.timeout, **asked)

    def _read(self, binding: Binding, side: BoundSide, part: Part, *, tokens: bool) -> Iterator[list[Row]]:
        """What the function yields for a part, as rows; raises where it does not prove its end."""
        name, told = side.side.python or "", declared(self._function(side.side))
        columns = [column.name for column in side.columns]
        order = {column: at for at, column in enumerate(told.columns)}
        kinds_of(binding, side)  # somebody has to say what the values are
        width, seen, end = len(side.key), 0, None
        for item in self._yielded(side, part, told):
            if end is not None:
                raise BrokenRead(f"{name}: something was yielded after its End, so that was none; run again")
            if isinstance(item, End):
                end = item
                continue
            rows = [_values_of(name, row, columns, order) for row in _batch(name, item)]
            seen += len(rows)
            spelt = [canonical(kind, [row[at] for row in rows]) for at, kind in enumerate(binding.key_kinds)]
            keys = list(zip(*spelt, strict=True))
            if any(None in key for key in keys):
                raise BrokenRead(f"{name}: a row has no key ({', '.join(columns[:width])} is None)")
            yield [_row(name, (*key, *row[width:]), tokens=tokens) for key, row in zip(keys, rows, strict=True)]
        if end is None:
            raise BrokenRead(
                f"{name}: it stopped after {seen:,} rows without an End, so nothing says that these are all. Yield "
                f"End() where the other system says that there is no more"
            )
        if end.rows is None and not seen and part.keys is None:
            raise BrokenRead(f"{name}: that there are no rows at all has to be said: End(rows=0)")
        if end.rows is not None and end.rows != seen:
            raise BrokenRead(
                f"{name}: {seen:,} rows came, and its End says {end.rows:,}; what was read counts for nothing"
            )

    def _yielded(self, side: BoundSide, part: Part, told: Declared) -> Iterator[Any]:
        """What the function yields, in time; its errors by what has to be done about them."""
        name = side.side.python or ""
        try:
            for item in self._function(side.side)(part):
                if part.seconds_left <= 0:
                    raise StatementTimeout(
                        f"{name}: it took longer than {side.side.timeout:g} s; raise `timeout`, or make it faster"
                    )
                yield item
        except (StatementTimeout, GeneratorExit):
            raise
        except (Exception, SystemExit) as error:
            raise translated(name, error, told.transient) from error

    # --- repairing -------------------------------------------------------------------------------------------------

    @contextmanager
    def unit(self, binding: Binding, unit: Unit) -> Iterator[PythonUnit]:
        yield PythonUnit(self, binding, unit)

    def statement(self, binding: Binding, action: Action) -> str:
        told = declared(self._function(binding.target.side))
        if told.writer is None or action not in (Action.INSERT, Action.UPDATE, Action.DELETE):
            return ""
        writer = f"{told.writer.__module__}:{told.writer.__qualname__}"
        before = "None" if action is Action.INSERT else ":before"
        return f"{writer}(Change(key=:key, before={before}, after={'None' if action is Action.DELETE else ':after'}))"


class PythonUnit:
    """One repair unit: row by row, each written by the side's own function."""

    def __init__(self, adapter: PythonAdapter, binding: Binding, unit: Unit) -> None:
        self._adapter = adapter
        self._binding = binding
        self._side = binding.target
        self._unit = unit
        self._alone = Alone(binding)

    def read(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        return held(self._binding, self._adapter.fetch(self._binding, self._side, keys, tokens=True))

    def write(self, rows: Sequence[RowOutcome]) -> list[RowOutcome]:
        done = self._alone.write(rows, self._written)
        return written_back(rows, done, self.read([row.key for row in rows]))

    def _written(self, row: RowOutcome) -> bool:
        told = declared(self._adapter._function(self._side.side))
        assert told.writer is not None  # the guarantee class of a side without one is REPORT-ONLY
        change = Change(
            key=_named(self._side.key, row.key),
            before=self._values(row.before),
            after=self._values(row.after),
            unit=self._unit.id,
        )
        try:
            done = told.writer(change)
        except (Exception, SystemExit) as error:
            raise translated(self._side.side.python or "", error, told.transient) from error
        if done is None:  # what it wrote would count for somebody else's
            raise DesignProblem(
                f"{self._side.side.python}: its writer returned nothing for {change.key}; it has to return True where "
                f"it wrote the row, and False where the row no longer was `before`. No other row was written after it"
            )
        return bool(done)

    def _values(self, values: Values | None) -> dict[str, Any] | None:
        return None if values is None else _named(self._side.values, values)


def _named(columns: Sequence[Column], row: Sequence[Any]) -> dict[str, Any]:
    """Values by the side's own names; a row may have more."""
    return {column.name: value for column, value in zip(columns, row, strict=False)}


def _batch(name: str, item: Any) -> Sequence[Any]:
    """A batch of rows. One row by itself is most likely a mistake: its values would be taken for rows."""
    if isinstance(item, list | tuple):
        return item
    raise BrokenRead(f"{name}: it yielded a {type(item).__name__}; yield lists of rows, and an End after the last")


def _values_of(name: str, row: Any, columns: Sequence[str], order: Mapping[str, int]) -> Row:
    """The values of these columns."""
    try:
        if isinstance(row, Mapping):
            return tuple(row[column] for column in columns)
        return tuple(row[order[column]] for column in columns)
    except (KeyError, IndexError, TypeError):
        lacking = next((column for column in columns if isinstance(row, Mapping) and column not in row), "")
        what = f"no {lacking!r}" if lacking else "other columns than it declares, or is no row"
        raise DataProblem(
            f"{name}: a row has {what}; yield dictionaries, or tuples in the order of `columns`"
        ) from None


def _row(name: str, row: Row, *, tokens: bool) -> Row:
    """A row of values that can be kept; what it holds stands for its version."""
    try:
        plain = tuple(Json(json.dumps(value)) if isinstance(value, dict | list) else value for value in row)
        spelt = [encode(value) for value in plain]
    except (TypeError, ValueError, RecursionError) as odd:
        raise DataProblem(f"{name}: a row holds what cannot be compared: {odd}") from None
    return (*plain, repr(spelt)) if tokens else plain
