"""Repairing under load: 8 writers change hot counters while drift is planted and repaired, again and again.

    python bench/writers.py                     # three phases of 20 s
    python bench/writers.py --seconds 5         # a short look

Writers change a like and its counter in one transaction, so none of them changes a counter's drift (counter minus
recount): whatever a repair leaves or makes can be told from what was planted. Three phases, with writers of their own:

1. *alone*: writers only, to know what they reach when nobody repairs.
2. *trueup*: plant, `trueup run`, measure all drift in one snapshot; repeat. Promised: no repair is wrong, and at the
   end nothing drifts.
3. *naive*: the same with the repair that people write by hand: find what differs, then set it. The control: if this is
   not visibly wrong, the load was too light for phase 2 to prove anything, and that is a failure too.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier, Event
from typing import Any

import psycopg
from _common import (
    at_least,
    finish,
    machine,
    parser,
    percentile,
    require,
    say,
    scratch_database,
    table,
    time_limit,
    to_exit_code,
)
from _writers import FORK, JOIN_S, Drift, Repairs, crew

from trueup import Limits, Outcome, Projection, Report, Side, Trueup, Writers
from trueup.core.projection import Recurring

#: Likes on the hottest post before anybody writes; the others have Zipf's share of it.
HOTTEST = 2000
#: Share of the writers' transactions that add a like; the others take one away.
ADDING = 0.55
#: Most rounds of planting and repairing in one phase.
ROUNDS_MAX = 10_000
#: Runs that the engine gets at the end, with the writers still on, to settle what was too busy before.
LAST_RUNS_MAX = 10

SCHEMA = """
    CREATE TABLE post_likes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, post_id int NOT NULL);
    CREATE INDEX ON post_likes (post_id);
    CREATE TABLE post_like_counts (post_id int PRIMARY KEY, likes bigint NOT NULL);
    INSERT INTO post_likes (post_id)
        SELECT p FROM generate_series(1, {posts}) p, generate_series(1, greatest({hottest} / p, 5));
    INSERT INTO post_like_counts SELECT post_id, count(*) FROM post_likes GROUP BY post_id;
"""
RECOUNT = "SELECT post_id, count(*) AS likes FROM post_likes GROUP BY post_id"
#: Counter minus recount, of every post where that is not 0: one statement, one snapshot. No row counts as 0.
DRIFT = f"""
    SELECT post_id, coalesce(t.likes, 0) - coalesce(s.likes, 0)
    FROM ({RECOUNT}) s FULL OUTER JOIN post_like_counts t USING (post_id)
    WHERE coalesce(t.likes, 0) <> coalesce(s.likes, 0)"""
#: What the application does with a counter. It makes a row that is not there: so a missing row's drift stands still.
BUMP = """
    INSERT INTO post_like_counts AS c VALUES (%(post)s, %(by)s)
    ON CONFLICT (post_id) DO UPDATE SET likes = c.likes + %(by)s"""


# --- writers ---------------------------------------------------------------------------------------------------------


def write(number: int, ready: Barrier, stop: Event, url: str, posts: int, seed: int, answers: Any) -> None:
    """One writer, in a process of its own, until told to stop; answers with how long each transaction took, seconds."""
    chance = random.Random(seed * 1000 + number)
    weights = [1 / rank for rank in range(1, posts + 1)]
    mine: list[tuple[int, int]] = []
    took_s: list[float] = []
    with psycopg.connect(url) as db:
        ready.wait(JOIN_S)
        while not stop.is_set():
            began = time.perf_counter()
            if not mine or chance.random() < ADDING:
                (post,) = chance.choices(range(1, posts + 1), weights)
                row = db.execute("INSERT INTO post_likes (post_id) VALUES (%s) RETURNING id", (post,)).fetchone()
                mine.append((row[0] if row else 0, post))
                by = 1
            else:
                like, post = mine.pop(chance.randrange(len(mine)))
                db.execute("DELETE FROM post_likes WHERE id = %s", (like,))
                by = -1
            db.execute(BUMP, {"post": post, "by": by})
            db.commit()
            took_s.append(time.perf_counter() - began)
    answers.put(took_s)


@dataclass(kw_only=True, slots=True)
class Load:
    """What the writers of one phase reached."""

    seconds: float = 0.0
    #: How long each transaction took, seconds.
    took_s: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        return {
            "commits": len(self.took_s),
            "commits_per_s": len(self.took_s) / max(self.seconds, 1e-9),
            "p50_ms": 1000 * percentile(self.took_s, 0.50),
            "p99_ms": 1000 * percentile(self.took_s, 0.99),
            "max_ms": 1000 * max(self.took_s, default=0.0),
        }


@contextmanager
def writing(url: str, *, writers: int, posts: int, seed: int) -> Iterator[Load]:
    """Writers are at work inside the block; the figures are complete after it."""
    answers = FORK.Queue()
    load = Load()
    with crew(write, writers, url, posts, seed, answers) as stop:
        began = time.perf_counter()
        yield load
        load.seconds = time.perf_counter() - began
        stop.set()
        for _ in range(writers):
            load.took_s += answers.get(timeout=JOIN_S)


# --- drift -----------------------------------------------------------------------------------------------------------


def drift(db: psycopg.Connection[Any]) -> Drift:
    return dict(db.execute(DRIFT).fetchall())


def plant(db: psycopg.Connection[Any], chance: random.Random, posts: int) -> None:
    """Make some counters wrong, mostly hot ones: other numbers, a missing row, a counter of a post without likes."""
    hot = chance.choices(range(1, posts + 1), [1 / rank for rank in range(1, posts + 1)], k=5)
    for post in sorted(set(hot)):
        by = chance.choice([-3, -2, -1, 1, 2, 3])
        db.execute("UPDATE post_like_counts SET likes = likes + %s WHERE post_id = %s", (by, post))
    db.execute("DELETE FROM post_like_counts WHERE post_id = %s", (chance.randint(2, posts),))
    db.execute(BUMP, {"post": posts + chance.randint(1, posts), "by": chance.randint(1, 9)})


# --- the two repairs -------------------------------------------------------------------------------------------------

#: Repairs whatever drifts; answers how many rows it says it left alone, and what it says it did.
Repair = Callable[[], tuple[int, Counter[str]]]


@contextmanager
def by_trueup(url: str) -> Iterator[Repair]:
    projection = Projection(
        name="post_like_counts",
        source=Side(database="app", query=RECOUNT),
        target=Side(database="app", table="post_like_counts"),
        key=("post_id",),
        absent={"likes": 0},
        writers=Writers.SAME_TRANSACTION,
        limits=Limits(share=1.0, collapse=0.0),
        recurring=Recurring(times=0),  # the same hot rows are broken again and again here, on purpose
    )
    with tempfile.TemporaryDirectory(prefix="trueup-bench-") as folder:
        app = Trueup(databases={"app": url}, projections=[projection], ledger=f"sqlite:///{folder}/ledger.db")

        def repair() -> tuple[int, Counter[str]]:
            report: Report = app.run("post_like_counts", rows=0)
            require(report.verdict in ("in_sync", "repaired", "drift"), f"run says {report.verdict}: {report.reason}")
            outcomes = Counter(row.get("outcome", "none") for row in report.drift)
            return len(report.drift) - outcomes[Outcome.APPLIED], outcomes

        with app:
            app.check("post_like_counts")  # opens the connections and makes the ledger: not part of any repair
            yield repair


@contextmanager
def by_naive(url: str) -> Iterator[Repair]:
    """Find what differs in one statement, then set it: right only if nobody writes in between."""
    find = f"""
        SELECT post_id, coalesce(s.likes, 0) FROM ({RECOUNT}) s FULL OUTER JOIN post_like_counts t USING (post_id)
        WHERE coalesce(t.likes, 0) <> coalesce(s.likes, 0)"""
    with psycopg.connect(url, autocommit=True) as db:

        def repair() -> tuple[int, Counter[str]]:
            found = db.execute(find).fetchall()
            for post, likes in found:
                db.execute(
                    "INSERT INTO post_like_counts VALUES (%s, %s) ON CONFLICT (post_id) DO UPDATE SET likes = %s",
                    (post, likes, likes),
                )
            return 0, Counter(applied=len(found))

        yield repair


def phase(url: str, repair: Repair, *, seconds: float, posts: int, seed: int) -> Repairs:
    """Plant, repair, measure, again and again; at the end only repair, until nothing drifts (with the writers on)."""
    done, chance = Repairs(), random.Random(seed)
    with psycopg.connect(url, autocommit=True) as db:
        end = time.monotonic() + seconds
        while time.monotonic() < end and done.rounds < ROUNDS_MAX:
            plant(db, chance, posts)
            before = drift(db)
            began = time.perf_counter()
            reported, outcomes = repair()
            took_s = time.perf_counter() - began
            done.note(before, drift(db), took_s, reported)
            done.outcomes += outcomes
        for _ in range(LAST_RUNS_MAX):
            if not drift(db):
                break
            repair()
        done.left_at_end = len(drift(db))
    return done


# --- all of it -------------------------------------------------------------------------------------------------------


def benchmark(args: Any, url: str) -> tuple[dict[str, Load], dict[str, Repairs]]:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(SCHEMA.format(posts=args.posts, hottest=HOTTEST))
        db.execute("VACUUM (ANALYZE)")
    loads: dict[str, Load] = {}
    repairs: dict[str, Repairs] = {}
    for at, (name, repairing) in enumerate({"alone": None, "trueup": by_trueup, "naive": by_naive}.items()):
        say(f"{name}: {args.writers} writers, {args.seconds} s")
        with writing(url, writers=args.writers, posts=args.posts, seed=args.seed + at) as load:
            if repairing is None:
                time.sleep(args.seconds)
            else:
                with repairing(url) as repair:
                    repairs[name] = phase(url, repair, seconds=args.seconds, posts=args.posts, seed=args.seed)
        loads[name] = load
        if name == "trueup":
            with psycopg.connect(url) as db:
                after = drift(db)
            require(not after, f"{len(after)} counters drift after the writers ended: {list(after.items())[:5]}")
    return loads, repairs


def broken(repairs: dict[str, Repairs]) -> list[str]:
    """Promises that did not hold, in words."""
    ours, naive = repairs["trueup"], repairs["naive"]
    words = []
    if not ours.rounds or not ours.outcomes[Outcome.APPLIED]:
        words.append("Trueup repaired nothing: the benchmark proves nothing")
    if ours.rows_wrong:
        words.append(f"Trueup made or put {ours.rows_wrong} of {ours.rows} rows wrong, in {ours.rounds_wrong} rounds")
    if ours.rows_unreported:
        words.append(f"{ours.rows_unreported} rows drifted after a run that did not say so")
    if ours.left_at_end:
        words.append(f"{ours.left_at_end} counters still drift after {LAST_RUNS_MAX} more runs")
    if not naive.rows_wrong:
        words.append("the naive repair was never wrong: the load is too light to prove anything")
    return words


def show(loads: dict[str, Load], repairs: dict[str, Repairs]) -> Sequence[str]:
    writing_rows = []
    for name, load in loads.items():
        told = load.figures()
        writing_rows.append([name, *(round(told[x], 1) for x in ("commits_per_s", "p50_ms", "p99_ms", "max_ms"))])
    repair_rows = []
    for name, done in repairs.items():
        told = done.figures()
        wrong = f"{told['rows_wrong']} ({told['rows_wrong_share']:.1%})"
        repairs_wrong = f"{told['rounds_wrong']} ({told['rounds_wrong'] / max(told['rounds'], 1):.0%})"
        numbers = [told["rounds"], repairs_wrong, told["median_s"], told["rows"], wrong]
        numbers += [told["rows_left"], told["left_at_end"]]
        repair_rows.append([name, *numbers, ", ".join(f"{k} {v}" for k, v in told["outcomes"].items())])
    headers = ["repair", "repairs", "wrong", "median, s", "rows drifting", "wrong after it", "left for the next"]
    return [
        table(["phase", "commits / s", "p50, ms", "p99, ms", "longest, ms"], writing_rows),
        table([*headers, "at the end", "outcomes"], repair_rows),
    ]


def main() -> int:
    made = parser(__doc__, minutes=30)
    made.add_argument("--seconds", type=at_least(1), default=20, help="length of each phase (default: %(default)s)")
    made.add_argument("--writers", type=at_least(1), default=8, help="writing processes (default: %(default)s)")
    made.add_argument("--posts", type=at_least(20), default=200, help="posts (default: %(default)s)")
    args = made.parse_args()
    about = machine(args.url)
    with time_limit(args.minutes), scratch_database(args.url) as url:
        loads, repairs = benchmark(args, url)
    print(f"{args.writers} writers on {args.posts} posts, phases of {args.seconds} s\n")
    print("\n\n".join(show(loads, repairs)))
    figures = {
        "benchmark": "writers",
        "machine": about,
        "load": {name: load.figures() for name, load in loads.items()},
        "repairs": {name: done.figures() for name, done in repairs.items()},
    }
    return finish(args, figures, broken(repairs))


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
