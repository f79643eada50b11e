"""What rendering SQL needs to know of one database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from trueup.core.binding import BoundSide, Column
from trueup.core.plan import KeyHashes, Leaves
from trueup.core.row import Kind, Value

Expression = sa.ColumnElement[Any]
#: `SqlAdapter.answered` on a certain connection.
Answered = Callable[[sa.Select[*tuple[Any, ...]]], Sequence[sa.Row[*tuple[Any, ...]]]]
#: Option of a statement whose answer is large and may come in the database's binary form, where it has one.
BINARY = "trueup_binary"


class Hashed(Protocol):
    """Row hashes of one database, as expressions."""

    def chosen(self, side: BoundSide, parts: Sequence[Expression], part: Leaves | KeyHashes) -> Expression:
        """Holds for the rows of `part`, within its range."""


class Dialect(Protocol):
    """What rendering needs to know of one database; every SQL adapter is one."""

    #: Name of the collation that orders text by its bytes.
    collation: str
    #: Does it hash or merge a full join of two sub-selects?
    full_join: bool
    #: Does it look at a condition that speaks of no row first, and read nothing where it does not hold?
    skips: bool
    #: How integers are spelt as one array, where arrays are taken apart into rows and a sub-select in FROM may speak of
    #: these; None: they are not.
    array_of: Callable[[Sequence[Value]], str] | None

    @property
    def hashed(self) -> Hashed:
        """How it hashes rows."""

    def type_of(self, column: Column) -> sa.types.TypeEngine[Any]:
        """SQLAlchemy's type for a column, so that values are bound as what they are."""

    def spell(self, column: Column, value: Value) -> Value:
        """A canonical value as this driver wants it."""

    def can_hold(self, column: Column, value: Value) -> bool:
        """False if no row of this column can have this value, and asking for it would be an error."""

    def read_as(self, column: Column, expression: Expression) -> Expression:
        """`expression` in the form in which the column's values are compared."""

    def token_of(self, side: BoundSide) -> Expression:
        """The row version of a target row, as text; '' where there is none."""

    def misspelt(self, column: Column, kind: Kind, part: Expression, *, time: bool) -> Expression | None:
        """Holds for a value that is not spelt as it would be looked for; None where there are no spellings."""

    def among(self, part: Expression, type_: sa.types.TypeEngine[Any], values: list[Value]) -> Expression:
        """`part` is one of `values`, which are spelt for the driver."""


class Named(sa.types.UserDefinedType[Any]):
    """A type by its name in the database."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        return self.name


class Verbatim(Named):
    """A type that Python has no rule for: values travel as text and are cast by the database."""

    cache_ok = True

    def bind_expression(self, bindvalue: sa.BindParameter[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(sa.cast(bindvalue, sa.Text), self)

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(column, sa.Text)


def spelt_single(expression: Expression) -> Expression:
    """A single-precision float by its shortest spelling: 0.1 and not 0.10000000149011612."""
    return sa.cast(sa.cast(expression, sa.Text), sa.Double)


def whole_single(expression: Expression) -> Expression:
    """The same, but that a whole number is itself."""
    exact = sa.cast(expression, sa.Double)
    return sa.case((expression == sa.func.trunc(expression), exact), else_=spelt_single(expression))
