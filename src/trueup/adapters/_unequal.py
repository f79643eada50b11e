"""What differs inside a database, under the rules of a column: the same answer as `core.rules` gives on values."""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sa

from trueup.adapters._dialect import Expression
from trueup.adapters._relations import Relations
from trueup.core.binding import Binding, Column
from trueup.core.kinds import Kind
from trueup.core.row import fit
from trueup.core.rules import Nulls, Rule

#: Kinds that databases compare in their own way, if at all: inside one only where its adapter says so.
_OWN_WAY = frozenset({Kind.JSON, Kind.ARRAY, Kind.INTERVAL})


class Comparing(Protocol):
    """What an adapter knows of comparing; every SQL adapter does."""

    relations: Relations

    def by_meaning(self, source: Column, target: Column) -> bool:
        """Does `differ` give the answer that Python gives on the values?"""

    def differ(self, source: Column, target: Column, a: Expression, b: Expression) -> Expression:
        """NULL-safe "is not the same value"."""

    def beyond(self, rule: Rule, source: Column, target: Column, a: Expression, b: Expression) -> Expression | None:
        """Two values, neither NULL, are further apart than `rule` tolerates; None where it cannot say so exactly."""


def by_meaning(source: Column, target: Column) -> bool:
    """Is it safe to take a database's own comparison of these columns for ours, unless its adapter knows better?"""
    kinds = {source.kind, target.kind}
    if kinds & _OWN_WAY or kinds == {Kind.UUID, Kind.BYTES}:
        return False
    return not (Kind.FLOAT in kinds and kinds & {Kind.INTEGER, Kind.BOOLEAN})


def unequal(
    adapter: Comparing, binding: Binding, at: int, a: Expression, b: Expression, *, absent: bool = False
) -> Expression:
    """The compared column number `at` differs, NULL-safe and by its rule; `a` is the source's, `b` the target's.

    `absent`: `a` is what a row without a source row may as well hold, in the target's type.
    """
    target = binding.target.values[at]
    source = target if absent else binding.source.values[at]
    if not adapter.by_meaning(source, target):  # only ever planned, to learn what reading costs: see `inside`
        return sa.cast(a, sa.Text).is_distinct_from(sa.cast(b, sa.Text))
    if not binding.rules:
        return adapter.differ(source, target, a, b)
    rule = binding.rules[at]
    there = a.is_distinct_from(None) & b.is_distinct_from(None)  # of a composite with a NULL, IS NOT NULL is false
    apart = _apart(adapter, rule, source, target, a, b)
    match rule.nulls:
        case Nulls.UNKNOWN:
            return there & apart
        case Nulls.ZERO:
            nothing, nought = (adapter.relations.border(c, fit(c.kind, rule.zero)) for c in (source, target))
            return sa.or_(
                there & apart,
                a.is_(None) & b.is_not(None) & _apart(adapter, rule, source, target, nothing, b),
                a.is_not(None) & b.is_(None) & _apart(adapter, rule, source, target, a, nought),
            )
    return apart


def _apart(adapter: Comparing, rule: Rule, source: Column, target: Column, a: Expression, b: Expression) -> Expression:
    """Different, and by more than is tolerated; a NULL is no distance from anything."""
    differ = adapter.differ(source, target, a, b)
    beyond = adapter.beyond(rule, source, target, a, b) if rule.tolerance else None
    return differ if beyond is None else differ & sa.or_(a.is_(None), b.is_(None), beyond)
