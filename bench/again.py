"""A check after one that read everything: 20 million rows, none changed and 0.1 % changed, with and without an index.

    python bench/again.py                      # the full size
    python bench/again.py --rows 500000        # a fortieth

PostgreSQL, two databases and one. Rows were changed through a year before, a second or so apart. Each incremental check
is put against the first one, which reads everything: at most 2 % of it where nothing changed, 5 % where 0.1 % did. That
is promised with an index on the column; without one the database reads the table for its marks, which is shown beside.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from _common import (
    Timed,
    at_least,
    finish,
    machine,
    parser,
    require,
    say,
    scratch_database,
    table,
    time_limit,
    timed,
    to_exit_code,
)

from trueup import Database, Projection, Report, Side, Trueup, Verdict

#: Seconds that one statement may take.
STATEMENT_S = 700
#: Share of rows that change between two checks.
CHANGED = 0.001
#: Most that an incremental check may cost, as a share of the first: nothing changed, some rows changed.
TARGETS = {"unchanged": 0.02, "0.1 % changed": 0.05}
#: When the last row was changed, long before the checks.
LAST = datetime(2024, 1, 1, tzinfo=UTC)
_YEAR_S = 365 * 86400

#: Ids in the order of changes, as in a table that mostly grows.
_FILL = """
    CREATE UNLOGGED TABLE {table} (id bigint PRIMARY KEY, a int NOT NULL, s text, updated_at timestamptz NOT NULL);
    INSERT INTO {table} SELECT g, (g * 7919 % 1000003)::int, 'note ' || g,
        timestamptz '{last}' - ({rows} - g) * interval '{step} s'
    FROM generate_series(1, {rows}::bigint) g;
"""
_TOUCH = "UPDATE {table} SET updated_at = %s WHERE id = ANY(%s)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One side: a table in a database."""

    url: str
    table: str

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute(f"SET statement_timeout = '{STATEMENT_S}s'")
            for statement in statements:
                db.execute(statement.format(table=self.table).encode())

    def fill(self, rows: int) -> None:
        say(f"{self.table}: making {rows:,} rows")
        self.execute(
            _FILL.format(table=self.table, rows=rows, last=LAST.isoformat(), step=_YEAR_S / rows),
            "VACUUM (ANALYZE) {table}",
        )

    def touch(self, ids: Sequence[int], at: datetime) -> None:
        """The application writes these rows, and says when."""
        with psycopg.connect(self.url) as db:
            db.execute(_TOUCH.format(table=self.table).encode(), (at, list(ids)))

    def spoil(self, key: int) -> None:
        """One of the changed rows is changed for the worse: what a check has to find."""
        self.execute(f"UPDATE {{table}} SET a = a + 1 WHERE id = {key}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One kind of check; medians."""

    where: str
    check: str
    index: bool
    wall_s: float
    client_cpu_s: float
    #: Of the first check's wall time.
    ratio: float
    #: Rows that were compared, both sides together.
    rows: int


class Checks:
    """The engine on a source and a target, with a ledger of its own."""

    def __init__(self, source: Place, target: Place, folder: str, moments: Iterator[datetime]) -> None:
        together = source.url == target.url
        names = ("source", "source") if together else ("source", "target")
        urls = dict(zip(names, (source.url, target.url), strict=True))
        databases = {
            name: Database.model_validate({"url": url, "statement_timeout": STATEMENT_S}) for name, url in urls.items()
        }
        mark = {"column": "updated_at"}
        projection = Projection.model_validate(
            {
                "name": "t",
                "source": Side(database=names[0], table=source.table),
                "target": Side(database=names[1], table=target.table),
                "key": ("id",),
                "columns": ("a", "s", "updated_at"),
                "settle": 0,  # waiting is not work
                "changes": {"source": mark, "target": mark},
            }
        )
        self.source, self.target = source, target
        self._moments = moments
        ledger = Path(folder, f"{source.table}-{together}.db")
        self.app = Trueup(databases=databases, projections=[projection], ledger=f"sqlite:///{ledger}")

    def later(self) -> datetime:
        """The next moment at which the application writes, beyond the overlap of the one before."""
        return next(self._moments)

    def check(self, found: int, *, everything: bool) -> tuple[Report, Timed]:
        """One check, held against what it has to find and to read."""
        report, cost = timed(lambda: self.app.check("t"))
        verdict = Verdict.DRIFT if found else Verdict.IN_SYNC
        require(report.verdict is verdict, f"check says {report.verdict}: {report.reason}; {report.strategy}")
        require(report.drifted == found, f"{report.drifted} rows differ, {found} were planted")
        require(("everything: " in report.strategy) is everything, report.strategy)
        return report, cost


def index(places: Sequence[Place], *, made: bool) -> None:
    """An index on the column that grows, or none."""
    for place in places:
        name = f"{place.table}_updated_at"
        wanted = f"CREATE INDEX {name} ON {{table}} (updated_at)" if made else f"DROP INDEX IF EXISTS {name}"
        place.execute(wanted)


def measure(where: str, checks: Checks, *, rows: int, repeat: int, seed: int) -> Iterator[Line]:
    """The first check, then those that follow: without the index, then with it."""
    say(f"{where}: the first check")
    report, first = checks.check(0, everything=True)
    yield _line(where, "first", [first], [report], first, indexed=False)
    some = random.Random(seed)
    planted = 0
    places = (checks.source, checks.target)
    for indexed in (False, True):
        index(places, made=indexed)
        for name in TARGETS:
            got: list[tuple[Report, Timed]] = []
            for at in range(repeat):
                say(f"{where}, {'with' if indexed else 'without'} the index, {name}, round {at + 1} of {repeat}")
                if name != "unchanged":
                    ids = some.sample(range(1, rows + 1), round(rows * CHANGED))
                    at_once = checks.later()
                    for place in places:
                        place.touch(ids, at_once)
                    checks.target.spoil(ids[0])
                    planted += 1
                got.append(checks.check(planted, everything=False))
            # A check that follows at once finds the changed rows within the overlap still: those cost once more.
            at_once = checks.later()
            for place in places:
                place.touch([1], at_once)
            checks.check(planted, everything=False)
            reports, costs = zip(*got, strict=True)
            yield _line(where, name, costs, reports, first, indexed=indexed)


def _line(
    where: str, check: str, costs: Sequence[Timed], reports: Sequence[Report], first: Timed, *, indexed: bool
) -> Line:
    wall_s = statistics.median(cost.wall_s for cost in costs)
    return Line(
        where=where,
        check=check,
        index=indexed,
        wall_s=wall_s,
        client_cpu_s=statistics.median(cost.client_cpu_s for cost in costs),
        ratio=wall_s / first.wall_s,
        rows=max(report.source_rows + report.target_rows for report in reports),
    )


@contextmanager
def two_tables(server: str, rows: int) -> Iterator[dict[str, tuple[Place, Place]]]:
    """A copy in the same database and one in another: filled once, and each source is measured with one target."""
    with ExitStack() as stack:
        here, there = (stack.enter_context(scratch_database(server, suffix=f"_{side}")) for side in ("a", "b"))
        source, beside = Place(url=here, table="src"), Place(url=here, table="dst")
        elsewhere = Place(url=there, table="dst")
        source.fill(rows)
        elsewhere.fill(rows)
        yield {"two databases": (source, elsewhere), "one database": (source, beside)}


def run(server: str, *, rows: int, repeat: int, seed: int) -> Iterator[Line]:
    with two_tables(server, rows) as places, tempfile.TemporaryDirectory(prefix="trueup-bench-") as folder:
        moments = (LAST + timedelta(hours=hours) for hours in count(1))
        for where, (source, target) in places.items():
            if where == "one database":
                say("one database: copying the source beside itself")
                target.execute("CREATE UNLOGGED TABLE {table} AS SELECT * FROM src ORDER BY id")
                target.execute("ALTER TABLE {table} ADD PRIMARY KEY (id)")
                index([source], made=False)
                for place in (source, target):
                    place.execute("VACUUM (ANALYZE) {table}")
            checks = Checks(source, target, folder, moments)
            with checks.app:
                yield from measure(where, checks, rows=rows, repeat=repeat, seed=seed)


def main() -> int:
    made = parser(__doc__, minutes=12)
    made.add_argument("--rows", type=at_least(100_000), default=20_000_000, help="rows a side (default: %(default)s)")
    made.add_argument("--repeat", type=at_least(1), default=1, help="rounds of each later check (default: %(default)s)")
    made.add_argument("--strict", action="store_true", help="a missed target is a failure")
    args = made.parse_args()
    about = machine(args.url)
    with time_limit(args.minutes):
        lines = [*run(args.url, rows=args.rows, repeat=args.repeat, seed=args.seed)]
    print(f"{args.rows:,} rows a side; medians of {args.repeat}\n")
    headers = ["where", "check", "index on the column", "wall, s", "of the first", "client CPU, s", "rows compared"]
    told = [
        [x.where, x.check, "yes" if x.index else "no", x.wall_s, f"{x.ratio:.1%}", x.client_cpu_s, x.rows]
        for x in lines
    ]
    print(table(headers, told))
    missed = [
        f"{x.where}, {x.check}: {x.ratio:.1%} of the first check, at most {TARGETS[x.check]:.0%} is the target"
        for x in lines
        if x.index and x.ratio > TARGETS[x.check]
    ]
    for problem in missed:
        say(f"target missed: {problem}")
    figures: dict[str, Any] = {"benchmark": "again", "machine": about, "lines": [asdict(line) for line in lines]}
    return finish(args, figures | {"missed": missed}, missed if args.strict else [])


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
