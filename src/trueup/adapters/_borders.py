"""Ends of key ranges that no row of a side can have, as the other side may have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import sqlalchemy as sa

from trueup.adapters._dialect import Dialect, Expression
from trueup.core.binding import Column
from trueup.core.row import Key, Kind, Value


class Bounding(Protocol):
    """What renders the ends of a range; `Relations` does."""

    dialect: Dialect

    def beyond(self, columns: Sequence[Column], parts: list[Expression], key: Key, *, above: bool) -> Expression:
        """key >= bound (above) or key < bound, part by part."""

    def border(self, column: Column, value: Value) -> Expression:
        """A value to order by."""


def beyond(
    relations: Bounding, columns: Sequence[Column], parts: list[Expression], key: Key, *, above: bool
) -> Expression:
    """`Relations.beyond`, also for a key with an integer that is too large for its column: the other side may have it.

    No row is equal to that one, and the parts before it decide.
    """
    for at, (column, value) in enumerate(zip(columns, key, strict=True)):
        if not isinstance(value, int) or column.kind is not Kind.INTEGER or relations.dialect.can_hold(column, value):
            continue
        below = value > 0  # rows that are equal up to this part are below the key, as it is greater than all of them
        if not at:
            return sa.true() if above is not below else sa.false()
        first = relations.beyond(columns[:at], parts[:at], key[:at], above=above)
        same = sa.and_(*(p == relations.border(c, v) for c, p, v in zip(columns, parts[:at], key, strict=False)))
        if not below:
            return first
        return sa.and_(first, sa.not_(same)) if above else sa.or_(first, same)
    return relations.beyond(columns, parts, key, above=above)
