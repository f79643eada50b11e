"""The judge: which rows are wrong right now, by a plain recount of its own.

What the projector has not applied yet is lag, not drift. So a row is compared with the recount over the
departures up to the projector's position, or up to the row's own version where a repair has carried the row
further. Both the recount and the rows come from one statement, hence one snapshot: traffic cannot slip in
between.
"""

from collections.abc import Iterable
from contextlib import closing

from trueup.demo.faults import Fault
from trueup.demo.schema import RowId, connect

WRONG_AIRCRAFT = """
WITH expected AS (
  SELECT d.tailnum, count(*) AS flights, sum(d.miles) AS miles, max(d.id) AS last_departure
  FROM departures d LEFT JOIN aircraft a ON a.tailnum = d.tailnum
  WHERE d.id <= max((SELECT position FROM projector WHERE projection = 'aircraft'),
                    coalesce(a.last_departure, 0))
  GROUP BY d.tailnum)
SELECT e.tailnum FROM expected e LEFT JOIN aircraft a ON a.tailnum = e.tailnum
 WHERE a.flights IS NOT e.flights OR a.miles IS NOT e.miles OR a.last_departure IS NOT e.last_departure
UNION ALL
SELECT a.tailnum FROM aircraft a WHERE a.tailnum NOT IN (SELECT tailnum FROM expected)
"""

WRONG_AIRPORT_HOURS = """
WITH expected AS (
  SELECT d.origin, d.hour, count(*) AS departures, sum(d.delay_min) AS delay_min, max(d.id) AS last_departure
  FROM departures d LEFT JOIN airport_hours a ON a.origin = d.origin AND a.hour = d.hour
  WHERE d.id <= max((SELECT position FROM projector WHERE projection = 'airport_hours'),
                    coalesce(a.last_departure, 0))
  GROUP BY d.origin, d.hour)
SELECT e.origin, e.hour FROM expected e LEFT JOIN airport_hours a ON a.origin = e.origin AND a.hour = e.hour
 WHERE a.departures IS NOT e.departures OR a.delay_min IS NOT e.delay_min
    OR a.last_departure IS NOT e.last_departure
UNION ALL
SELECT a.origin, a.hour FROM airport_hours a
 WHERE (a.origin, a.hour) NOT IN (SELECT origin, hour FROM expected)
"""


def still_wrong(db_path: str, faults: Iterable[Fault] | None = None) -> frozenset[RowId]:
    """The rows that are drifted now; with `faults`, only those of them on which a fault was committed.

    Exact under traffic: rows that only wait for the projector are not in it. A key absent from the truth, a
    row absent for a key the projector has passed, and any differing or NULL column all count.
    """
    with closing(connect(db_path)) as conn:
        conn.execute("BEGIN")  # one snapshot for both projections
        wrong = {("aircraft", tuple(row)) for row in conn.execute(WRONG_AIRCRAFT)}
        wrong |= {("airport_hours", tuple(row)) for row in conn.execute(WRONG_AIRPORT_HOURS)}
        conn.execute("COMMIT")
    if faults is None:
        return frozenset(wrong)
    return frozenset(wrong & {fault.row for fault in faults})


def destroyed(before: Iterable[RowId], after: Iterable[RowId], faults: Iterable[Fault]) -> frozenset[RowId]:
    """The rows right in `before` and wrong in `after` by no mistake of the projector: somebody else's damage.

    `before` and `after` are answers of still_wrong without faults; `faults` is the list as read after the
    second.
    """
    return frozenset(after) - frozenset(before) - {fault.row for fault in faults}
