"""Values: equal by meaning is found equal, anything else is found different, in every pairing.

Each case is a column, each pair of values a row of its own, so that both directions are asked in one comparison:
exactly the rows marked `DIFFERS` must be reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tests.conformance.worlds import World
from trueup import Verdict

SAME, DIFFERS = True, False
NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    source: str
    target: str
    #: (source value, target value, are they the same?)
    pairs: Sequence[tuple[Any, Any, bool]]
    #: Can the target hold every source value, so that a repair makes all of it right?
    repairable: bool = True
    #: Adapters that can hold these values; empty: all.
    only: frozenset[str] = frozenset()
    #: Adapters that cannot.
    not_in: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name


PG = frozenset({"postgresql"})
NIGHT = UUID("6f1c2d3e-0000-4000-8000-00000000abcd")
NOON = datetime(2026, 3, 1, 12, 0, 0)
CASES = [
    Case(
        name="integer",
        source="integer",
        target="integer",
        pairs=[
            (0, 0, SAME),
            (1, 2, DIFFERS),
            (-1, 1, DIFFERS),
            (None, None, SAME),
            (None, 0, DIFFERS),
            (0, None, DIFFERS),
            (2**63 - 1, 2**63 - 1, SAME),
            (-(2**63), -(2**63), SAME),
            (2**53, 2**53 + 1, DIFFERS),
            (2**63 - 1, 2**63 - 2, DIFFERS),
        ],
    ),
    Case(
        name="integer of two sizes",
        source="small",
        target="integer",
        pairs=[(7, 7, SAME), (7, 2**32 + 7, DIFFERS), (-(2**31), -(2**31), SAME), (None, 0, DIFFERS)],
    ),
    Case(
        name="integer and float",
        source="integer",
        target="float",
        repairable=False,
        pairs=[
            (5, 5.0, SAME),
            (5, 5.5, DIFFERS),
            (2**53, 2.0**53, SAME),
            (2**53 + 1, 2.0**53, DIFFERS),
            (2**63 - 1, 2.0**63, DIFFERS),
            (0, -0.0, SAME),
            (0, None, DIFFERS),
        ],
    ),
    Case(
        name="integer and number",
        source="integer",
        target="number",
        pairs=[
            (5, Decimal(5), SAME),
            (5, Decimal("5.01"), DIFFERS),
            (2**62 + 1, 2**62 + 1, SAME),
            (2**62 + 1, 2**62, DIFFERS),
            (None, 0, DIFFERS),
        ],
    ),
    Case(
        name="number",
        source="number",
        target="number",
        pairs=[
            (Decimal("1.10"), Decimal("1.1"), SAME),
            (Decimal("1.10"), Decimal("1.11"), DIFFERS),
            (Decimal("-0.5"), Decimal("0.5"), DIFFERS),
            (Decimal("0.00"), Decimal(0), SAME),
            (Decimal(0), None, DIFFERS),
            (Decimal("100"), Decimal("1E+2"), SAME),
        ],
    ),
    Case(
        name="number, exact",
        source="number",
        target="number",
        only=PG,
        pairs=[
            (Decimal("0.1"), Decimal("0.10000000000000001"), DIFFERS),
            (Decimal("1e20"), Decimal("100000000000000000001"), DIFFERS),
            (Decimal("1e300"), Decimal("1e300"), SAME),
            (Decimal("1e300"), Decimal(f"1{'0' * 299}1"), DIFFERS),
            (Decimal("NaN"), Decimal("NaN"), SAME),
            (Decimal("NaN"), Decimal(0), DIFFERS),
            (Decimal("0." + "3" * 40), Decimal("0." + "3" * 40), SAME),
            (Decimal("0." + "3" * 40), Decimal("0." + "3" * 39 + "4"), DIFFERS),
        ],
    ),
    Case(
        name="number and float",
        source="number",
        target="float",
        only=PG,
        repairable=False,
        pairs=[
            (Decimal("0.1"), 0.1, SAME),
            (Decimal("0.1"), 0.1 + 2**-56, DIFFERS),
            (Decimal("0.1000000000000000055"), 0.1, DIFFERS),
            (Decimal("9007199254740993"), 2.0**53, DIFFERS),
            (Decimal("NaN"), NAN, SAME),
            (Decimal("NaN"), 1.0, DIFFERS),
            (Decimal("Infinity"), INF, SAME),
            (Decimal("-Infinity"), INF, DIFFERS),
            (Decimal("1e400"), INF, DIFFERS),
        ],
    ),
    Case(
        name="float",
        source="float",
        target="float",
        pairs=[
            (0.1, 0.1, SAME),
            (0.1, 0.1 + 2**-56, DIFFERS),
            (0.1 + 0.2, 0.3, DIFFERS),
            (-0.0, 0.0, SAME),
            (1e308, 1e308, SAME),
            (1e308, -1e308, DIFFERS),
            (5e-324, 0.0, DIFFERS),
            (0.0, None, DIFFERS),
            (1e22, 1e22, SAME),
        ],
    ),
    Case(
        name="float, infinite",
        source="float",
        target="float",
        not_in=frozenset({"mysql"}),
        pairs=[(INF, INF, SAME), (INF, -INF, DIFFERS), (1e308, INF, DIFFERS)],
    ),
    Case(
        name="float, not a number",
        source="float",
        target="float",
        only=PG,
        pairs=[(NAN, NAN, SAME), (NAN, 0.0, DIFFERS), (1.0, NAN, DIFFERS), (NAN, None, DIFFERS)],
    ),
    Case(
        name="text",
        source="text",
        target="text",
        pairs=[
            ("", "", SAME),
            ("", None, DIFFERS),
            (None, "", DIFFERS),
            ("a", "A", DIFFERS),
            ("a", "a ", DIFFERS),
            (" a", "a", DIFFERS),
            ("\u00e9", "e\u0301", DIFFERS),
            ("\u00e9", "\u00e9", SAME),
            ("ß", "ss", DIFFERS),
            ("👍🏽", "👍🏽", SAME),
            ("👍🏽", "👍", DIFFERS),
            ('it\'s "x" \\ % :y', 'it\'s "x" \\ % :y', SAME),
            ("a\nb", "a\r\nb", DIFFERS),
            ("NA", None, DIFFERS),
            ("&amp;", "&", DIFFERS),
            ("1", "1.0", DIFFERS),
            ("x" * 9000, "x" * 8999 + "y", DIFFERS),
        ],
    ),
    Case(
        name="boolean",
        source="boolean",
        target="boolean",
        pairs=[
            (True, True, SAME),
            (False, False, SAME),
            (True, False, DIFFERS),
            (None, False, DIFFERS),
            (None, None, SAME),
        ],
    ),
    Case(
        name="boolean and integer",
        source="boolean",
        target="integer",
        pairs=[(True, 1, SAME), (False, 0, SAME), (True, 0, DIFFERS), (True, 2, DIFFERS), (False, None, DIFFERS)],
    ),
    Case(
        name="bytes",
        source="bytes",
        target="bytes",
        pairs=[
            (b"", b"", SAME),
            (b"", None, DIFFERS),
            (b"\0\xff", b"\0\xff", SAME),
            (b"\0\xff", b"\0\xfe", DIFFERS),
            (b"a", b"A", DIFFERS),
        ],
    ),
    Case(
        name="uuid",
        source="uuid",
        target="uuid",
        pairs=[(NIGHT, NIGHT, SAME), (NIGHT, UUID(int=NIGHT.int + 1), DIFFERS), (None, NIGHT, DIFFERS)],
    ),
    Case(
        name="date",
        source="date",
        target="date",
        pairs=[
            (date(2026, 2, 28), date(2026, 2, 28), SAME),
            (date(2026, 2, 28), date(2026, 3, 1), DIFFERS),
            (date(1, 1, 1), date(9999, 12, 31), DIFFERS),
            (None, date(1970, 1, 1), DIFFERS),
        ],
    ),
    Case(
        name="time",
        source="time",
        target="time",
        pairs=[
            (time(0, 0), time(0, 0), SAME),
            (time(0, 0), None, DIFFERS),
            (time(23, 59, 59, 999999), time(23, 59, 59, 999998), DIFFERS),
        ],
    ),
    Case(
        name="timestamp",
        source="timestamp",
        target="timestamp",
        pairs=[
            (NOON, NOON, SAME),
            (NOON, NOON + timedelta(microseconds=1), DIFFERS),
            (NOON, NOON + timedelta(hours=1), DIFFERS),
            (datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(1969, 12, 31, 23, 59, 59, 999999), SAME),
            (None, datetime(1970, 1, 1), DIFFERS),
        ],
    ),
    Case(
        name="instant",
        source="instant",
        target="instant",
        pairs=[
            (NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=UTC), SAME),
            (NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=UTC) + timedelta(microseconds=1), DIFFERS),
            (NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=timezone(timedelta(hours=1))), DIFFERS),
        ],
    ),
]
#: Row ids of one case are ROWS_A_CASE apart from the next one's.
ROWS_A_CASE = 100


@pytest.mark.parametrize("repairable", [True, False], ids=["repairable", "not all can be written"])
@pytest.mark.every_pairing
def test_equal_is_equal_and_different_is_different(world: World, repairable: bool) -> None:
    """A column a case and a row a pair, NULL elsewhere: a row that differs does so for its own pair only."""
    engines = {world.source.engine, world.target.engine}
    held = [case for case in CASES if (not case.only or engines <= case.only) and not engines & case.not_in]
    cases = [case for case in held if case.repairable is repairable]
    pairs = {at * ROWS_A_CASE + n: (case, n) for at, case in enumerate(cases) for n in range(len(case.pairs))}
    for side, place, table in ((0, world.source, "src"), (1, world.target, "dst")):
        columns = [f"c{at} {{{(case.source, case.target)[side]}}}" for at, case in enumerate(cases)]
        rows = [
            (row, *(case.pairs[n][side] if other is case else None for other in cases))
            for row, (case, n) in pairs.items()
        ]
        place.table(table, f"id {{integer}} PRIMARY KEY NOT NULL, {', '.join(columns)}", rows)

    different = sorted(row for row, (case, n) in pairs.items() if not case.pairs[n][2])
    app = world.app()
    report = app.check("p", rows=0)
    assert [words(pairs[row["key"]["id"]]) for row in by_id(report.drift)] == [words(pairs[row]) for row in different]
    assert (report.verdict, report.different, report.drifted) == (Verdict.DRIFT, len(different), len(different))
    by_column = Counter(f"c{row // ROWS_A_CASE}" for row in different)
    assert report.different_by_column == by_column
    # Looked at by key, the answer is the same.
    by_key = app.check("p", keys=[{"id": row} for row in pairs], rows=0)
    assert [words(pairs[row["key"]["id"]]) for row in by_id(by_key.drift)] == [words(pairs[row]) for row in different]
    if repairable:
        repaired = app.run("p")
        assert (repaired.verdict, repaired.repaired, repaired.left) == (Verdict.REPAIRED, len(different), 0)
        assert app.check("p").verdict is Verdict.IN_SYNC


def by_id(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["key"]["id"])


def words(pair: tuple[Case, int]) -> str:
    case, n = pair
    return f"{case}: {case.pairs[n][0]!r:.60} and {case.pairs[n][1]!r:.60}"


def test_a_value_that_the_target_cannot_hold_is_left_with_evidence(world: World) -> None:
    """Never rounded in silence: 2**53 + 1 has no float."""
    world.source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(1, 2**53 + 1), (2, 6)])
    world.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {float}", [(1, 2.0**53), (2, 5.0)])
    app = world.app()
    report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 1, 1)
    assert world.target.rows("dst") == {(1, 2.0**53), (2, 6.0)}
    (failed,) = [o for o in app.outcomes(report.run) if o.outcome == "failed"]
    assert (failed.key, "without loss" in failed.evidence) == ((1,), True)
