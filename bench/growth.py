"""50 million rows a side: what a comparison of two PostgreSQL databases holds in memory, and whether it grows evenly.

    python bench/growth.py                      # 5 and 50 million rows
    python bench/growth.py --rows 1000000       # 100,000 and a million

Narrow rows, 1,000 differences planted in each size. Each comparison is a process of its own. Memory has to stay below
300 MB, time per row within 1.15 of that of a tenth, and the rows that become Python objects are counted: they are those
that differ, not the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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

#: Seconds that one statement may take.
STATEMENT_S = 1800
#: Most memory of the client, MB.
MEMORY_MAX_MB = 300
#: Most that a row may cost at the full size, as a multiple of what it costs at a tenth.
GROWTH_MAX = 1.15
#: Rows that differ.
PLANTED = 1_000

_FILL = """
    CREATE UNLOGGED TABLE t (id bigint PRIMARY KEY, v int NOT NULL) WITH (autovacuum_enabled = off);
    INSERT INTO t SELECT g, (g * 7919 % 1000003)::int FROM generate_series(1, {rows}::bigint) g;
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """One comparison."""

    rows: int
    wall_s: float
    client_cpu_s: float
    peak_mb: float
    #: Rows that became Python objects, of both sides.
    objects: int
    found: int

    @property
    def us_per_row(self) -> float:
        return self.wall_s / self.rows * 1e6


def compare(task: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: compare, and count the rows that are read as such."""
    import trueup
    from trueup.adapters import _results

    whole, objects = _results.batch_of, 0

    def counting(rows: Any, *rest: Any, **named: Any) -> Any:
        nonlocal objects
        objects += len(rows)
        return whole(rows, *rest, **named)

    _results.batch_of = counting
    report, cost = timed(lambda: trueup.diff(f"{task['source']}#t", f"{task['target']}#t", key=["id"], rows=0))
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return asdict(cost) | {"peak_mb": peak_kb / 1024, "objects": objects, "found": len(report.drift)}


def measured(source: str, target: str, rows: int) -> Cost:
    task = json.dumps({"source": source, "target": target})
    done = subprocess.run(
        [sys.executable, __file__, "--measure", task], check=True, capture_output=True, text=True, timeout=STATEMENT_S
    )
    return Cost(rows=rows, **json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def two_tables(server: str, rows: int) -> Iterator[tuple[str, str]]:
    with scratch_database(server, suffix="_source") as source, scratch_database(server, suffix="_target") as target:
        for url in (source, target):
            say(f"making {rows:,} rows")
            with psycopg.connect(url, autocommit=True) as db:
                db.execute(f"SET statement_timeout = '{STATEMENT_S}s'")
                for statement in _FILL.format(rows=rows).split(";")[:-1]:
                    db.execute(statement.encode())
                if url == target:
                    db.execute("UPDATE t SET v = v + 1 WHERE id %% %s = 7", (rows // PLANTED,))
                db.execute("VACUUM (ANALYZE) t")
        yield source, target


def growth(server: str, rows: int, repeat: int) -> Iterator[tuple[Cost, list[Cost]]]:
    for size in (rows // 10, rows):
        with two_tables(server, size) as (source, target):
            costs = []
            for at in range(repeat + 1):
                say(f"{size:,} rows: " + (f"round {at} of {repeat}" if at else "warming up"))
                costs.append(measured(source, target, size))
                require(costs[-1].found == PLANTED, f"{costs[-1].found} differences found, {PLANTED} planted")
            rounds = sorted(costs[1:], key=lambda cost: cost.wall_s)
            yield rounds[len(rounds) // 2], rounds


def main() -> int:
    made = parser(__doc__, minutes=40)
    made.add_argument("--rows", type=at_least(100_000), default=50_000_000, help="rows a side (default: %(default)s)")
    made.add_argument("--repeat", type=at_least(1), default=3, help="rounds (default: %(default)s)")
    made.add_argument("--strict", action="store_true", help="a missed target is a failure")
    made.add_argument("--measure", help=argparse.SUPPRESS)
    args = made.parse_args()
    if args.measure:
        print(json.dumps(compare(json.loads(args.measure))))
        return 0
    about = machine(args.url)
    with time_limit(args.minutes):
        found = [*growth(args.url, args.rows, args.repeat)]
    (small, _), (large, _) = found
    headers = ["rows a side", "wall, s", "us a row", "client CPU, s", "peak memory, MB", "rows as objects", "found"]
    lines = [
        [c.rows, c.wall_s, c.us_per_row, c.client_cpu_s, round(max(x.peak_mb for x in all_)), c.objects, c.found]
        for c, all_ in found
    ]
    print(f"Two PostgreSQL databases; medians of {args.repeat}, memory the worst\n")
    print(table(headers, lines))
    ratio = large.us_per_row / small.us_per_row
    print(f"\nA row costs {ratio:.2f} of what it costs at a tenth of the size (at most {GROWTH_MAX})")
    peak = max(cost.peak_mb for _, costs in found for cost in costs)
    missed = [f"{peak:.0f} MB of memory, at most {MEMORY_MAX_MB}"] if peak >= MEMORY_MAX_MB else []
    missed += [f"a row costs {ratio:.2f} of what it costs at a tenth"] if ratio > GROWTH_MAX else []
    for problem in missed:
        say(f"target missed: {problem}")
    figures: dict[str, Any] = {"benchmark": "growth", "machine": about, "ratio": ratio, "missed": missed}
    figures["costs"] = [[asdict(cost) for cost in costs] for _, costs in found]
    return finish(args, figures, missed if args.strict else [])


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
