"""What holds for the rows of a side, whatever part of it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import sqlalchemy as sa

from trueup.adapters._borders import Bounding, beyond
from trueup.adapters._dialect import Expression
from trueup.core.binding import BoundSide, Column
from trueup.core.row import Kind


class Rendering(Bounding, Protocol):
    """What renders a column in its order; `Relations` does."""

    def sorted_by(self, column: Column, expression: Expression) -> Expression:
        """`expression` in the order that all databases have in common."""


def besides(relations: Rendering, side: BoundSide) -> Iterator[Expression]:
    """Predicates on columns that need be neither in the key nor compared."""
    if side.tombstone is not None:
        no: Expression = sa.false() if side.tombstone.kind is Kind.BOOLEAN else sa.literal(0)
        yield sa.func.coalesce(_column(relations, side.tombstone), no) == no
    if side.only:
        yield computed(side.only)
    if side.since is not None:
        mark, first = side.since
        yield beyond(relations, [mark], [relations.sorted_by(mark, _column(relations, mark))], (first,), above=True)


def _column(relations: Rendering, column: Column) -> Expression:
    """There is one origin in each sub-select that asks for it."""
    return sa.column(column.name, relations.dialect.type_of(column))


def computed(text: str) -> Expression:
    """A user's expression over the columns of the one table that is read, sent as written."""
    found: Expression = sa.literal_column(f"({text}\n)")
    return found
