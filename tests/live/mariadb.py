"""The applications of the live tests on MariaDB: its driver, its words, and who waits for whom there."""

from __future__ import annotations

import re
from typing import Any

from tests.live.harness import Counters, Db, Docs, until
from tests.servers import mariadb_connection


class Session:
    """A connection that executes as the other drivers' do."""

    def __init__(self, url: str) -> None:
        self.driver = mariadb_connection(url)
        self.id = self.driver.thread_id()

    def execute(self, statement: str) -> Any:
        cursor = self.driver.cursor()
        cursor.execute(statement)
        return cursor

    def close(self) -> None:
        self.driver.close()


class MariaDb(Db):
    """One MariaDB database by its plain driver."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        #: Sessions of the application; others in this database are Trueup's.
        self.application: set[int] = set()

    def connect(self, *, timeout_s: float = 30.0) -> Session:
        session = Session(self.url)
        session.execute(f"SET innodb_lock_wait_timeout = {timeout_s:.0f}, SESSION tx_isolation = 'READ-COMMITTED'")
        self.application.add(session.id)
        return session

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return list(super().sql(*statements))

    def waiting(self, who: str) -> int:
        """Sessions of `who` that wait for a row lock in this database.

        Not from information_schema.INNODB_TRX: that is one copy for the whole server, which is not renewed while
        anybody looks at it more than ten times a second, and so never while two of these tests look.
        """
        ((_, _, status),) = self.sql("SHOW ENGINE INNODB STATUS")
        _, *transactions = status.split("\n---TRANSACTION ")
        waiting = [of for of in transactions if "\nLOCK WAIT" in of]
        threads = {int(found[1]) for of in waiting if (found := re.search(r"thread id (\d+)", of))}
        here = {
            session for (session,) in self.sql("SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE()")
        }
        return sum((session in self.application) is (who == "application") for session in threads & here)


def blocked(db: Db, *, who: str = "application") -> None:
    """Until a session of `who` ('application' or 'trueup') waits for a row lock."""
    assert isinstance(db, MariaDb)
    until(lambda: db.waiting(who), f"a session of {who} waiting for a lock")


class MariaCounters(Counters):
    """Edges and their counter."""

    def __init__(self, url: str, writers: str = "same_transaction") -> None:
        self.db: MariaDb = MariaDb(url)
        self.writers = writers
        self.db.sql(
            "CREATE TABLE edges(id bigint AUTO_INCREMENT PRIMARY KEY, post INT NOT NULL, INDEX edges_post (post))",
            "CREATE TABLE counter(post INTEGER PRIMARY KEY, n BIGINT NOT NULL)",
        )

    @staticmethod
    def upsert(c: Any, post: int, by: int = 1) -> None:
        c.execute(f"INSERT INTO counter VALUES ({post}, {by}) ON DUPLICATE KEY UPDATE n = n + ({by})")

    @staticmethod
    def put(c: Any, post: int, n: int) -> None:
        c.execute(f"INSERT INTO counter VALUES ({post}, {n}) ON DUPLICATE KEY UPDATE n = {n}")

    def drift(self) -> dict[int, int]:
        rows = self.db.sql(
            "SELECT post, sum(n) FROM (SELECT post, n FROM counter UNION ALL "
            "SELECT post, -count(*) FROM edges GROUP BY post) both_sides GROUP BY post"
        )
        return {post: int(d) for post, d in rows}


class MariaDocs(Docs):
    """Documents somewhere, and a copy of them in MariaDB."""

    def __init__(self, source: str, target: str) -> None:
        self.source = MariaDb(source) if source.startswith("mariadb") else Db(source)
        self.target = MariaDb(target)
        for db in (self.source, self.target):
            db.sql("CREATE TABLE doc(id INTEGER PRIMARY KEY, val BIGINT NOT NULL)")

    @staticmethod
    def put(db: Db, key: int, value: int | None) -> None:
        if value is not None and isinstance(db, MariaDb):
            db.sql(f"INSERT INTO doc VALUES ({key}, {value}) ON DUPLICATE KEY UPDATE val = {value}")
        else:
            Docs.put(db, key, value)
