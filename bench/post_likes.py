"""Like counters: 20 million likes, 200,000 counters, 0.1 % wrong; `trueup check` and `run` beside a hand-written join.

    python bench/post_likes.py                                   # the full size, all indexes
    python bench/post_likes.py --edges 1000000 --posts 10000     # a twentieth

In each round the drift is planted anew, then come, one after the other: the hand-written FULL OUTER JOIN fetched by
psycopg, `trueup check`, `trueup run`. So all three see the same rows, the same caches and the same machine. Each opens
its own connections. Everything that Trueup answers is held against the list of what was planted.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from _common import (
    Timed,
    at_least,
    finish,
    machine,
    median_cpu_s,
    median_s,
    on_this_machine,
    parser,
    require,
    say,
    scratch_database,
    table,
    time_limit,
    timed,
    to_exit_code,
)

from trueup import Database, Limits, Projection, Report, Side, Trueup, Verdict, Writers
from trueup.core.projection import Recurring

#: Share of the counters that hold a wrong number, that are missing, that belong to no post.
WRONG, MISSING, ORPHANED = 0.001, 0.0002, 0.0002
#: Least of each kind, so that small sizes still have some.
LEAST = 5
#: Seconds that one statement may take, ours and Trueup's.
STATEMENT_S = 1800

#: index variant -> statements that make it.
INDEXES = {
    "none": [],
    "key": ["CREATE INDEX post_likes_by ON post_likes (post_id)"],
    "covering": ["CREATE INDEX post_likes_by ON post_likes (post_id) INCLUDE (active)"],
}
#: index variant -> most that `trueup check` may take, as a multiple of the hand-written join.
CHECK_MAX = {"none": 1.3, "key": 1.3, "covering": 1.0}
#: Most that repairing may add, as a multiple of the hand-written join.
REPAIR_MAX = 0.3

RECOUNT = "SELECT post_id, count(*) AS likes FROM post_likes WHERE active GROUP BY post_id"
HAND_WRITTEN = f"""
    SELECT coalesce(s.post_id, t.post_id), s.likes, t.likes
    FROM ({RECOUNT}) s FULL OUTER JOIN post_like_counts t ON t.post_id = s.post_id
    WHERE s.likes IS DISTINCT FROM t.likes"""

#: Ranks are Zipf-distributed (the inverse of its distribution function, exponent 1) and then spread over the ids.
_FILL = """
    INSERT INTO post_likes
    SELECT g, 1 + (random() * 1000000)::int,
           (1 + (floor(exp(random() * ln(%(posts)s::float8 + 1)))::bigint - 1) * 1000003 %% %(posts)s)::int,
           random() < 0.9
    FROM generate_series(1, %(edges)s::bigint) g"""

#: (kind, expected, observed) by post: what Trueup has to find, no more and no less.
Planted = dict[int, tuple[str, int | None, int | None]]


@dataclass(kw_only=True, slots=True)
class Costs:
    """What each way cost under one index, a figure a round."""

    hand_written: list[Timed] = field(default_factory=list)
    check: list[Timed] = field(default_factory=list)
    run: list[Timed] = field(default_factory=list)
    strategy: str = ""
    #: Reading one post at a time, over all posts, seconds; extrapolated from a sample, None: not measured.
    row_at_a_time_s: float | None = None

    def ratios(self) -> dict[str, float]:
        """Multiples of the hand-written join; medians."""
        base = median_s(self.hand_written)
        check, run = median_s(self.check), median_s(self.run)
        return {"check": check / base, "repair": (run - check) / base}


# --- data ------------------------------------------------------------------------------------------------------------


def fill(db: psycopg.Connection[Any], *, edges: int, posts: int, seed: int) -> None:
    """Make both tables, right. A database that this script filled before with the same figures is taken as it is."""
    signature = f"edges={edges} posts={posts} seed={seed}, counted once"
    (exists,) = db.execute("SELECT to_regclass('post_likes') IS NOT NULL").fetchone() or (False,)
    if exists:
        (made,) = db.execute("SELECT obj_description('post_likes'::regclass)").fetchone() or (None,)
        require(made == signature, f"--database has a post_likes already, and it is not ours ({made!r}, {signature!r})")
        say("taking the tables that are there")
        return
    say(f"making {edges:,} likes on {posts:,} posts")
    with db.transaction():
        db.execute("SELECT setseed(%s)", (1 / (seed + 1),))
        db.execute(
            "CREATE UNLOGGED TABLE post_likes (id bigint, user_id int, post_id int NOT NULL, active bool NOT NULL)"
        )
        db.execute("ALTER TABLE post_likes SET (autovacuum_enabled = off)")  # it would start in the middle of a round
        db.execute(_FILL, {"edges": edges, "posts": posts}, prepare=False)
        db.execute("CREATE TABLE post_like_counts (post_id int PRIMARY KEY, likes bigint NOT NULL)")
        db.execute("ALTER TABLE post_like_counts SET (autovacuum_enabled = off)")
        db.execute(f"CREATE TABLE counted AS {RECOUNT} ORDER BY post_id")
        db.execute("INSERT INTO post_like_counts SELECT post_id, likes FROM counted")
        db.execute(f"COMMENT ON TABLE post_likes IS '{signature}'")
    db.execute("VACUUM (ANALYZE) post_likes")
    db.execute("VACUUM (ANALYZE) post_like_counts")


def drift_of(db: psycopg.Connection[Any], *, posts: int, seed: int) -> Planted:
    """Choose what will be wrong: the post with the most likes and others at random; the tables stay as they are."""
    right: dict[int, int] = dict(db.execute("SELECT post_id, likes FROM counted ORDER BY post_id").fetchall())
    chance = random.Random(seed)
    wrong, missing, orphaned = (max(round(posts * share), LEAST) for share in (WRONG, MISSING, ORPHANED))
    hottest = max(right, key=lambda post: right[post])
    others = chance.sample([post for post in right if post != hottest], wrong - 1 + missing)
    planted: Planted = {}
    for post in (hottest, *others[: wrong - 1]):
        off = right[post] + chance.choice([-3, -2, -1, 1, 2, 7, 1000])
        planted[post] = ("different", right[post], max(off, 0) if off != right[post] else off + 1)
    planted |= {post: ("missing", right[post], None) for post in others[wrong - 1 :]}
    planted |= {posts + 1 + at * 7: ("extra", None, chance.randint(1, 50)) for at in range(orphaned)}
    return planted


def plant(db: psycopg.Connection[Any], planted: Planted) -> None:
    """Make the planted rows wrong again. Everything has to be right before."""
    require(still_wrong(db) == 0, "counters were wrong before anything was planted")
    with db.transaction(), db.cursor() as cursor:
        for post, (kind, _, observed) in planted.items():
            if kind == "different":
                cursor.execute("UPDATE post_like_counts SET likes = %s WHERE post_id = %s", (observed, post))
            elif kind == "missing":
                cursor.execute("DELETE FROM post_like_counts WHERE post_id = %s", (post,))
            else:
                cursor.execute("INSERT INTO post_like_counts VALUES (%s, %s)", (post, observed))
    db.execute("VACUUM (ANALYZE) post_like_counts")


def still_wrong(db: psycopg.Connection[Any]) -> int:
    """Counters that are wrong now. No like is ever changed here, so they were counted once, when they were made."""
    counts, right = "SELECT post_id, likes FROM post_like_counts", "SELECT post_id, likes FROM counted"
    (wrong,) = db.execute(
        f"SELECT count(*) FROM ((({right}) EXCEPT {counts}) UNION (({counts}) EXCEPT ({right}))) AS w"
    ).fetchone() or (-1,)
    return int(wrong)


# --- the three ways --------------------------------------------------------------------------------------------------


def hand_written(url: str) -> Planted:
    """What somebody would write, with the server's own settings."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(HAND_WRITTEN).fetchall()
    return {post: (_kind(expected, observed), expected, observed) for post, expected, observed in rows}


def _kind(expected: int | None, observed: int | None) -> str:
    return "missing" if observed is None else "extra" if expected is None else "different"


@contextmanager
def engine(url: str, folder: str) -> Iterator[Trueup]:
    """What the command line makes of a configuration; connections are opened when they are needed."""
    projection = Projection(
        name="post_like_counts",
        source=Side(database="app", query=RECOUNT),
        target=Side(database="app", table="post_like_counts"),
        key=("post_id",),
        writers=Writers.SAME_TRANSACTION,
        on_extra="delete",
        limits=Limits(rows=100_000, deletes=10_000),
        recurring=Recurring(times=99),  # each round makes the same rows wrong; that costs what the default does
    )
    database = Database.model_validate({"url": url, "statement_timeout": STATEMENT_S})
    app = Trueup(databases={"app": database}, projections=[projection], ledger=f"sqlite:///{folder}/ledger.db")
    with app:
        yield app


def trueup_check(url: str, folder: str) -> Report:
    with engine(url, folder) as app:
        return app.check("post_like_counts", rows=0)


def trueup_run(url: str, folder: str) -> Report:
    with engine(url, folder) as app:
        return app.run("post_like_counts", rows=0)


def found(report: Report) -> Planted:
    """A report's rows in the form of the planted list."""
    return {
        row["key"]["post_id"]: (row["kind"], (row["expected"] or {}).get("likes"), (row["observed"] or {}).get("likes"))
        for row in report.drift
    }


def row_at_a_time_s(url: str, posts: int, *, sample: int = 300) -> float:
    """Seconds to count every post by a query of its own, from `sample` posts spread over the ids."""
    with psycopg.connect(url) as connection:
        chosen = [1 + at * posts // sample for at in range(sample)]
        count = "SELECT count(*) FROM post_likes WHERE post_id = %s AND active"
        _, cost = timed(lambda: [connection.execute(count, (post,)).fetchone() for post in chosen])
    return cost.wall_s * posts / sample


# --- rounds ----------------------------------------------------------------------------------------------------------


def one_round(db: psycopg.Connection[Any], url: str, folder: str, planted: Planted, costs: Costs) -> None:
    """Plant, then each way once; raises WrongError if an answer is not exactly what was planted."""
    plant(db, planted)
    by_hand, cost = timed(lambda: hand_written(url))
    costs.hand_written.append(cost)
    require(by_hand == planted, "the hand-written join did not find what was planted: the benchmark is wrong")

    report, cost = timed(lambda: trueup_check(url, folder))
    costs.check.append(cost)
    costs.strategy = report.strategy
    require(report.verdict is Verdict.DRIFT, f"check says {report.verdict}: {report.reason}")
    require(found(report) == planted, _difference(found(report), planted))

    report, cost = timed(lambda: trueup_run(url, folder))
    costs.run.append(cost)
    require(report.verdict is Verdict.REPAIRED, f"run says {report.verdict}: {report.reason}")
    require(found(report) == planted, _difference(found(report), planted))
    require(report.repaired == len(planted), f"run repaired {report.repaired} of {len(planted)}")
    wrong = still_wrong(db)
    require(wrong == 0, f"{wrong} counters are still wrong after the run")


def _difference(answer: Planted, planted: Planted) -> str:
    lost = {key: planted[key] for key in planted if answer.get(key) != planted[key]}
    made_up = {key: answer[key] for key in answer if key not in planted}
    return f"not what was planted: {len(lost)} lost or other ({list(lost.items())[:3]}), {len(made_up)} made up"


def measure(db: psycopg.Connection[Any], url: str, index: str, planted: Planted, *, repeat: int, posts: int) -> Costs:
    """All rounds under one index; a first round warms caches and imports and is thrown away."""
    say(f"index {index}: building")
    db.execute("DROP INDEX IF EXISTS post_likes_by")
    for statement in INDEXES[index]:
        db.execute(statement)
    db.execute("VACUUM (ANALYZE) post_likes")
    costs = Costs()
    with tempfile.TemporaryDirectory(prefix="trueup-bench-") as folder:
        for at in range(repeat + 1):
            say(f"index {index}: round {at} of {repeat}" + ("" if at else " (warming up)"))
            one_round(db, url, folder, planted, Costs() if at == 0 else costs)
    last = hand_written(url)
    require(not last, f"{len(last)} counters are wrong at the end")
    if index != "none":
        costs.row_at_a_time_s = row_at_a_time_s(url, posts)
    return costs


def start_up_s(url: str) -> float:
    """Wall time of the command `trueup check` on a table of no rows: interpreter, imports, new ledger, connections."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("CREATE TABLE IF NOT EXISTS bench_nothing (id int PRIMARY KEY, v int)")
    with tempfile.TemporaryDirectory(prefix="trueup-bench-") as folder:
        Path(folder, "trueup.toml").write_text(
            f'[databases.app]\nurl = "{url}"\n[projections.nothing]\nkey = "id"\n'
            'source = { database = "app", table = "bench_nothing" }\n'
            'target = { database = "app", table = "bench_nothing" }\n',
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "trueup", "check"]
        costs = [
            timed(lambda: subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60))[1]
            for _ in range(4)
        ]
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("DROP TABLE bench_nothing")
    return median_s(costs[1:])


def report_table(found_costs: dict[str, Costs]) -> str:
    rows = []
    for index, costs in found_costs.items():
        ratio = costs.ratios()
        naive = costs.row_at_a_time_s
        rows.append(
            [
                index,
                median_s(costs.hand_written),
                median_s(costs.check),
                median_s(costs.run),
                f"{ratio['check']:.2f} (at most {CHECK_MAX[index]:.1f})",
                f"{ratio['repair']:.2f} (at most {REPAIR_MAX:.1f})",
                median_cpu_s(costs.check),
                "-" if naive is None else naive,
                costs.strategy,
            ]
        )
    headers = ["index", "by hand, s", "check, s", "run, s", "check / by hand", "(run - check) / by hand"]
    return table([*headers, "client CPU of check, s", "row at a time, s", "strategy"], rows)


def missed(found_costs: dict[str, Costs]) -> list[str]:
    """Targets that were not reached, in words."""
    words = []
    for index, costs in found_costs.items():
        ratio = costs.ratios()
        for what, most in (("check", CHECK_MAX[index]), ("repair", REPAIR_MAX)):
            if ratio[what] > most:
                words.append(f"index {index}: {what} takes {ratio[what]:.2f} of the hand-written join, target {most}")
    return words


def options() -> Any:
    made = parser(__doc__, minutes=180)
    made.add_argument("--edges", type=at_least(10_000), default=20_000_000, help="likes (default: %(default)s)")
    made.add_argument("--posts", type=at_least(100), default=200_000, help="posts (default: %(default)s)")
    made.add_argument("--repeat", type=at_least(1), default=3, help="rounds counted (default: %(default)s)")
    made.add_argument("--index", choices=[*INDEXES, "all"], default="all", help="index on the likes")
    made.add_argument("--database", metavar="URL", help="use this database and leave it, instead of a scratch one")
    made.add_argument("--keep", action="store_true", help="do not drop the scratch database")
    made.add_argument("--strict", action="store_true", help="a missed target is a failure too")
    return made.parse_args()


def benchmark(args: Any, url: str) -> tuple[dict[str, Costs], float, Counter[str]]:
    with psycopg.connect(on_this_machine(url), autocommit=True) as db:
        db.execute(f"SET statement_timeout = '{STATEMENT_S}s'")
        fill(db, edges=args.edges, posts=args.posts, seed=args.seed)
        planted = drift_of(db, posts=args.posts, seed=args.seed)
        variants = list(INDEXES) if args.index == "all" else [args.index]
        costs = {index: measure(db, url, index, planted, repeat=args.repeat, posts=args.posts) for index in variants}
    return costs, start_up_s(url), Counter(kind for kind, _, _ in planted.values())


def main() -> int:
    args = options()
    about = machine(args.url)
    with time_limit(args.minutes):
        if args.database:
            costs, start_s, planted = benchmark(args, args.database)
        else:
            with scratch_database(args.url, keep=args.keep) as url:
                costs, start_s, planted = benchmark(args, url)
    print(f"{args.edges:,} likes, {args.posts:,} posts, planted: {dict(planted)}; medians of {args.repeat}\n")
    print(report_table(costs))
    print(f"\nStarting the command (not in the figures above): {start_s:.2f} s")
    late = missed(costs)
    for words in late:
        print(f"target missed: {words}")
    figures = {
        "benchmark": "post_likes",
        "machine": about,
        "planted": dict(planted),
        "start_up_s": start_s,
        "variants": {index: asdict(cost) | {"ratios": cost.ratios()} for index, cost in costs.items()},
        "targets_missed": late,
    }
    return finish(args, figures, late if args.strict else [])


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
