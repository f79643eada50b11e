"""Two databases: 5 million rows x 6 columns, PostgreSQL to PostgreSQL and SQLite to SQLite; time and memory.

    python bench/two_databases.py                      # the full size
    python bench/two_databases.py --rows 250000        # a twentieth

The target gets 0, then 0.01 %, then 1 % scattered differences (three quarters other values, one quarter missing and
extra rows). Each measurement is a process of its own, because the peak of memory is a process's. Beside `trueup check`
runs what somebody would write: two ordered cursors, compared row by row in Python.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from _common import (
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

from trueup import Database, Projection, Side, Trueup

#: Shares of rows that differ, each including those before it.
SHARES = (0.0, 0.0001, 0.01)
#: The client may hold so much, whatever the number of rows, MB.
MEMORY_MAX_MB = 300
#: Seconds that one statement, or one measurement, may take.
STATEMENT_S = 1800

COLUMNS = ("a", "n", "ts", "s", "b")
#: The same rows in both databases: only id decides.
_POSTGRES = """
    CREATE UNLOGGED TABLE t (id bigint PRIMARY KEY, a int NOT NULL, n numeric(12,2), ts timestamptz, s text, b bool);
    INSERT INTO t SELECT g, (g * 7919 % 1000003)::int, (g * 104729 % 100000000)::numeric / 100,
        timestamptz '2024-01-01 00:00:00+00' + g * interval '1.000137 s',
        CASE WHEN g % 50 = 0 THEN NULL ELSE 'note ' || md5(g::text) END, g % 3 = 0
    FROM generate_series(2, 2 * {rows}::bigint, 2) g;
"""
#: Amounts are text there: SQLite has no exact decimals.
_SQLITE = """
    CREATE TABLE t (id INTEGER PRIMARY KEY, a INT NOT NULL, n TEXT, ts TEXT, s TEXT, b BOOL);
    WITH RECURSIVE g(g) AS (SELECT 2 UNION ALL SELECT g + 2 FROM g WHERE g < 2 * {rows})
    INSERT INTO t SELECT g, g * 7919 % 1000003, printf('%d.%02d', g * 104729 % 100000000 / 100, g * 104729 % 100),
        strftime('%Y-%m-%d %H:%M:%S', 1704067200 + g, 'unixepoch') || printf('.%06d+00:00', g * 137 % 1000000),
        CASE WHEN g % 50 = 0 THEN NULL ELSE printf('note %032x', g * 2654435761) END, g % 3 = 0
    FROM g;
"""

#: kind by id.
Planted = dict[int, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one measuring process found, and what it cost."""

    #: kind by id; None where only the number is of interest.
    found: dict[int, str]
    #: Rows read, both sides together.
    rows: int
    wall_s: float
    client_cpu_s: float
    #: Most memory the process ever held, MB.
    peak_mb: float


# --- data ------------------------------------------------------------------------------------------------------------


def drift_of(rows: int, share: float, seed: int) -> Planted:
    """Which ids differ. A larger share includes the smaller ones; ids of the table are even, extra ones odd."""
    count = round(rows * share)
    ids = random.Random(seed).sample(range(1, rows + 1), round(rows * max(SHARES)))[:count]
    kinds = ("different", "different", "different", "missing", "different", "different", "different", "extra")
    return {2 * at + (kinds[n % 8] == "extra"): kinds[n % 8] for n, at in enumerate(ids)}


def edits(planted: Planted, *, mark: str) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Statements that make the target differ, with their parameters; `mark` is the driver's placeholder."""
    by_kind: dict[str, list[int]] = {}
    for key, kind in planted.items():
        by_kind.setdefault(kind, []).append(key)
    different = by_kind.get("different", [])
    changes = ("a = a + 1", "s = coalesce(s, '') || '.'", "b = NOT b", "n = NULL")
    for at, change in enumerate(changes):
        yield f"UPDATE t SET {change} WHERE id = {mark}", [(key,) for key in different[at :: len(changes)]]
    yield f"DELETE FROM t WHERE id = {mark}", [(key,) for key in by_kind.get("missing", [])]
    yield f"INSERT INTO t (id, a) VALUES ({mark}, 0)", [(key,) for key in by_kind.get("extra", [])]


@dataclass(frozen=True, kw_only=True, slots=True)
class Two:
    """Two databases of one kind."""

    name: str
    source: str
    target: str

    def edit(self, planted: Planted) -> None:
        """Plant differences in the target."""
        if self.name == "sqlite":
            with closing(sqlite3.connect(_path(self.target))) as db, db:
                for statement, parameters in edits(planted, mark="?"):
                    db.executemany(statement, parameters)
            return
        with psycopg.connect(self.target) as db, db.cursor() as cursor:
            for statement, parameters in edits(planted, mark="%s"):
                if parameters:
                    cursor.executemany(statement, parameters)
        with psycopg.connect(self.target, autocommit=True) as db:
            db.execute("VACUUM (ANALYZE) t")


def _path(url: str) -> str:
    return url.removeprefix("sqlite:///")


@contextmanager
def postgres(server: str, rows: int) -> Iterator[Two]:
    with ExitStack() as stack:
        urls = [stack.enter_context(scratch_database(server, suffix=f"_{side}")) for side in ("source", "target")]
        for url in urls:
            say(f"postgresql: making {rows:,} rows")
            with psycopg.connect(url, autocommit=True) as db:
                db.execute(f"SET statement_timeout = '{STATEMENT_S}s'")
                db.execute(_POSTGRES.format(rows=rows))
                db.execute("VACUUM (ANALYZE) t")
        yield Two(name="postgresql", source=urls[0], target=urls[1])


@contextmanager
def sqlite(rows: int) -> Iterator[Two]:
    with tempfile.TemporaryDirectory(prefix="trueup-bench-") as folder:
        source, target = Path(folder, "source.db"), Path(folder, "target.db")
        say(f"sqlite: making {rows:,} rows")
        with closing(sqlite3.connect(source)) as db:
            db.execute("PRAGMA synchronous=OFF")
            db.executescript(_SQLITE.format(rows=rows))
        shutil.copyfile(source, target)
        yield Two(name="sqlite", source=f"sqlite:///{source}", target=f"sqlite:///{target}")


# --- the two ways, each in a process of its own -----------------------------------------------------------------------


def trueup_check(two: Two) -> tuple[Planted, int]:
    databases = {
        side: Database.model_validate({"url": url, "statement_timeout": STATEMENT_S})
        for side, url in (("source", two.source), ("target", two.target))
    }
    projection = Projection(
        name="t",
        source=Side(database="source", table="t"),
        target=Side(database="target", table="t"),
        key=("id",),
        columns=COLUMNS,
        settle=0,  # waiting is not work
    )
    with tempfile.TemporaryDirectory(prefix="trueup-bench-") as folder:
        ledger = f"sqlite:///{folder}/ledger.db"
        with Trueup(databases=databases, projections=[projection], ledger=ledger) as app:
            report = app.check("t", rows=0)
    require(str(report.verdict) in ("drift", "in_sync"), f"check says {report.verdict}: {report.reason}")
    found = {row["key"]["id"]: row["kind"] for row in report.drift}
    require(len(found) == report.drifted, f"{report.drifted} differences, {len(found)} listed")
    return found, report.source_rows + report.target_rows


@contextmanager
def _ordered(url: str) -> Iterator[Iterator[tuple[Any, ...]]]:
    read = f"SELECT id, {', '.join(COLUMNS)} FROM t ORDER BY id"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(f"file:{_path(url)}?mode=ro", uri=True)) as db:
            yield iter(db.execute(read))
        return
    with psycopg.connect(url) as db, db.cursor("rows") as cursor:
        cursor.itersize = 10_000
        cursor.execute(read)
        yield iter(cursor)


def by_hand(two: Two) -> tuple[Planted, int]:
    """Two ordered cursors and a merge."""
    found: Planted = {}
    rows = 0
    with _ordered(two.source) as source, _ordered(two.target) as target:
        a, b = next(source, None), next(target, None)
        while a is not None or b is not None:
            rows += 1
            if b is None or (a is not None and a[0] < b[0]):
                found[a[0]] = "missing"  # type: ignore[index]  # one of the two is there
                a = next(source, None)
            elif a is None or b[0] < a[0]:
                found[b[0]] = "extra"
                b = next(target, None)
            else:
                rows += 1
                if a != b:
                    found[a[0]] = "different"
                a, b = next(source, None), next(target, None)
    return found, rows


WAYS = {"by hand": by_hand, "trueup check": trueup_check}


def child(way: str, two: Two) -> int:
    """Measure in this process, and answer on stdout."""
    (found, rows), cost = timed(lambda: WAYS[way](two))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer = Answer(found=found, rows=rows, peak_mb=peak_mb, **asdict(cost))
    print(json.dumps(asdict(answer)))
    return 0


def measure(way: str, two: Two) -> Answer:
    """Run one way in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps({"way": way, "two": asdict(two)})]
    done = subprocess.run(command, capture_output=True, text=True, timeout=STATEMENT_S, check=False)
    require(done.returncode == 0, f"{way} on {two.name}: {done.stderr.strip()[-1500:]}")
    told = json.loads(done.stdout)
    return Answer(**told | {"found": {int(key): kind for key, kind in told["found"].items()}})


# --- rounds ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One way, one pair of databases, one share of differences; medians."""

    databases: str
    share: float
    way: str
    wall_s: float
    rows_per_s: float
    client_cpu_s: float
    peak_mb: float
    differences: dict[str, int]


def compare(two: Two, *, rows: int, repeat: int, seed: int) -> Iterator[Line]:
    """All shares, both ways by turns."""
    planted: Planted = {}
    for share in SHARES:
        wanted = drift_of(rows, share, seed)
        two.edit({key: kind for key, kind in wanted.items() if key not in planted})
        planted = wanted
        answers: dict[str, list[Answer]] = {way: [] for way in WAYS}
        for at in range(repeat):
            for way in WAYS:
                say(f"{two.name}, {share:.2%} differ: {way}, round {at + 1} of {repeat}")
                answer = measure(way, two)
                require(answer.found == planted, _other(f"{way} on {two.name}", answer.found, planted))
                answers[way].append(answer)
        for way, got in answers.items():
            yield _line(two, share, way, got, planted)


def _other(who: str, found: Planted, planted: Planted) -> str:
    lost = [key for key, kind in planted.items() if found.get(key) != kind]
    made_up = [key for key in found if key not in planted]
    return f"{who} did not find what was planted: {len(lost)} lost {lost[:3]}, {len(made_up)} made up {made_up[:3]}"


def _line(two: Two, share: float, way: str, answers: Sequence[Answer], planted: Planted) -> Line:
    wall_s = statistics.median(answer.wall_s for answer in answers)
    return Line(
        databases=two.name,
        share=share,
        way=way,
        wall_s=wall_s,
        rows_per_s=answers[0].rows / wall_s,
        client_cpu_s=statistics.median(answer.client_cpu_s for answer in answers),
        peak_mb=max(answer.peak_mb for answer in answers),
        differences=dict(Counter(planted.values())),
    )


def main() -> int:
    if len(sys.argv) == 3 and sys.argv[1] == "--child":
        asked = json.loads(sys.argv[2])
        return child(asked["way"], Two(**asked["two"]))
    made = parser(__doc__, minutes=120)
    made.add_argument("--rows", type=at_least(10_000), default=5_000_000, help="rows a side (default: %(default)s)")
    made.add_argument("--repeat", type=at_least(1), default=3, help="rounds (default: %(default)s)")
    made.add_argument("--only", choices=["postgresql", "sqlite"], help="one kind of database")
    args = made.parse_args()
    about = machine(args.url if args.only != "sqlite" else None)
    lines: list[Line] = []
    with time_limit(args.minutes):
        for name in [args.only] if args.only else ["postgresql", "sqlite"]:
            with postgres(args.url, args.rows) if name == "postgresql" else sqlite(args.rows) as two:
                lines += compare(two, rows=args.rows, repeat=args.repeat, seed=args.seed)
    print(f"{args.rows:,} rows x 6 columns a side; medians of {args.repeat}, memory the worst of them\n")
    headers = ["databases", "differ", "way", "wall, s", "rows read / s", "client CPU, s", "peak memory, MB"]
    rows = [
        [x.databases, f"{x.share:.2%}", x.way, x.wall_s, round(x.rows_per_s), x.client_cpu_s, round(x.peak_mb)]
        for x in lines
    ]
    print(table(headers, rows))
    problems = [
        f"{x.databases}, {x.share:.2%} differ: the client held {x.peak_mb:.0f} MB, at most {MEMORY_MAX_MB} are promised"
        for x in lines
        if x.way == "trueup check" and x.peak_mb >= MEMORY_MAX_MB
    ]
    figures = {"benchmark": "two_databases", "machine": about, "lines": [asdict(line) for line in lines]}
    return finish(args, figures, problems)


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
