"""Writers at full speed, drift put in between, repairs by whoever is under test, and a judge of one snapshot.

In one database the judge is exact at every moment: the application changes edges and counter together, so a row whose
repair was right is right in every snapshot until somebody injects drift again, and nobody does while a repair runs.
Between two databases the copy lags, so the judge is a trigger in the copy's database: values of a document only ever
grow, so a write that makes one smaller put an older state over a newer one.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tests.live.harness import Counters, Docs
from tests.tools import hammer

POSTS = 20
#: Rounds after which what has not happened will not.
ROUNDS_MAX = 500


@dataclass(kw_only=True)
class Figures:
    """What a stress run came to."""

    name: str
    writes: int = 0
    repairs: int = 0
    wrong: int = 0

    def __str__(self) -> str:
        share = 100 * self.wrong / max(self.repairs, 1)
        return f"{self.name}: {self.writes} writes, {self.repairs} rows repaired, {self.wrong} wrong ({share:.0f} %)"


def hot(rng: random.Random, of: int = POSTS) -> int:
    """1 to `of`, the first ones far more often."""
    return min(int(rng.paretovariate(0.7)), of)


def one_database(
    app: Counters,
    repair: Callable[[], set[int]],
    *,
    name: str,
    writers: int,
    rounds: int,
    enough: Callable[[Figures], bool] = lambda _: True,
    writes_a_round: int = 30,
    seed: int = 1,
) -> Figures:
    """`repair` puts the counters right and returns the posts it wrote; a wrong one still drifts right after.

    There are `rounds`, and then more until what was seen is `enough`: how much happens in one depends on the machine.
    """
    rng = random.Random(seed)
    app.fill(dict.fromkeys(range(1, POSTS + 1), (5, 5)))
    figures = Figures(name=name)
    randoms = [random.Random(f"{seed}/{worker}") for worker in range(writers)]

    def write(worker: int, c: Any) -> None:
        _edge(app, c, randoms[worker])
        if app.db.sqlite:
            threading.Event().wait(0.001)  # SQLite has no queue for its lock: let others have it too

    with hammer(write, writers, each=lambda _: closing(app.db.connect())) as writing:
        for turn in range(ROUNDS_MAX):
            if turn >= rounds and enough(figures):
                break
            writing.wait(writing.count + writes_a_round)
            _inject(app, rng)
            repaired = repair()
            wrong = app.wrong()
            figures.repairs += len(repaired)
            figures.wrong += len(repaired & set(wrong))
    figures.writes = writing.count
    return figures


def _edge(app: Counters, c: Any, rng: random.Random) -> None:
    post = hot(rng)
    c.execute(app.db.begin)
    if rng.random() < 0.6:
        app.add_edge(c, post)
        app.upsert(c, post)
    else:
        skip = "" if app.db.sqlite else "FOR UPDATE SKIP LOCKED"
        gone = c.execute(
            f"DELETE FROM edges WHERE id = (SELECT id FROM edges WHERE post = {post} LIMIT 1 {skip})"
        ).rowcount
        if gone:
            # Not a bare UPDATE: it finds no row while a repair is inserting it, and then has not touched it.
            app.upsert(c, post, -1)
    c.execute("COMMIT")


def _inject(app: Counters, rng: random.Random) -> None:
    """Five counters off by a little, one row gone, one row for a post that is nowhere."""
    statements = [f"UPDATE counter SET n = n + {rng.choice((-2, -1, 1, 2))} WHERE post = {hot(rng)}" for _ in range(5)]
    statements.append(f"DELETE FROM counter WHERE post = {rng.randint(1, POSTS)}")
    app.db.sql(*statements)
    with closing(app.db.connect()) as c:
        app.put(c, 1000, 3)


def read_then_set(app: Counters) -> set[int]:
    """The repair that people write by hand: count, then set what is wrong."""
    with closing(app.db.connect()) as c:
        wrong = set(app.wrong())
        counted = c.execute("SELECT post, count(*) FROM edges GROUP BY post").fetchall()
        written = set()
        for post, edges in counted:
            if post in wrong:
                app.put(c, post, edges)
                written.add(post)
    return written


# --- two databases ---------------------------------------------------------------------------------------------------

WORKERS = 4
KEYS_EACH = 40
WATCH = {
    True: (
        "CREATE TABLE regress(id INT, was BIGINT, became BIGINT)",
        "CREATE TRIGGER watch AFTER UPDATE ON doc WHEN new.val < old.val AND new.val >= 0 "
        "BEGIN INSERT INTO regress VALUES (new.id, old.val, new.val); END",
    ),
    False: (
        "CREATE TABLE regress(id INT, was BIGINT, became BIGINT)",
        "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO regress VALUES (new.id, old.val, new.val); RETURN NULL; END'",
        "CREATE TRIGGER watch AFTER UPDATE ON doc FOR EACH ROW WHEN (new.val < old.val AND new.val >= 0) "
        "EXECUTE FUNCTION watch()",
    ),
}


def two_databases(
    docs: Docs,
    repair: Callable[[], int],
    *,
    name: str,
    rounds: int,
    enough: Callable[[Figures], bool] = lambda _: True,
    writes_a_round: int = 30,
    seed: int = 1,
) -> Figures:
    """`repair` puts the copy right and returns how many rows it wrote; `rounds` and `enough` as above."""
    rng = random.Random(seed)
    docs.target.sql(*WATCH[docs.target.sqlite])
    keys = range(1, WORKERS * KEYS_EACH + 1)
    for key in keys:
        docs.write(key, 0)
    figures = Figures(name=name)
    values = dict.fromkeys(keys, 0)
    randoms = [random.Random(f"{seed}/{worker}") for worker in range(WORKERS)]

    def write(worker: int, connections: Any) -> None:
        here, there = connections
        # A key belongs to one worker: its deliveries come in the order of its commits, some long after.
        key = worker * KEYS_EACH + hot(randoms[worker], KEYS_EACH)
        values[key] += 1
        upsert = f"INSERT INTO doc VALUES ({key}, {values[key]}) ON CONFLICT (id) DO UPDATE SET val = {values[key]}"
        here.execute(upsert)
        there.execute(upsert)
        threading.Event().wait(0.001)

    with hammer(write, WORKERS, each=lambda _: _both(docs)) as writing:
        for turn in range(ROUNDS_MAX):
            if turn >= rounds and enough(figures):
                break
            writing.wait(writing.count + writes_a_round)
            docs.target.sql(*(f"UPDATE doc SET val = -1 WHERE id = {rng.choice(keys)}" for _ in range(8)))
            figures.repairs += repair()
            figures.wrong = docs.target.one("SELECT count(*) FROM regress")
    figures.writes = writing.count
    figures.wrong = docs.target.one("SELECT count(*) FROM regress")
    return figures


class _both:
    """A connection to each side."""

    def __init__(self, docs: Docs) -> None:
        self.connections = (docs.source.connect(), docs.target.connect())

    def __enter__(self) -> tuple[Any, Any]:
        return self.connections

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.close()


def copy_then_set(docs: Docs) -> int:
    """Compare both sides, then set what differs: no version, no second look."""
    source = dict(docs.source.sql("SELECT id, val FROM doc"))
    target = dict(docs.target.sql("SELECT id, val FROM doc"))
    wrong = {key: value for key, value in source.items() if target.get(key) != value}
    docs.target.sql(*(f"UPDATE doc SET val = {value} WHERE id = {key}" for key, value in wrong.items()), "SELECT 1")
    return len(wrong)
