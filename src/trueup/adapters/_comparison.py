"""Both sides of a segment joined inside a database: what differs there, counted, and listed row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from trueup.adapters._dialect import Expression
from trueup.core.binding import Binding
from trueup.core.plan import Everything, Part, Range
from trueup.core.rules import Nulls


class Differ(Protocol):
    """Whether a compared column differs; see `_unequal.unequal`."""

    def __call__(self, at: int, a: Expression, b: Expression, *, absent: bool = False) -> Expression: ...


def materialized(select: sa.Select[Any], name: str = "trueup_j") -> sa.CTE:
    """Computed once, though several things are taken from it, as the totals and the differences are."""
    return select.cte(name, nesting=False).prefix_with("MATERIALIZED")


def cheap_again(binding: Binding, segment: Part) -> bool:
    """May both sides be joined once more for a list of what differs? What a query gives may take long to be had again,
    and be another then; of some keys most may differ.
    """
    return binding.source.shape.table and binding.target.shape.table and isinstance(segment, Range | Everything)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The joined sides, and which of their rows differ, and how."""

    #: `here` flags, token, key parts (from either side), expected and observed values.
    joined: sa.FromClause
    missing: Expression
    extra: Expression
    different: Expression
    #: What was covered and found, in one text.
    figures: Expression
    #: Hold if no key occurs more than once; where they do not, there is no answer, not even figures.
    once: Sequence[Expression]
    #: The figures, and how many rows differ, where the joined sides are not kept but joined once more for these rows,
    #: if there are any. Keys are unique there.
    counted: sa.CTE | None

    @property
    def differing(self) -> Expression:
        """Holds for the rows that differ; where these are read once more, and there are none, nothing is read."""
        differing = sa.or_(self.missing, self.extra, self.different)
        if self.counted is None:
            return differing
        return sa.and_(differing, sa.select(self.counted.c.differing).scalar_subquery() > 0)

    def totals(self, *others: Expression) -> sa.Select[Any]:
        """The figures, beside other columns."""
        if self.counted is not None:
            return sa.select(self.counted.c.figures, *others)
        return sa.select(self.figures.label("figures"), *others).select_from(self.joined).having(*self.once)

    def listed(self, limit: int) -> sa.CompoundSelect[Any]:
        """One row of figures, then the rows that differ."""
        columns = self.joined.c
        nothing = [sa.null().label(column.name) for column in columns]
        rows = sa.select(sa.null().label("figures"), *columns).where(self.differing)
        if self.counted is not None:
            # PostgreSQL expects nearly all rows to differ and the limit to be reached soon: it would seek each row in
            # an index rather than join. What it materializes it plans to the end.
            rows = sa.select(materialized(rows, "trueup_d"))
        return sa.union_all(self.totals(*nothing), sa.select(rows.limit(limit).subquery("d")))

    @classmethod
    def of(
        cls,
        binding: Binding,
        joined: sa.CTE | sa.Subquery,
        differ: Differ,
        absent: Sequence[Expression] | None,
        once: Sequence[Expression],
    ) -> Comparison:
        """`joined`: a CTE keeps the joined sides for the list of what differs, which may cost as much again as to join
        and count; of a sub-select they are joined once more where something differs. `absent`: the values that a row
        without a source row may as well have.
        """
        j = joined.c
        pairs = [(at, j[f"s{at}"], j[f"t{at}"]) for at in range(len(binding.columns))]
        key_has_null = sa.or_(*(j[f"k{at}"].is_(None) for at in range(len(binding.key_kinds))))
        both = j.source_here.is_not(None) & j.target_here.is_not(None) & ~key_has_null
        unequal = [differ(*pair) for pair in pairs]
        unknown = [pair for pair, rule in zip(pairs, binding.rules, strict=False) if rule.nulls is Nulls.UNKNOWN]
        missing = j.target_here.is_(None) & ~key_has_null
        extra = j.source_here.is_(None) & ~key_has_null
        if absent is not None and pairs:
            extra = extra & sa.or_(*(differ(at, absent[at], observed, absent=True) for at, _, observed in pairs))
        different = both & sa.or_(*unequal) if unequal else sa.false()

        def count(condition: Expression) -> Expression:
            return sa.func.count(sa.case((condition, 1)))

        def rows_of(here: Expression) -> Expression:
            return sa.func.coalesce(sa.func.sum(here), 0)

        figures = [
            rows_of(j.source_here),
            rows_of(j.target_here),
            count(missing),
            count(extra),
            count(different),
            rows_of(sa.case((key_has_null, j.source_here))),
            rows_of(sa.case((key_has_null, j.target_here))),
            *(count(both & condition) for condition in unequal),
            *(count(both & (a.is_distinct_from(None) != b.is_distinct_from(None))) for (_, a, b) in unknown),
        ]
        # Figures travel in a text column: a compound select wants the same type in the same place, and no row of
        # differences has anything there.
        listed: Expression = sa.cast(figures[0], sa.Text)
        for figure in figures[1:]:
            listed = listed + "," + sa.cast(figure, sa.Text)
        counted: sa.CTE | None = None
        if not isinstance(joined, sa.CTE):
            differing: Expression = count(missing) + count(extra) + count(different)
            totals = sa.select(listed.label("figures"), differing.label("differing")).select_from(joined)
            counted = totals.cte("trueup_f", nesting=False)
        return cls(
            joined=joined,
            missing=missing,
            extra=extra,
            different=different,
            figures=listed,
            once=once,
            counted=counted,
        )
