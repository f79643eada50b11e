"""What comes back from a SQL database: rows in batches, the rows of a comparison, the words of an error."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from trueup.adapters import BATCH_ROWS, Look
from trueup.core.binding import Binding, BoundSide
from trueup.core.compare import Counts, DriftKind, Suspect
from trueup.core.kinds import Kind
from trueup.core.row import Batch, Value, Values, batch_of, canonical
from trueup.core.rules import Nulls
from trueup.errors import DataProblem

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter


#: What helps where a privilege is missing.
GRANT = "; grant it to the user that the URL names"


class RowStream:
    """Rows of one statement in batches; `ended` only once the database has said so.

    `statement` builds it, and is called once there is a connection: only that says what some of it depends on.
    """

    parts = True

    def __init__(
        self,
        adapter: SqlAdapter,
        binding: Binding,
        side: BoundSide,
        statement: Callable[[], sa.Select[Any]],
        *,
        tokens: bool,
    ) -> None:
        self.ended = False
        self._adapter = adapter
        self._binding = binding
        self._side = side
        self._statement = statement
        self._tokens = tokens

    def __iter__(self) -> Iterator[Batch]:
        width = len(self._binding.key_kinds)
        # Closed here also when the reader goes away in the middle: a server-side cursor does not end by itself.
        with self._adapter.reading() as connection, self._execute(connection) as result:
            for rows in result.partitions():
                self._adapter.check_keys(self._binding, self._side, rows)
                yield batch_of(rows, self._binding.kinds, width, tokens=self._tokens)
            self.ended = True

    def _execute(self, connection: sa.Connection) -> AbstractContextManager[sa.CursorResult[Any]]:
        return connection.execution_options(yield_per=BATCH_ROWS).execute(self._statement())


@contextmanager
def translating(adapter: SqlAdapter) -> Iterator[None]:
    """Around everything that asks the driver."""
    try:
        yield
    except SQLAlchemyError as error:
        raise adapter.translate(error) from error
    except UnicodeError as error:
        raise DataProblem(f"databases.{adapter.name}: text that is not in its encoding: {error}") from error


def sqlstate(error: SQLAlchemyError) -> str:
    """The five-character SQLSTATE of a driver error, where it has one."""
    original = error.orig if isinstance(error, DBAPIError) else None
    return str(getattr(original, "sqlstate", None) or "")


def message(error: SQLAlchemyError) -> str:
    """The driver's own words, without the statement and its values."""
    original = error.orig if isinstance(error, DBAPIError) else error
    match getattr(original, "args", ()):
        case (int() as number, str() as words):  # as MySQL's driver has them: as text it would be a tuple's
            return f"{' '.join(words.split())} ({number})"
    return " ".join(str(original).split())


#: Who holds it may change which warnings the process shows.
_FILTERS = threading.Lock()


@contextmanager
def any_type() -> Iterator[None]:
    """Around what reads a schema by SQLAlchemy, which warns of each type that is not its own: names are all that is
    asked for, and the types are read in another way.

    One thread at a time: what Python ignores belongs to the process, and two that change it put back each other's.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Did not recognize type", sa.exc.SAWarning)
        yield


def counts_of(binding: Binding, told: str) -> Counts:
    """The figures of a comparison."""
    figures = [int(part) for part in told.split(",")]
    names = ("source_rows", "target_rows", "missing", "extra", "different", "null_keys_source", "null_keys_target")
    counts = Counts()
    for name, figure in zip(names, figures, strict=False):
        setattr(counts, name, figure)
    by_column = figures[len(names) :]
    for column, differing in zip(binding.columns, by_column, strict=False):
        if differing:
            counts.different_by_column[column] = differing
    unknown = [name for name, rule in zip(binding.columns, binding.rules, strict=False) if rule.nulls is Nulls.UNKNOWN]
    for column, left_out in zip(unknown, by_column[len(binding.columns) :], strict=True):
        if left_out:
            counts.not_compared[column] = left_out
    return counts


def look_of(binding: Binding, rows: Sequence[sa.Row[Any]]) -> Look:
    """The rows of a comparison: figures first, then differences."""
    counts = counts_of(binding, rows[0].figures)
    found = rows[1:]
    width, columns = len(binding.key_kinds), len(binding.columns)
    table = (
        [list(column) for column in zip(*found, strict=True)] if found else [[] for _ in range(4 + width + 2 * columns)]
    )
    _, source_here, target_here, tokens = table[:4]
    kinds = (*binding.kinds, *binding.value_kinds)
    clean = [canonical(kind, column) for kind, column in zip(kinds, table[4:], strict=True)]
    keys = list(zip(*map(_integers, binding.key_kinds, clean), strict=True))
    expected = _tuples(clean[width : width + columns], len(found))
    observed = _tuples(clean[width + columns :], len(found))
    suspects = []
    for at, key in enumerate(keys):
        there, here = source_here[at] is not None, target_here[at] is not None
        kind = DriftKind.DIFFERENT if there and here else DriftKind.MISSING if there else DriftKind.EXTRA
        suspects.append(
            Suspect(
                kind=kind,
                key=key,
                expected=expected[at] if there else binding.absent,
                observed=observed[at] if here else None,
                token=tokens[at] or "",
                instant=True,
            )
        )
    return Look(counts=counts, suspects=suspects)


def _integers(kind: Kind, column: list[Value]) -> list[Value]:
    """A part of the keys, of both sides. Where these are integers of two types, a database may hand out decimals
    (MariaDB, if one has a sign), which would be looked for in neither.
    """
    if kind is not Kind.INTEGER:
        return column
    return [int(value) if isinstance(value, Decimal) and value == int(value) else value for value in column]


def _tuples(columns: list[list[Value]], rows: int) -> list[Values]:
    return list(zip(*columns, strict=True)) if columns else [()] * rows
