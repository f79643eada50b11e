"""What a projection allows its compared columns beyond equality: checked against what the columns hold."""

from __future__ import annotations

from collections.abc import Sequence

from trueup.core.hints import near
from trueup.core.kinds import Kind
from trueup.core.projection import Projection
from trueup.core.rules import Nulls, Rule, rules_of
from trueup.core.shape import Column
from trueup.errors import ConfigError


def allowed(
    projection: Projection,
    columns: Sequence[str],
    source: Sequence[Column],
    target: Sequence[Column],
    kinds: Sequence[Kind],
) -> tuple[Rule, ...]:
    """The rule of each compared column, in the kind that it is compared in; empty where nothing but equality counts.

    Raises ConfigError for a rule that its column cannot have.
    """
    place = f"projections.{projection.name}"
    for key, declared in (("tolerance", projection.tolerance), ("nulls", projection.nulls)):
        for name in declared:
            if name in projection.key:
                raise ConfigError(f"{place}.{key}: {name!r} is in the key, which is the same or names another row")
            if name not in columns:
                raise ConfigError(f"{place}.{key}: {name!r} is not a compared column; {near(name, columns)}")
    pairs = list(zip(source, target, strict=True))
    ruled = [_ruled(*pair, kind) for pair, kind in zip(pairs, kinds, strict=True)]
    rules = rules_of(projection.tolerance, projection.nulls, columns, ruled)
    for name, rule, pair in zip(columns, rules, pairs, strict=False):  # none where all are exact
        if problem := _problem(rule, name, *pair):
            raise ConfigError(f"{place}.{problem}")
    return rules


def _ruled(source: Column, target: Column, kind: Kind) -> Kind:
    """A kind as rules know it: which kind a member of two JSON documents is, each row says."""
    return Kind.ANY if source.members and target.members else kind


def _problem(rule: Rule, name: str, source: Column, target: Column) -> str:
    """Why a column cannot have this rule, and what to do; empty if it can."""
    tolerance = rule.tolerance
    if tolerance and (unfit := tolerance.unfit(rule.kind)):
        return f"tolerance: column {name!r} cannot have {tolerance.text!r}: {unfit}"
    untold = source.texts and target.texts and not (source.members and target.members)
    if tolerance and tolerance.duration is None and untold:
        return (
            f"tolerance: column {name!r} cannot have {tolerance.text!r}: both sides hold texts, "
            f"which have no distance. Say of one of them that these are numbers: "
            f'types = {{ {name} = "float" }}, or "decimal(18,4)"'
        )
    if rule.nulls is Nulls.ZERO and rule.zero is None:
        return (
            f'nulls: column {name!r} cannot have "zero": kind {rule.kind} has neither a zero nor an empty value; '
            f'use "exact" or "unknown", or coalesce() in the query'
        )
    return ""
