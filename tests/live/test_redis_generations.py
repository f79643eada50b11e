"""Counters in Redis that are incremented by generations, repaired while increments are late, lost and on their way.

PostgreSQL is the source; the application writes with `trueup.writers`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
import redis as driver

from tests.live.harness import WIDE, Background, Db, QuickClock, around, instead
from trueup import Projection, Side, Trueup
from trueup.adapters import _redis_generations
from trueup.core.guarantee import Guarantee
from trueup.core.states import Outcome, Verdict
from trueup.errors import ConfigError, DesignProblem, Refused
from trueup.writers import Numbers, increment, total

NUMBERS = Numbers()


class Likes:
    """Likes of posts in PostgreSQL, and their number in Redis."""

    def __init__(self, folder: Path, url: str, cache: str) -> None:
        self.folder = folder
        self.cache = cache
        self.db = Db(url)
        self.db.sql(
            "CREATE TABLE likes (post int NOT NULL)",
            "CREATE TABLE trueup_numbers (name varchar(200) PRIMARY KEY, number bigint NOT NULL)",
        )
        self.redis = driver.Redis.from_url(cache)

    def like(self, post: int = 1) -> Callable[[], None]:
        """Commit a like; its increment is for the caller to send, now, later or never."""
        with closing(self.db.connect()) as connection, connection.transaction():
            cursor = connection.cursor()
            generation = NUMBERS.current(cursor, f"post:{post}")
            cursor.execute("INSERT INTO likes VALUES (%s)", (post,))
        return lambda: increment(self.redis, f"post:{post}", generation)

    def unlike(self, post: int = 1) -> Callable[[], None]:
        with closing(self.db.connect()) as connection, connection.transaction():
            cursor = connection.cursor()
            generation = NUMBERS.current(cursor, f"post:{post}")
            one = "DELETE FROM likes WHERE ctid = (SELECT ctid FROM likes WHERE post = %s LIMIT 1)"
            by = cursor.execute(one, (post,)).rowcount
        return lambda: increment(self.redis, f"post:{post}", generation, -by)

    def state(self, post: int = 1) -> tuple[int, int | None]:
        """(likes, what a reader takes)."""
        return int(self.db.one(f"SELECT count(*) FROM likes WHERE post = {post}")), total(self.redis, f"post:{post}")

    def engine(self, **declared: Any) -> Trueup:
        return Trueup(
            databases={"app": self.db.url, "cache": self.cache},
            projections=[
                Projection(
                    name="likes",
                    source=Side(database="app", query="SELECT post, count(*) AS n FROM likes GROUP BY post"),
                    target=Side(database="cache", pattern="post:{post}", type="generations"),
                    key="post",
                    limits=WIDE,
                    **{
                        "absent": {"n": 0},
                        "writers": "increments",
                        "numbers": "trueup_numbers",
                        "settle": 0,
                        **declared,
                    },
                )
            ],
            ledger=f"sqlite:///{self.folder / 'ledger.db'}",
            clock=QuickClock(),
        )

    def run(self, **declared: Any) -> tuple[Verdict, dict[int, Outcome]]:
        with closing(self.engine(**declared)) as engine:
            report = engine.run("likes")
            return report.verdict, {o.key[0]: o.outcome for o in engine.outcomes(report.run)}


@pytest.fixture
def likes(postgres: str, redis: str, tmp_path: Path) -> Iterator[Likes]:
    made = Likes(tmp_path, postgres, redis)
    yield made
    made.redis.close()


def test_what_was_never_counted_begins_to_count(likes: Likes) -> None:
    for post in (1, 1, 2):
        likes.like(post)  # nothing is sent
    assert likes.run() == (Verdict.REPAIRED, {1: Outcome.APPLIED, 2: Outcome.APPLIED})
    likes.like()()
    assert likes.state() == (3, 3)
    assert likes.run()[0] is Verdict.IN_SYNC


def test_the_class_is_exact_and_without_numbers_it_is_not(likes: Likes) -> None:
    with closing(likes.engine()) as engine:
        assert engine.explain("likes").promise.guarantee is Guarantee.EXACT
    with closing(likes.engine(numbers="")) as engine:
        assert engine.explain("likes").promise.guarantee is Guarantee.REPORT_ONLY
        with pytest.raises(Refused, match="`numbers` is not declared"):
            engine.run("likes")


def test_an_increment_that_is_late_by_any_time_counts_once(likes: Likes) -> None:
    likes.like()()
    likes.run()
    late, lost = likes.like(), likes.like()
    del lost  # its writer died
    assert likes.state() == (3, 1)
    assert likes.run() == (Verdict.REPAIRED, {1: Outcome.APPLIED})
    assert likes.state() == (3, 3)
    late()
    late()  # even twice
    assert likes.state() == (3, 3)
    likes.like()()
    assert likes.state() == (4, 4)


def test_control_set_to_the_count_it_would_count_twice(likes: Likes) -> None:
    likes.like()()
    late = likes.like()
    likes.redis.hset("post:1", mapping={"gen": 0, "base": 2, "delta:0": 0})  # what a plain repair does
    late()
    assert likes.state() == (2, 3)


def test_a_writer_that_holds_its_generation_is_waited_for_and_not_blocked(likes: Likes) -> None:
    """A transaction that has read the generation and not committed: its like is in the count, or in the increment."""
    likes.like()
    likes.like(2)
    with closing(likes.db.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        generation = NUMBERS.current(cursor, "post:1")
        cursor.execute("INSERT INTO likes VALUES (1)")
        _, outcomes = likes.run()
        assert outcomes == {1: Outcome.NOT_APPLIED, 2: Outcome.APPLIED}  # others are not kept waiting
        cursor.execute("COMMIT")
    assert likes.run() == (Verdict.REPAIRED, {1: Outcome.APPLIED})
    increment(likes.redis, "post:1", generation)
    assert likes.state() == (2, 2)


def test_a_like_between_the_count_and_the_store_is_not_lost(likes: Likes) -> None:
    likes.like()
    sent: list[Callable[[], None]] = []
    with around(_redis_generations, "numbered", after=lambda: sent.append(likes.like())):
        likes.run()
    assert likes.state() == (2, 1)  # on its way
    sent[0]()
    assert likes.state() == (2, 2)


def test_a_counter_that_never_rests_is_repaired(likes: Likes) -> None:
    likes.like()
    going = [True]

    def traffic() -> int:
        done = 0
        while going[0]:
            likes.like()()
            done += 1
        return done

    writers = [Background(traffic) for _ in range(2)]
    try:
        for _ in range(5):
            likes.run()
    finally:
        going[0] = False
    assert sum(writer.join() for writer in writers) > 0
    likes.run()
    counted, shown = likes.state()
    assert counted == shown


@pytest.mark.parametrize("guard", [True, False], ids=["guard", "control: without"])
def test_what_looks_right_when_its_turn_comes_is_counted_all_the_same(likes: Likes, *, guard: bool) -> None:
    """A lost increment, and in the last moment a decrement on its way: for now the two make the row look right."""
    likes.like()()
    likes.run()
    likes.like()  # lost
    sent: list[Callable[[], None]] = []
    trusting = instead(_redis_generations, "_hidden", lambda outcome, _now: outcome)
    with closing(likes.engine()) as engine, nullcontext() if guard else trusting:
        with around(type(engine.ledger), "open_unit", after=lambda: sent.append(likes.unlike())):
            report = engine.run("likes")
        (told,) = engine.outcomes(report.run)
    sent[0]()
    assert told.outcome is (Outcome.APPLIED if guard else Outcome.SUPERSEDED)
    assert likes.state() == ((1, 1) if guard else (1, 0))


def test_what_an_increment_on_its_way_hides_from_every_look_is_found_when_it_has_arrived(likes: Likes) -> None:
    """No look at the two stores could tell this row from one that is right."""
    likes.like()()
    likes.run()
    likes.like()  # lost
    late = likes.unlike()
    assert likes.run()[0] is Verdict.IN_SYNC
    late()
    assert likes.state() == (1, 0)
    assert likes.run() == (Verdict.REPAIRED, {1: Outcome.APPLIED})
    assert likes.state() == (1, 1)


def test_all_likes_gone_is_zero(likes: Likes) -> None:
    likes.like()()
    likes.run()
    likes.unlike()  # its decrement is lost
    assert likes.state() == (0, 1)
    assert likes.run() == (Verdict.REPAIRED, {1: Outcome.APPLIED})
    assert likes.state() == (0, 0)


def test_a_generation_that_was_issued_and_never_stored_is_made_good_by_the_next_run(likes: Likes) -> None:
    """The run dies between the two stores: writers count in a generation that the target does not show."""
    likes.like()
    with closing(likes.db.connect()) as connection, connection.transaction():
        NUMBERS.next(connection.cursor(), "post:1")
    likes.like()()
    assert likes.state()[0] == 2
    assert likes.run()[0] is Verdict.REPAIRED
    assert likes.state() == (2, 2)


def test_a_source_that_was_restored_has_its_numbers_raised_beyond_those_that_count(likes: Likes) -> None:
    likes.like()()
    likes.db.sql("INSERT INTO trueup_numbers VALUES ('post:1', 2) ON CONFLICT (name) DO UPDATE SET number = 2")
    likes.redis.hset("post:1", mapping={"gen": "30", "base": "7"})
    likes.like()()  # counts nowhere
    assert likes.state() == (2, 7)
    with closing(likes.engine()) as engine:
        assert engine.run("likes").verdict is Verdict.REPAIRED
    assert (likes.state(), int(likes.db.one("SELECT number FROM trueup_numbers"))) == ((2, 2), 31)
    likes.like()()
    assert likes.state() == (3, 3)


def test_what_is_no_number_is_named(likes: Likes) -> None:
    likes.like()
    likes.redis.hset("post:1", mapping={"gen": 1, "base": "x"})
    with closing(likes.engine()) as engine, pytest.raises(Exception, match="not counted in integers"):
        engine.check("likes")


def test_declarations_that_do_not_fit(likes: Likes) -> None:
    for declared, told in (
        ({"writers": "absolute"}, "`numbers` is about writers"),
        ({"absent": None}, "needs `absent`"),
        ({"on_extra": "delete"}, "needs `absent`"),
    ):
        with pytest.raises(ValueError, match=told):
            likes.engine(**declared)


def test_a_source_that_issues_no_numbers_is_said_to(likes: Likes) -> None:
    likes.like()
    likes.db.sql("DROP TABLE trueup_numbers")
    with closing(likes.engine()) as engine, pytest.raises((DesignProblem, ConfigError), match="trueup_numbers"):
        engine.run("likes")


@pytest.mark.parametrize("seed", range(4))
def test_any_schedule_ends_right(likes: Likes, seed: int) -> None:
    """Likes, late and doubled and lost increments, and repairs, in any order."""
    dice = random.Random(seed)
    waiting: list[Callable[[], None]] = []
    with closing(likes.engine()) as engine:
        for _ in range(25):
            chance = dice.random()
            if chance < 0.5:
                waiting.append(likes.like() if chance < 0.4 else likes.unlike())
            elif chance < 0.8 and waiting:
                waiting.pop(dice.randrange(len(waiting)))()
            elif chance < 0.85 and waiting:
                waiting.pop()  # lost
            else:
                engine.run("likes")
        engine.run("likes")
        for late in waiting:
            late()
    counted, shown = likes.state()
    assert counted == (shown or 0)
