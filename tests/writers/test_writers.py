"""Writers that send to another store, and die, are late or say things twice: what a repair makes of it.

A real PostgreSQL is the source, a real Redis the other store.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tests import servers
from tests.live.harness import Background, Db, blocked
from trueup.writers import Numbers, increment, publish, rebase, retract, total
from trueup.writers.layout import PUBLISH, VALUE, digits, published, total_of

NUMBERS = Numbers()


class Likes:
    """Likes of posts in PostgreSQL, and their number in Redis."""

    def __init__(self, url: str, redis: Any) -> None:
        self.db = Db(url)
        self.redis = redis
        self.key = f"likes-{uuid.uuid4().hex}"
        self.db.sql(
            "CREATE TABLE likes (post text NOT NULL)",
            "CREATE TABLE trueup_numbers (name varchar(200) PRIMARY KEY, number bigint NOT NULL)",
        )

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with closing(self.db.connect()) as connection, connection.transaction():
            yield connection.cursor()

    def truth(self) -> int:
        return int(self.db.one("SELECT count(*) FROM likes"))

    def _count(self, cursor: Any) -> int:
        return int(cursor.execute("SELECT count(*) FROM likes WHERE post = %s", (self.key,)).fetchone()[0])

    def like(self, cursor: Any) -> None:
        cursor.execute("INSERT INTO likes VALUES (%s)", (self.key,))

    # what can be sent, as something to send later

    def plain(self) -> Callable[[], object]:
        with self.transaction() as cursor:
            self.like(cursor)
        return lambda: self.redis.hincrby(self.key, VALUE, 1)

    def versioned(self, *, like: bool = True) -> Callable[[], object]:
        with self.transaction() as cursor:
            version = NUMBERS.next(cursor, self.key)
            if like:
                self.like(cursor)
            n = self._count(cursor)
        return lambda: publish(self.redis, self.key, version, {VALUE: n})

    def fenced(self) -> Callable[[], object]:
        with self.transaction() as cursor:
            generation = NUMBERS.current(cursor, self.key)
            self.like(cursor)
        return lambda: increment(self.redis, self.key, generation)

    # repairs

    def set_what_was_counted(self) -> None:
        """Naive: compare-and-set on the value."""
        self.redis.hset(self.key, VALUE, self.truth())

    def publish_again(self) -> None:
        self.versioned(like=False)()

    def rebase(self) -> None:
        with self.transaction() as cursor:
            generation = NUMBERS.next(cursor, self.key)
            n = self._count(cursor)
        rebase(self.redis, self.key, generation, n)

    # what a reader sees

    def value(self) -> int:
        stored = self.redis.hgetall(self.key)
        return int(stored.get(VALUE, 0)) if "gen" not in stored else total(self.redis, self.key) or 0


@pytest.fixture
def likes(postgres: str) -> Iterator[Likes]:
    server = servers.SERVERS["redis"]
    why = servers.why_not(server, os.environ)
    if why:
        pytest.skip(servers.MISSING + why)
    import redis

    with redis.Redis.from_url(os.environ.get(server.variable, "redis://127.0.0.1"), decode_responses=True) as client:
        counted = Likes(postgres, client)
        yield counted
        client.delete(counted.key)


def test_control_a_plain_increment_that_is_late_is_counted_twice(likes: Likes) -> None:
    late = likes.plain()
    likes.set_what_was_counted()
    late()
    assert likes.value() - likes.truth() == 1


def test_a_version_makes_late_and_repeated_deliveries_harmless(likes: Likes) -> None:
    late = likes.versioned()
    newer = likes.versioned()
    newer()
    assert not late()
    assert not newer()
    likes.redis.hset(likes.key, VALUE, 17)  # somebody's mistake
    likes.publish_again()
    late(), newer()
    assert likes.value() == likes.truth() == 2


def test_a_tombstone_keeps_a_deleted_row_deleted(likes: Likes) -> None:
    late = likes.versioned()
    with likes.transaction() as cursor:
        version = NUMBERS.next(cursor, likes.key)
        cursor.execute("DELETE FROM likes")
    assert retract(likes.redis, likes.key, version)
    assert not late()
    assert likes.redis.hgetall(likes.key) == {"v": str(version)}
    likes.redis.delete(likes.key)  # the control: deleted for good, there is nothing that knows better
    assert late()
    assert (likes.value(), likes.truth()) == (1, 0)


def test_a_repair_may_write_over_an_equal_version_and_a_delivery_may_not(likes: Likes) -> None:
    likes.versioned()()
    assert likes.redis.eval(PUBLISH, 1, likes.key, *published(1, {VALUE: 9})) == 0
    assert likes.redis.eval(PUBLISH, 1, likes.key, *published(1, {VALUE: 9}, over_equal=True)) == 1
    assert likes.redis.eval(PUBLISH, 1, likes.key, *published(0, {VALUE: 8}, over_equal=True)) == 0
    assert likes.redis.hgetall(likes.key) == {"v": "1", "n": "9"}


@pytest.mark.parametrize("version", [9, 2**53, 2**63 - 1])
def test_versions_are_compared_digit_by_digit(likes: Likes, version: int) -> None:
    assert publish(likes.redis, likes.key, version, {VALUE: 1})
    assert not publish(likes.redis, likes.key, version - 1, {VALUE: 2})
    assert publish(likes.redis, likes.key, version + 1, {VALUE: 3})


def test_what_is_late_counts_in_no_generation(likes: Likes) -> None:
    likes.rebase()
    late, lost = likes.fenced(), likes.fenced()
    likes.rebase()
    likes.fenced()()
    late()
    assert likes.value() == likes.truth() == 3
    likes.rebase()
    assert likes.redis.hgetall(likes.key) == {"gen": "3", "base": "3"}  # nothing of older generations is kept
    lost()
    assert likes.value() == 3


def test_a_new_generation_waits_for_the_transactions_that_read_the_one_before(likes: Likes) -> None:
    likes.rebase()
    with likes.transaction() as cursor:
        generation = NUMBERS.current(cursor, likes.key)
        repair = Background(likes.rebase)
        blocked(likes.db)
        likes.like(cursor)
    repair.join()
    increment(likes.redis, likes.key, generation)
    assert likes.value() == likes.truth() == 1


def test_control_without_the_shared_lock_the_change_is_missed(likes: Likes) -> None:
    likes.rebase()
    careless = Numbers(share="")
    with likes.transaction() as cursor:
        generation = careless.current(cursor, likes.key)
        likes.rebase()  # does not wait
        likes.like(cursor)
    increment(likes.redis, likes.key, generation)
    assert likes.value() - likes.truth() == -1


def test_an_older_generation_never_becomes_the_one_that_counts(likes: Likes) -> None:
    assert rebase(likes.redis, likes.key, 10, 5)
    assert not rebase(likes.redis, likes.key, 9, 7)
    increment(likes.redis, likes.key, 11, by=4)  # read after the next repair's commit, sent before its rebase
    assert total(likes.redis, likes.key) == 5
    assert rebase(likes.redis, likes.key, 11, 6)
    assert total(likes.redis, likes.key) == 10


@pytest.mark.parametrize(
    ("send", "repair", "right"),
    [
        (Likes.plain, Likes.set_what_was_counted, False),
        (Likes.versioned, Likes.publish_again, True),
        (Likes.fenced, Likes.rebase, True),
    ],
    ids=["plain increments", "versioned", "generation-fenced"],
)
def test_any_schedule_of_writers_deliveries_and_repairs(
    likes: Likes, send: Callable[[Likes], Callable[[], object]], repair: Callable[[Likes], None], *, right: bool
) -> None:
    """Deliveries come in any order and some never; versioned ones also twice. At the end a repair runs."""
    wrong = 0
    for seed in range(6):
        chance = random.Random(seed)
        likes.redis.delete(likes.key)
        repair(likes)
        waiting: list[Callable[[], object]] = []
        for _ in range(40):
            drawn = chance.random()
            if drawn < 0.45:
                waiting.append(send(likes))
            elif drawn < 0.8 and waiting:
                delivery = waiting.pop(chance.randrange(len(waiting)))
                if chance.random() < 0.9:
                    delivery()
                if send is Likes.versioned and chance.random() < 0.3:
                    waiting.append(delivery)
            else:
                repair(likes)
        repair(likes)
        for delivery in waiting:
            delivery()
        wrong += likes.value() != likes.truth()
    assert (wrong == 0) is right


def test_a_number_is_issued_once_in_every_database(likes: Likes, mariadb: str, sqlite_url: str) -> None:
    import sqlite3

    made = "CREATE TABLE trueup_numbers (name varchar(200) PRIMARY KEY, number bigint NOT NULL)"
    servers.run_mariadb(mariadb, made)
    with (
        closing(servers.mariadb_connection(mariadb)) as other,
        closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as file,
    ):
        file.execute(made)
        with closing(likes.db.connect()) as postgres:
            for cursor, numbers in (
                (postgres.cursor(), Numbers()),
                (other.cursor(), Numbers(share="LOCK IN SHARE MODE")),
                (file.cursor(), Numbers(mark="?", share="")),
            ):
                assert numbers.current(cursor, "a") == 0
                assert [numbers.next(cursor, key) for key in ("a", "a", "b")] == [1, 2, 1]
                assert numbers.current(cursor, "a") == 2


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="no version"):
        digits(-1)
    with pytest.raises(ValueError, match="needs no quotes"):
        Numbers(table="numbers; DROP TABLE likes")
    assert total_of({"delta:3": "4"}) is None


def test_nothing_of_the_engine_is_imported() -> None:
    loaded = "import sys, trueup.writers; print(*(m for m in sys.modules if m.startswith('trueup.')))"
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout.split()
    assert found
    assert all(module.startswith(("trueup.writers", "trueup._version")) for module in found), found
