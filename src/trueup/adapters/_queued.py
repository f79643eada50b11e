"""What an outbox still holds, taken off the source's rows, so that what is queued is no drift.

    expected = f(source) - pending, in one statement and so in one snapshot

A writer commits its change and its event together, and a worker the target's row and the end of the event: in every
snapshot both sides of the equation move together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import sqlalchemy as sa

from trueup.adapters._dialect import Expression
from trueup.core.binding import BoundSide, Column, Queued
from trueup.core.row import Kind


class Rendering(Protocol):
    """What of `Relations` is needed here."""

    def columns(self, side: BoundSide) -> tuple[sa.FromClause, list[Expression]]:
        """Where the side's rows come from, and its key and compared columns there."""

    def ordered(self, column: Column, expression: Expression) -> Expression:
        """`expression` in binary order."""


def without_queued(relations: Rendering, side: BoundSide, queued: Queued) -> sa.Subquery:
    """The side's rows less what is queued for their keys.

    A key that has nothing but queued events is what `absent` says, less them. One that is `absent` once they are taken
    off is no row: its events may be what makes it.
    """
    width = len(side.key)
    source = _half(relations, side, replace(side, queued=None), 1)
    both = sa.union_all(source, _half(relations, side, queued.side, -1)).subquery("u")
    parts: list[Expression] = list(both.c)
    keys, numbers, half = parts[:width], parts[width:-1], parts[-1]
    has_row, has_events = sa.func.max(half) > 0, sa.func.min(half) < 0
    values = []
    for column, number, none in zip(side.values, numbers, queued.absent, strict=True):
        begins: Expression = sa.case((has_row, sa.literal(0)), else_=sa.literal(none))
        total: Expression = sa.func.coalesce(sa.func.sum(number), sa.literal(0)) + begins
        # Databases make a wider type of a sum than its column has.
        values.append(sa.cast(total, sa.BigInteger()) if column.kind is Kind.INTEGER else total)
    is_absent = sa.and_(*(value == sa.literal(none) for value, none in zip(values, queued.absent, strict=True)))
    named = [part.label(column.name) for column, part in zip(side.columns, [*keys, *values], strict=True)]
    return sa.select(*named).group_by(*keys).having(~sa.and_(has_events, is_absent)).subquery("p")


def _half(relations: Rendering, side: BoundSide, half: BoundSide, sign: int) -> sa.Select[tuple[object, ...]]:
    """Keys and numbers of the source (`sign` 1), or of what is queued (-1), with the sign beside them."""
    origin, parts = relations.columns(half)
    keys = [relations.ordered(c, part) for c, part in zip(side.key, parts, strict=False)]
    numbers: Sequence[Expression] = parts[len(side.key) :]
    if sign < 0:
        numbers = [-part for part in numbers]
    chosen = [*keys, *numbers, sa.literal_column(str(sign))]
    return sa.select(*(part.label(f"c{at}") for at, part in enumerate(chosen))).select_from(origin)
