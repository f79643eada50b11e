"""How MariaDB and MySQL can read keys: cut points, and what the optimizer expects of reading between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from trueup.adapters import Survey
from trueup.adapters._surveying import Surveying
from trueup.adapters._walk import walked
from trueup.core.binding import Binding, BoundSide
from trueup.core.plan import Everything, Range, Segment, ranges
from trueup.core.row import Key, Kind

#: Rows in one key range; PyMySQL reads about as many in a second.
SEGMENT_ROWS = 50_000
#: Most candidate cut points; each costs one EXPLAIN.
CUTS_MAX = 1000
#: Intervals whose work is asked first; where no index serves the others are not worth asking.
FEW = 6
#: Reading by key range pays while the optimizer expects it to read no more than this, against one pass.
RANGES_PAY_BELOW = 4.0
#: An index serves a key range if less than this share of one pass is read for it.
SERVED_BELOW = 0.75
#: Who may read a view and not its tables is not told how it is read.
NOT_TOLD = 1345
#: Cut points that would leave one key range this many times the rows of another are not taken.
UNEVEN = 3.0


class MysqlSurveying(Surveying):
    """Asks the optimizer."""

    def survey(self, binding: Binding, of: Sequence[BoundSide]) -> Survey:
        """See `adapters.Reader`."""
        try:
            return self._survey(binding, of)
        except DBAPIError as error:
            if error.orig is None or error.orig.args[0] != NOT_TOLD:
                raise
            why = (
                "the optimizer tells nothing of a view to who may not read its tables (SHOW VIEW, and SELECT on those)"
            )
            return Survey(cuts=[], work=[], whole=SEGMENT_ROWS, per_segment=SEGMENT_ROWS, seekable=False, reason=why)

    def _survey(self, binding: Binding, of: Sequence[BoundSide]) -> Survey:
        def work(segment: Segment) -> float:
            return _rows_read(self._explained(self.reading(binding, of, segment)))

        whole = work(Everything())
        table = binding.target if binding.target in of else of[0]
        large = whole > 2 * SEGMENT_ROWS
        cuts = self._even_cuts(table, whole) if large else []
        each = few = [work(segment) for segment in ranges(cuts)]
        if large and (not cuts or max(each) > UNEVEN * whole / len(each)):
            cuts = self._cuts(table, whole)
            intervals = ranges(cuts)
            few = [work(segment) for segment in intervals[:: max(len(intervals) // FEW, 1)]]
            each = [work(segment) for segment in intervals] if cuts and min(few) < SERVED_BELOW * whole else []
        served = bool(cuts) and min(few) < SERVED_BELOW * whole
        each = each if served else []
        total = sum(each) if served else sum(few) * (len(cuts) + 1) / len(few)
        figures = f"the optimizer expects to read {total:,.0f} rows by key range, {whole:,.0f} in one pass"
        if not cuts:
            figures = f"the optimizer expects to read {whole:,.0f} rows: small, or without an index in key order"
        pays = served and total <= whole * RANGES_PAY_BELOW
        return Survey(cuts=cuts, work=each, whole=whole, per_segment=SEGMENT_ROWS, seekable=pays, reason=figures)

    def _explained(self, statement: Any) -> Sequence[sa.Row[Any]]:
        return self.adapter.explain(self.connection, "EXPLAIN", statement)

    def _even_cuts(self, side: BoundSide, rows: float) -> list[Key]:
        """Keys at equal distances, where an index tells the ends: most integers that count rows are spread evenly, and
        the optimizer's estimates tell whether these are. No index is walked for them.
        """
        if side.side.table is None or [column.kind for column in side.key] != [Kind.INTEGER]:
            return []
        key = self.relations.columns(side)[1][0]
        ends = sa.select(sa.func.min(key), sa.func.max(key))
        if "optimized away" not in str(self._explained(ends)):
            return []
        low, high = self.connection.execute(ends).one()
        many = round(rows / max(SEGMENT_ROWS, round(rows / CUTS_MAX)))
        if low is None or high is None or high - low < many:
            return []
        return [(int(low) + (int(high) - int(low)) * at // many,) for at in range(1, many)]

    def _cuts(self, side: BoundSide, rows: float) -> list[Key]:
        """Every so many-th key, walking an index in key order; none if there is no such index."""
        if side.side.table is None:
            return []
        keys = self.relations.columns(side)[1][: len(side.key)]
        step = max(SEGMENT_ROWS, round(rows / CUTS_MAX))

        def nth(span: Range, many: int) -> sa.Select[Any]:
            return (
                sa.select(*(self.adapter.read_as(c, k) for c, k in zip(side.key, keys, strict=True)))
                .where(*self.relations.within(side, keys, span), *(key.is_not(None) for key in keys))
                .order_by(*(self.relations.ordered(c, k) for c, k in zip(side.key, keys, strict=True)))
                .limit(1)
                .offset(many)
            )

        def after(span: Range, many: int) -> Key | None:
            row = self.connection.execute(nth(span, many)).first()
            return row and side.key_of(row)

        if "filesort" in str(self._explained(nth(Range(), step))):
            return []
        return walked(after, step, CUTS_MAX)


def _rows_read(plan: Sequence[sa.Row[Any]]) -> float:
    """Rows that a statement reads from tables, as its plan expects: of each SELECT, the product of its tables."""
    work: dict[Any, float] = {}
    for step in plan:
        if step.rows is not None and not str(step.table).startswith("<"):
            work[step.id] = work.get(step.id, 1.0) * max(float(step.rows), 1.0)
    return sum(work.values())
