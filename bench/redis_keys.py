"""A million keys of Redis beside a table: time and memory of a check, and of a repair.

    python bench/redis_keys.py                   # the full size
    python bench/redis_keys.py --rows 50000      # a twentieth

The source is SQLite, the target a server that this script starts (redis-server, valkey-server, or a wheel):
strings, a hash a row, and one sorted set with all rows. 0.1 % of the rows are missing, too many or different. Each
measurement is a process of its own, because the peak of memory is a process's. Beside `trueup check` stands the floor:
redis-py scans the same keys, reads them in pages, and throws them away. Both have to name what was planted.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
from _common import at_least, finish, machine, parser, require, say, table, time_limit, timed, to_exit_code

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.servers import started_redis
from trueup import Limits, Projection, Side, Trueup

#: Most memory of the client, MB: it must not grow with the rows.
MEMORY_MAX_MB = 250
#: Share of the rows that is planted wrong.
WRONG = 0.001
SIDES: dict[str, dict[str, Any]] = {
    "strings": {"pattern": "post:{id}:likes"},
    "hashes": {"pattern": "post:{id}", "type": "hash"},
    "one sorted set": {"pattern": "top", "type": "sorted_set", "member": "id"},
}
PAGE = 1_000


@dataclass(frozen=True, kw_only=True)
class Line:
    layout: str
    way: str
    rows: int
    wall_s: float
    cpu_s: float
    #: Most memory the process ever held, MB.
    peak_mb: float


def planted(rows: int) -> dict[str, set[int]]:
    """What is wrong: every so many-th row."""
    third = max(int(rows * WRONG) // 3, 1)
    step = rows // (3 * third)
    return {
        "missing": {at * step for at in range(third)},
        "different": {at * step for at in range(third, 2 * third)},
        "extra": {rows + at for at in range(third)},
    }


def fill(client: redis.Redis, layout: str, rows: int) -> None:
    wrong = planted(rows)
    ids = [id_ for id_ in (*range(rows), *sorted(wrong["extra"])) if id_ not in wrong["missing"]]
    for at in range(0, len(ids), 10_000):
        pipe = client.pipeline(transaction=False)
        for id_ in ids[at : at + 10_000]:
            n = id_ * 3 + (id_ in wrong["different"])
            if layout == "strings":
                pipe.set(f"post:{id_}:likes", n)
            elif layout == "hashes":
                pipe.hset(f"post:{id_}", "n", n)
            else:
                pipe.zadd("top", {str(id_): n})
        pipe.execute()


def source(path: Path, rows: int) -> None:
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE posts (id INTEGER PRIMARY KEY, n BIGINT NOT NULL)")
        connection.executemany("INSERT INTO posts VALUES (?, ?)", ((id_, id_ * 3) for id_ in range(rows)))


def engine(folder: Path, url: str, layout: str) -> Trueup:
    return Trueup(
        databases={"app": f"sqlite:///{folder / 'app.db'}", "cache": url},
        projections=[
            Projection(
                name="likes",
                source=Side(database="app", table="posts"),
                target=Side(database="cache", **SIDES[layout]),
                key="id",
                writers="absolute",
                on_extra="delete",
                settle=0,
                limits=Limits(rows=10**9, deletes=10**9),
            )
        ],
        ledger=f"sqlite:///{folder / f'{layout}.ledger'}",
    )


def floor(url: str, layout: str) -> int:
    """The same keys, read and thrown away."""
    client = redis.Redis.from_url(url, socket_timeout=600)
    if layout == "one sorted set":
        return sum(1 for _ in client.zscan_iter("top", count=PAGE))
    rows, cursor = 0, 0
    while True:
        cursor, names = client.scan(cursor, match="post:*", count=PAGE)
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.get(name) if layout == "strings" else pipe.hmget(name, "n")
        rows += len(pipe.execute()) if names else 0
        if cursor == 0:
            return rows


def child(way: str, layout: str, folder: Path, url: str, rows: int) -> int:
    """One measurement, told as JSON."""
    wrong = planted(rows)

    def work() -> int:
        if way == "floor":
            return floor(url, layout)
        with engine(folder, url, layout) as app:
            report = app.check("likes", rows=0) if way == "check" else app.run("likes", rows=1)
        if way == "check":
            found = {kind: {r["key"]["id"] for r in report.drift if r["kind"] == kind} for kind in wrong}
            require(found == wrong, f"{layout}: {way} found { ({k: len(v) for k, v in found.items()}) }")
        else:
            require(report.repaired == sum(map(len, wrong.values())), f"{layout}: {report.repaired} repaired")
        return report.target_rows

    seen, cost = timed(work)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = Line(layout=layout, way=way, rows=seen, wall_s=cost.wall_s, cpu_s=cost.client_cpu_s, peak_mb=peak_mb)
    print(json.dumps(asdict(line)))
    return 0


def measured(folder: Path, url: str, rows: int, repeat: int, layouts: list[str]) -> Iterator[Line]:
    for layout in layouts:
        with redis.Redis.from_url(url, socket_timeout=600) as client:
            client.flushdb(asynchronous=True)
            fill(client, layout, rows)
        say(f"{layout}: filled")
        for way in [*(["floor", "check"] * repeat), "run"]:
            asked = [way, layout, str(folder), url, str(rows)]
            done = subprocess.run([sys.executable, __file__, "--child", *asked], check=False, capture_output=True)
            require(done.returncode == 0, done.stderr.decode()[-500:])
            yield Line(**json.loads(done.stdout))


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        way, layout, folder, url, rows = sys.argv[2:]
        return child(way, layout, Path(folder), url, int(rows))
    made = parser(__doc__, minutes=20)
    made.add_argument("--rows", type=at_least(3_000), default=1_000_000, help="rows a side (default: %(default)s)")
    made.add_argument("--layouts", nargs="+", choices=list(SIDES), default=list(SIDES), help="only these")
    made.add_argument("--repeat", type=at_least(1), default=1, help="rounds (default: %(default)s)")
    args = made.parse_args()
    about = machine(None)
    with time_limit(args.minutes), tempfile.TemporaryDirectory(prefix="trueup-bench-") as name:
        folder = Path(name)
        source(folder / "app.db", args.rows)
        with started_redis(folder) as server:
            lines = list(measured(folder, server.url, args.rows, args.repeat, args.layouts))
    print(f"{args.rows:,} rows; {WRONG:.1%} wrong\n")
    headers = ["layout", "way", "keys or members", "wall, s", "client CPU, s", "peak memory, MB"]
    print(table(headers, [[x.layout, x.way, x.rows, x.wall_s, x.cpu_s, round(x.peak_mb)] for x in lines]))
    problems = [
        f"{x.layout}, {x.way}: the client held {x.peak_mb:.0f} MB, at most {MEMORY_MAX_MB} are promised"
        for x in lines
        if x.peak_mb > MEMORY_MAX_MB
    ]
    figures = {"benchmark": "redis_keys", "machine": about, "lines": [asdict(line) for line in lines]}
    return finish(args, figures, problems)


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
