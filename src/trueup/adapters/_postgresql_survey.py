"""How PostgreSQL can read keys: cut points, and what its planner says of reading between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from trueup.adapters import Survey
from trueup.adapters._postgresql_values import regclass
from trueup.adapters._surveying import Surveying
from trueup.core.binding import Binding, BoundSide
from trueup.core.digest import SEGMENT_ROWS as USUAL_ROWS
from trueup.core.plan import Everything, Segment, ranges
from trueup.core.row import Key, Kind

#: Rows of one key range where the other side is in another database: hashed in about a twentieth of a second.
SEGMENT_ROWS = 2 * USUAL_ROWS
#: Work of one key range, in the planner's cost units; some tenths of a second on common hardware.
COST_PER_SEGMENT = 25_000.0
#: Most candidate cut points; each costs one EXPLAIN (about a millisecond).
CUTS_MAX = 1000
#: Reading by key range pays while the planner gives it no more than this, against one pass over everything without
#: parallel workers. Above, the ranges fetch the same pages again and again. Measured on 20 million rows in random
#: order: 2.5 where an index covers the query (ranges take half the time of one pass), 36 where it has the key only (two
#: to three times), 44 without an index.
RANGES_PAY_BELOW = 4.0
#: Rows of a table that one statement surely digests in time. Of more, one pass costs what joining them does.
DIGESTED_ROWS = 100_000_000
#: The same where rows lie in key order: ranges of them can be paced, and gone on from.
DIGESTED_IN_ORDER_ROWS = 10_000_000
#: They do if all ranges together cost no more than so many times what joining everything does.
IN_ORDER_BELOW = 1.5
#: An index serves a key range if it costs less than this share of one pass (or little more than its share of the keys).
SERVED_BELOW = 0.25
#: Intervals whose cost is asked first; where it is far too high the others are not worth asking.
FEW = 6
#: The same where one table is read, whose intervals are all alike.
FEWER = 3
#: Cut points of a table that is larger than this come from a sample of its pages.
SAMPLE_PAGES_MIN = 200
PAGES_PER_CUT = 10


class PostgresqlSurveying(Surveying):
    """Asks the planner."""

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool, digested: bool) -> Survey:
        """See `adapters.Reader`. `digested`: in one pass each of both sides is read once, and not joined."""
        joined = len(of) == 2

        @cache  # the few that are asked first are asked for among all, too
        def cost(segment: Segment) -> float:
            return float(self._plan(binding, of, segment, ordered=ordered)["Total Cost"])

        self.connection.execute(sa.select(sa.func.set_config("max_parallel_workers_per_gather", "0", True)))
        everything = self._plan(binding, of, Everything(), ordered=ordered)
        whole, rows = float(everything["Total Cost"]), float(everything["Plan Rows"])
        wanted = min(round(whole / COST_PER_SEGMENT if joined else rows / SEGMENT_ROWS), CUTS_MAX)
        table = binding.target if binding.target in of else of[0]
        cuts = self._cuts(table, wanted) if wanted > 1 else []
        intervals = ranges(cuts)
        # Where no index serves, even the smallest interval costs a pass: the others need not be asked.
        few = [cost(segment) for segment in intervals[:: max(len(intervals) // (FEW if joined else FEWER), 1)]]
        mean = sum(few) / len(few)
        if digested:
            scans = [self._plan(binding, [side], Everything(), ordered=False) for side in of]
            in_order = mean * len(intervals) <= IN_ORDER_BELOW * whole
            most = DIGESTED_IN_ORDER_ROWS if in_order else DIGESTED_ROWS
            digested = all(float(scan["Plan Rows"]) <= most for scan in scans)
            whole = sum(float(scan["Total Cost"]) for scan in scans) if digested else whole
        served = bool(cuts) and min(few) < whole * max(SERVED_BELOW, 1.5 / len(intervals))
        work = [mean] * len(intervals) if not joined else [cost(s) for s in intervals] if served else []
        total = sum(work) or mean * len(intervals)
        pays = served and total <= whole * RANGES_PAY_BELOW
        figures = f"planner's cost {total:,.0f} by key range, {whole:,.0f} in one pass"
        if not cuts:
            figures = f"planner's cost {whole:,.0f}{': small enough for' if wanted <= 1 else ' in'} one pass"
        if digested and not pays:
            figures = f"{figures}, which digests both sides and joins what differs"
        if pays and not joined:
            cuts = self._with_ends(table, cuts)
            work = [mean] * (len(cuts) + 1)
        return Survey(
            cuts=cuts,
            work=work,
            whole=whole,
            per_segment=COST_PER_SEGMENT if joined else mean if wanted > 1 else whole,
            seekable=pays,
            reason=figures,
        )

    def _plan(self, binding: Binding, of: Sequence[BoundSide], segment: Segment, *, ordered: bool) -> dict[str, Any]:
        """The planner's plan of reading a segment."""
        statement = self.reading(binding, of, segment, ordered=ordered)
        (told,) = self.adapter.explain(self.connection, "EXPLAIN (FORMAT JSON)", statement)
        found: dict[str, Any] = told[0][0]["Plan"]
        return found

    def _cuts(self, side: BoundSide, wanted: int) -> list[Key]:
        """Keys of `side`, evenly spaced in number of rows; from a sample of pages where the table is large."""
        if side.side.table is None:
            return []
        table = self.relations.table(side)
        pages = self.connection.execute(
            sa.text("SELECT relpages * (relkind <> 'f')::int FROM pg_class WHERE oid = to_regclass(:name)"),
            {"name": regclass(side.side.table)},
        ).scalar_one()
        origin: sa.FromClause = table
        enough = max(PAGES_PER_CUT * wanted, SAMPLE_PAGES_MIN)
        if pages > 2 * enough:
            origin = sa.tablesample(table, sa.func.system(100.0 * enough / pages), seed=sa.literal(1))
        keys = [origin.c[column.name] for column in side.key]
        ordered = [self.relations.sorted_by(c, k) for c, k in zip(side.key, keys, strict=True)]
        bucket = sa.func.ntile(wanted).over(order_by=ordered).label("bucket")
        whole = [key.is_not(None) for key in keys]
        numbered = sa.select(*(key.label(f"k{at}") for at, key in enumerate(keys)), bucket).where(*whole).subquery("n")
        columns = [numbered.c[f"k{at}"] for at in range(len(keys))]
        first = [self.relations.sorted_by(c, k) for c, k in zip(side.key, columns, strict=True)]
        statement = (
            sa.select(*columns)
            .ext(distinct_on(numbered.c.bucket))
            .where(numbered.c.bucket > 1)
            .order_by(numbered.c.bucket, *first)
        )
        found = self.connection.execute(statement).all()
        return list(dict.fromkeys(map(side.key_of, found)))

    def _with_ends(self, side: BoundSide, cuts: list[Key]) -> list[Key]:
        """`cuts` with the least and the greatest key beside them, where an index tells these at once.

        What lies between two integers is digested range by range (`core.plan.slices`), for two thirds of what grouping
        its rows costs; beyond the ends hardly a row is left.
        """
        if [column.kind for column in side.key] != [Kind.INTEGER] or not side.shape.table:
            return cuts
        key = self.relations.table(side).c[side.key[0].name]
        ends = self.connection.execute(sa.select(sa.func.min(key), sa.func.max(key))).one()
        return sorted({*cuts, *((end,) for end in ends if end is not None)})
