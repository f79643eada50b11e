"""From a fault to the repaired row, end to end: like counts on PostgreSQL, live writers, `trueup serve`.

    python bench/events.py                          # NOTIFY, an outbox, and a schedule of 10 s
    python bench/events.py --faults 10 --by listen  # a look

Writers add likes and count them in the same transaction. Now and then one forgets the counter: that is the fault. Its
event is like any other, told by a trigger on the table of likes. A judge looks every 20 ms, in one snapshot, which rows
are wrong, and notes when each is right. Nothing else repairs: a fault planted before `trueup serve` has to be there
still when it starts.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from _common import (
    at_least,
    finish,
    machine,
    on_this_machine,
    parser,
    percentile,
    require,
    say,
    scratch_database,
    table,
    time_limit,
    to_exit_code,
)
from _writers import crew

SCHEMA = """
CREATE TABLE post_likes (id bigint GENERATED ALWAYS AS IDENTITY, post_id int NOT NULL);
INSERT INTO post_likes (post_id) SELECT 1 + g % {posts} FROM generate_series(1, {likes}) g;
CREATE INDEX ON post_likes (post_id);
CREATE TABLE post_like_counts (post_id int PRIMARY KEY, likes bigint NOT NULL);
INSERT INTO post_like_counts SELECT post_id, count(*) FROM post_likes GROUP BY post_id;
CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, post_id int NOT NULL);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {tell}; RETURN NULL; END $$;
CREATE TRIGGER tell AFTER INSERT ON post_likes FOR EACH ROW EXECUTE FUNCTION tell();
ANALYZE
"""
#: How it is asked for -> what the trigger on the likes does, what is declared.
WAYS = {
    "listen": (
        "PERFORM pg_notify('likes', NEW.post_id::text)",
        'triggers = [{ kind = "listen", database = "app", channel = "likes" }]',
    ),
    "outbox": (
        "INSERT INTO outbox (post_id) VALUES (NEW.post_id)",
        'triggers = [{ kind = "outbox", database = "app", table = "outbox" }]',
    ),
    "schedule": ("NULL", 'schedule = { every = "PERIOD" }'),
}
CONFIG = """
[trueup]
ledger = "{ledger}"
[databases.app]
url = "{target}"
[projections.post_like_counts]
source = {{ database = "app", query = "SELECT post_id, count(*) AS likes FROM post_likes GROUP BY post_id" }}
target = {{ database = "app", table = "post_like_counts" }}
key = ["post_id"]
columns = ["likes"]
absent = {{ likes = 0 }}
writers = "same_transaction"
{declared}
"""
#: Posts of `%s` whose counter is not what their likes are.
WRONG = """
    SELECT c.post_id FROM post_like_counts c
    WHERE c.post_id = ANY(%s) AND c.likes <> (SELECT count(*) FROM post_likes l WHERE l.post_id = c.post_id)"""
ALL_WRONG = "SELECT count(*) FROM ({}) t".format(WRONG.replace("c.post_id = ANY(%s) AND", ""))
#: What a median has to stay under, seconds: of an event; of a schedule, in periods.
EVENT_S, PERIODS = 5.0, 2.0
#: Longest wait for something that has to come about, seconds.
WAIT_S = 60.0


@dataclass(kw_only=True, slots=True)
class Found:
    """What one way came to."""

    #: From the commit of each fault to its repair, seconds.
    took_s: list[float] = field(default_factory=list)
    #: Transactions of the writers, a second.
    writes: float = 0.0
    requests: int = 0
    #: Events that requests stand for.
    events: int = 0


def write(number: int, ready: Any, stop: Any, url: str, posts: int, rate: float, seed: int) -> None:
    """A writer that never forgets: some posts are hotter than others."""
    chance = random.Random(f"{seed}/{number}")
    with psycopg.connect(url, autocommit=True) as db:
        ready.wait(30)
        while not stop.is_set():
            post = 1 + int(posts ** chance.random()) % posts
            with db.transaction():
                db.execute("INSERT INTO post_likes (post_id) VALUES (%s)", (post,))
                db.execute("UPDATE post_like_counts SET likes = likes + 1 WHERE post_id = %s", (post,))
            time.sleep(chance.expovariate(rate))


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "trueup", "serve", "--log-level", "warning"]
        node = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        node.send_signal(signal.SIGTERM)
        node.wait(WAIT_S)
        for line in (folder / "log").read_text().splitlines()[:5]:
            say(line)


def until(holds: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not holds():
        require(time.monotonic() < end, what)
        time.sleep(0.02)


def one(db: psycopg.Connection[Any], statement: str, *values: Any) -> Any:
    row = db.execute(statement, values).fetchone()
    return row and row[0]


def forget(db: psycopg.Connection[Any], post: int) -> float:
    """A writer that forgets the counter; when it had committed."""
    db.execute("INSERT INTO post_likes (post_id) VALUES (%s)", (post,))
    return time.monotonic()


def measured(way: str, args: Any) -> Found:
    """One way, on databases of its own."""
    tell, declared = WAYS[way]
    with scratch_database(args.url, suffix="_app") as target, scratch_database(args.url, suffix="_ledger") as ledger:
        with psycopg.connect(target, autocommit=True) as db:
            db.execute(SCHEMA.format(posts=args.posts, likes=args.likes, tell=tell).encode())
        more = (target, args.posts, args.rate / args.writers, args.seed)
        with crew(write, args.writers, *more), tempfile.TemporaryDirectory() as home:
            folder = Path(home)
            text = CONFIG.format(ledger=ledger, target=target, declared=declared.replace("PERIOD", f"{args.period}s"))
            (folder / "trueup.toml").write_text(text)
            with psycopg.connect(target, autocommit=True) as db:
                found = faults(way, args, db, folder, ledger)
        with psycopg.connect(target) as db:
            require(one(db, ALL_WRONG) == 0, f"{way}: rows are wrong at the end")
        with psycopg.connect(ledger) as db:
            found.requests = one(db, "SELECT count(*) FROM trueup_requests WHERE state = 'done'")
            found.events = one(db, "SELECT coalesce(sum(merged), 0)::bigint FROM trueup_requests WHERE state = 'done'")
            repaired = one(db, "SELECT count(*) FROM trueup_outcomes WHERE outcome = 'applied'")
            require(repaired == args.faults + 1, f"{way}: {repaired} repairs of {args.faults + 1} faults")
    return found


def faults(way: str, args: Any, db: psycopg.Connection[Any], folder: Path, ledger: str) -> Found:
    """Plant them one after the other, and note when each is gone."""
    found, chance = Found(), random.Random(args.seed)
    posts = chance.sample(range(1, args.posts + 1), args.faults + 1)
    control = posts.pop()
    forget(db, control)
    time.sleep(2)
    require(one(db, WRONG, [control]) == control, "somebody else repairs: the control is right")
    with serving(folder):
        until(lambda: one(db, WRONG, [control]) is None, f"{way}: what was there before was not repaired")
        if way != "schedule":
            with psycopg.connect(ledger, autocommit=True) as told:
                listening = "SELECT 1 FROM trueup_listeners WHERE state = 'listening'"
                until(lambda: one(told, listening), f"{way}: nobody listens")
        before, began = one(db, "SELECT max(id) FROM post_likes"), time.monotonic()
        open_: dict[int, float] = {}
        due = began
        while posts or open_:
            now = time.monotonic()
            if posts and now >= due:
                post = posts.pop()
                open_[post] = forget(db, post)
                due = now + chance.uniform(0.5, 1.5) * args.seconds / args.faults
            wrong = {post for (post,) in db.execute(WRONG, (list(open_),))}
            for post in [post for post in open_ if post not in wrong]:
                found.took_s.append(time.monotonic() - open_.pop(post))
            late = max((now - since for since in open_.values()), default=0)
            require(late < WAIT_S, f"{way}: a fault is there still after {WAIT_S:g} s")
            time.sleep(0.02)
        found.writes = (one(db, "SELECT max(id) FROM post_likes") - before) / (time.monotonic() - began)
    return found


def main() -> int:
    made = parser(__doc__, minutes=9)
    made.add_argument("--by", nargs="+", choices=WAYS, default=list(WAYS), help="default: all of them")
    made.add_argument("--faults", type=at_least(1), default=60)
    made.add_argument("--seconds", type=at_least(1), default=60, help="over which faults are spread (%(default)s)")
    made.add_argument("--period", type=at_least(1), default=10, help="of the schedule, seconds (%(default)s)")
    made.add_argument("--posts", type=at_least(100), default=10_000)
    made.add_argument("--likes", type=at_least(1000), default=200_000)
    made.add_argument("--writers", type=at_least(1), default=4)
    made.add_argument("--rate", type=at_least(1), default=100, help="likes a second, of all writers (%(default)s)")
    args = made.parse_args()
    on_this_machine(args.url)
    figures: dict[str, Any] = {"machine": machine(args.url)}
    problems, rows = [], []
    with time_limit(args.minutes):
        for way in args.by:
            say(f"by {way}")
            found = measured(way, args)
            target = PERIODS * args.period if way == "schedule" else EVENT_S
            told = [percentile(found.took_s, share) for share in (0.5, 0.95, 1.0)]
            rows.append([way, len(found.took_s), *told, target, found.requests, found.events, found.writes])
            figures[way] = {"took_s": found.took_s, "requests": found.requests, "events": found.events}
            if told[0] >= target:
                problems.append(f"{way}: {told[0]:.1f} s in the median, {target:g} s at most")
    heads = ["by", "faults", "median, s", "95 %, s", "worst, s", "target, s", "runs", "events", "likes/s"]
    print(table(heads, rows))
    return finish(args, figures, problems)


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
