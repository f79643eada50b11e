"""Views of pages, counted in Redis by increments that are sent after the commit, each to its generation."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import redis

from examples._kit import Database, Faults, Traffic, transaction
from trueup.writers import Numbers, increment, rebase, total

HERE = Path(__file__).parent
#: Pages above `LIVELY` are not read for now.
PAGES, LIVELY = 80, 50
#: SQLite has one writer at a time: nothing is to be locked.
NUMBERS = Numbers(mark="?", share="")


def name(page: int) -> str:
    return f"page:{page}:views"


class Generations:
    """A view is committed in SQL, then the counter of its page is incremented: soon, and not at once."""

    def __init__(self, url: str, cache: str) -> None:
        self.db, self.redis = Database(url), redis.Redis.from_url(cache)
        #: Increments that are on their way.
        self.queue: list[Callable[[], None]] = []
        #: Those that a process holds that hangs.
        self.late: list[Callable[[], None]] = []

    def make(self) -> None:
        self.db.script((HERE / "schema.redis.sql").read_text())
        seen = [(page,) for page in range(1, PAGES + 1) for _ in range(20 + page % 9)]
        self.db.many("INSERT INTO views (page_id) VALUES (?)", seen)
        for page in range(1, PAGES + 1):
            with transaction(self.db):
                generation = NUMBERS.next(self.db.raw.cursor(), name(page))
                count = self.count(page)
            rebase(self.redis, name(page), generation, count)

    def write(self, chance: random.Random) -> None:
        """Somebody reads a page. Some pages are hot. Increments arrive late, in any order."""
        self.queue.append(self.view(min(chance.randint(1, LIVELY), chance.randint(1, LIVELY))))
        while len(self.queue) > chance.randrange(6):
            self.queue.pop(chance.randrange(len(self.queue)))()

    def view(self, page: int) -> Callable[[], None]:
        """Commit a view; the increment is the caller's to send."""
        with transaction(self.db):
            generation = NUMBERS.current(self.db.raw.cursor(), name(page))
            self.db.run("INSERT INTO views (page_id) VALUES (?)", page)
        return lambda: increment(self.redis, name(page), generation)

    def spoil(self, chance: random.Random) -> dict[str, Faults]:
        """On pages that nobody reads for now: what moves all the time is in flight, and nobody's drift."""
        faults = Faults()
        pages = chance.sample(range(LIVELY + 1, PAGES + 1), 12)
        for page in pages[:3]:
            self.view(page)
            faults.note("increment lost in a crash after the commit", page)
        for page in pages[3:6]:
            self.late.append(self.view(page))
            faults.note("increment in a process that hangs", page)
        for page in pages[6:9]:
            send = self.view(page)
            send()
            send()
            faults.note("increment applied twice by a retry", page)
        for page in pages[9:]:
            self.redis.delete(name(page))
            faults.note("counter evicted", page)
        return {"page_views": faults}

    def go_on(self) -> None:
        """The process that hung sends what it had, and every page is read again."""
        for send in self.late:
            send()
        for page in range(1, PAGES + 1):
            self.view(page)()

    def recount(self, traffic: Traffic) -> None:
        """The naive way: GET, count, SET. Increments that come in between are lost, and late ones count twice."""
        for page in range(1, PAGES + 1):
            generation = (self.redis.hget(name(page), "gen") or b"1").decode()
            count = self.count(page)
            if page % 10 == 1:
                traffic.wait(20)
            self.redis.hset(name(page), mapping={"gen": generation, "base": count, f"delta:{generation}": 0})

    def count(self, page: int) -> int:
        return int(self.db.one("SELECT count(*) FROM views WHERE page_id = ?", page))

    def wrong(self) -> int:
        return sum(total(self.redis, name(page)) != self.count(page) for page in range(1, PAGES + 1))

    def close(self) -> None:
        for send in self.queue:
            send()
        self.redis.close()
        self.db.close()
