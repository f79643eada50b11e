"""Applications that count: events in the source, their number in the target."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import redis
from _applications import KEYS, QUEUED_MAX, STEEP, Application, Drift
from _databases import Session

from trueup import Side
from trueup.writers import Numbers, increment, total

#: Events of the hottest key before anybody writes.
HOTTEST = 400
#: Share of changes that add; the others take away.
ADDING = 0.55
#: What increments with a bound are declared to keep, seconds.
BOUND_S = 2.0
#: Events that all processes together add in a second, at most, where increments have a bound. At full speed 16 writers
#: of one SQLite file keep one of themselves out for 5 to 10 s, whether anybody repairs or not: its busy timeout is not
#: fair, and no such application could promise a bound. Nor would a key that is written ever be without a young event.
EVENTS_PER_S = 1_000


class Counted(Application):
    """Events and their number, both changed by one transaction."""

    one_snapshot = True
    declared: Mapping[str, Any] = {"writers": "same_transaction", "absent": {"n": 0}}
    tables = (
        "CREATE TABLE events (id {id}, k int NOT NULL, d int NOT NULL, at {timestamp})",
        "CREATE INDEX events_k ON events (k)",
    )
    #: What the outbox holds, as more rows of a UNION.
    queued = ""

    def open(self, number: int, writers: int, seed: int) -> None:
        super().open(number, writers, seed)
        self.mine: list[tuple[int, int]] = []
        self.message: Any = None

    def make(self) -> None:
        words = self.db.words
        for table in self.tables:
            self.db.execute(table.format(id=words.id, timestamp=words.timestamp))
        filled = {key: max(int(HOTTEST * key**-STEEP), 3) for key in range(1, KEYS + 1)}
        events = ", ".join(f"({key}, 1, '2020-01-01 00:00:00')" for key, n in filled.items() for _ in range(n))
        self.db.execute(f"INSERT INTO events (k, d, at) VALUES {events}")
        self._make_target(filled)

    def _make_target(self, filled: Mapping[int, int]) -> None:
        self.there.execute("CREATE TABLE counts (k int PRIMARY KEY, n bigint NOT NULL)")
        self.there.execute("INSERT INTO counts VALUES " + ", ".join(f"({key}, {n})" for key, n in filled.items()))

    @property
    def recount(self) -> str:
        return f"SELECT k, CAST(sum(d) AS {self.db.words.integer}) AS n FROM events GROUP BY k"

    def sides(self) -> dict[str, Any]:
        source = Side(database="app", query=self.recount)
        return {"source": source, "target": Side(database=self._copy, table="counts"), "key": ("k",)}

    def write(self) -> None:
        if not self.mine or self.chance.random() < ADDING:
            key = self.key()
            self.mine.append((self.db.together(lambda: self._add(key)), key))
        else:
            event, key = self.mine.pop(self.chance.randrange(len(self.mine)))
            self.db.together(lambda: self._take(event, key))

    def _add(self, key: int) -> int:
        event = self._event(key, 1)
        self._tell(key, 1)
        return event

    def _take(self, event: int, key: int) -> None:
        self.db.execute("DELETE FROM events WHERE id = ?", event)
        self._tell(key, -1)

    def _event(self, key: int, by: int) -> int:
        insert = f"INSERT INTO events (k, d, at) VALUES (?, ?, {self.db.words.now}) RETURNING id"
        return int(self.db.execute(insert, key, by).fetchone()[0])

    def _tell(self, key: int, by: int) -> None:
        """What the transaction of the event does about the counter."""
        self._count(key, by)

    def _count(self, key: int, by: int) -> None:
        """It makes a row that is not there: so a missing row's drift stands still."""
        words = self.there.words
        new = words.new.format("n")
        self.there.execute(f"INSERT INTO counts (k, n) VALUES (?, ?) {words.on_conflict} n = counts.n + {new}", key, by)

    def plant(self) -> None:
        for key in self._to_spoil():
            self.there.execute("UPDATE counts SET n = n + ? WHERE k = ?", self.chance.choice((-3, -2, -1, 1, 2)), key)
        self.there.execute("DELETE FROM counts WHERE k = ?", self._missing())
        self._count(self._extra(), self.chance.randint(1, 9))

    def drift(self) -> Drift:
        counts, minus = "SELECT k, n FROM counts", "SELECT k, -d AS n FROM events"
        if self.one_snapshot:
            both = f"SELECT k, sum(n) FROM ({counts} UNION ALL {minus}{self.queued}) b GROUP BY k HAVING sum(n) <> 0"
            return {key: int(off) for key, off in self.db.rows(both)}
        off = dict(self.there.rows(counts))
        for key, n in self.db.rows(self.recount):
            off[key] = off.get(key, 0) - int(n)
        return {key: n for key, n in off.items() if n}


class Mutex(Counted):
    """The row is locked first; a change that leaves the number as it was does not touch it further."""

    declared: Mapping[str, Any] = {**Counted.declared, "writers": "mutex"}

    def _lock(self, key: int) -> None:
        self.db.rows(f"SELECT n FROM counts WHERE k = ?{self.db.words.for_update}", key)

    def _add(self, key: int) -> int:
        self._lock(key)
        return super()._add(key)

    def _take(self, event: int, key: int) -> None:
        self._lock(key)
        if self.chance.random() < 0.3:  # one goes, one comes
            self.db.execute("DELETE FROM events WHERE id = ?", event)
            self._event(key, 1)
        else:
            super()._take(event, key)


class Delta(Counted):
    """The same, repaired by what rows are off by."""

    declared: Mapping[str, Any] = {**Counted.declared, "on_different": "delta", "settle": 0.05}


class Outbox(Counted):
    """An event and a row in the outbox; each process is also a worker, who applies rows in any order."""

    declared: Mapping[str, Any] = {**Counted.declared, "writers": "outbox", "pending": {"table": "outbox"}}
    tables = (*Counted.tables, "CREATE TABLE outbox (id {id}, k int NOT NULL, n int NOT NULL)")
    queued = " UNION ALL SELECT k, n FROM outbox"

    def write(self) -> None:
        super().write()
        self.queue.append(self.message)
        self.deliver_some()

    def _tell(self, key: int, by: int) -> None:
        row = self.db.execute("INSERT INTO outbox (k, n) VALUES (?, ?) RETURNING id", key, by).fetchone()
        self.message = (row[0], key, by)

    def deliver(self, message: Any) -> None:
        row, key, by = message

        def steps() -> None:
            self.db.execute("DELETE FROM outbox WHERE id = ?", row)
            self._count(key, by)

        self.db.together(steps)


class Increments(Counted):
    """Events that add and that take away; the counter is changed later, by a transaction of its own."""

    one_snapshot = False
    declared: Mapping[str, Any] = {
        **Counted.declared,
        "writers": "increments",
        "bound": BOUND_S,
        "events": {"table": "events", "column": "at", "zone": "UTC"},
        "settle": 0,
    }

    def open(self, number: int, writers: int, seed: int) -> None:
        super().open(number, writers, seed)
        self.pause_s = writers / EVENTS_PER_S

    def write(self) -> None:
        time.sleep(self.chance.uniform(0, 2 * self.pause_s))
        key, by = self.key(), 1 if self.chance.random() < ADDING else -1
        began = time.monotonic()
        self.db.together(lambda: self._event(key, by))
        self.queue.append((key, by, began))
        while len(self.queue) > self.chance.randrange(QUEUED_MAX):
            self.deliver(self.queue.pop(0))

    def deliver(self, message: Any) -> None:
        key, by, began = message
        self.there.together(lambda: self._count(key, by))
        self.late_s = max(self.late_s, time.monotonic() - began)


class Generations(Counted):
    """Increments in Redis, sent to the generation that the source's transaction read."""

    one_snapshot = False
    declared: Mapping[str, Any] = {
        "writers": "increments",
        "absent": {"n": 0},
        "numbers": "trueup_numbers",
        "settle": 0,
    }
    numbers = Numbers()

    def _target(self) -> Session:
        self.redis = redis.Redis.from_url(self.urls[1], decode_responses=True)
        return self.db

    def _make_target(self, filled: Mapping[int, int]) -> None:
        self.db.execute("CREATE TABLE trueup_numbers (name varchar(200) PRIMARY KEY, number bigint NOT NULL)")
        names = ", ".join(f"('sum:{key}', 1)" for key in filled)
        self.db.execute(f"INSERT INTO trueup_numbers VALUES {names}")
        for key, n in filled.items():
            self.redis.hset(f"sum:{key}", mapping={"gen": 1, "base": n})

    def sides(self) -> dict[str, Any]:
        target = Side(database="copy", pattern="sum:{k}", type="generations")
        return {**super().sides(), "target": target}

    def write(self) -> None:
        super().write()
        self.queue.append(self.message)
        self.deliver_some()

    def _add(self, key: int) -> int:
        self.message = self._in_generation(key, 1)
        return self._event(key, 1)

    def _take(self, event: int, key: int) -> None:
        self.message = self._in_generation(key, -1)
        self.db.execute("DELETE FROM events WHERE id = ?", event)

    def _in_generation(self, key: int, by: int) -> tuple[str, int, int]:
        name = f"sum:{key}"
        return name, self.numbers.current(self.db.driver.cursor(), name), by

    def deliver(self, message: Any) -> None:
        increment(self.redis, *message)

    def plant(self) -> None:
        for key in self._to_spoil():
            self.redis.hincrby(f"sum:{key}", "base", self.chance.choice((-3, -2, -1, 1, 2)))
        self.redis.delete(f"sum:{self._missing()}")
        self.redis.hset(f"sum:{self._extra()}", mapping={"gen": 0, "base": 7})

    def drift(self) -> Drift:
        counted = {int(name.removeprefix("sum:")): total(self.redis, name) for name in self.redis.scan_iter("sum:*")}
        true = {key: int(n) for key, n in self.db.rows(self.recount)}
        off: Drift = {}
        for key in counted.keys() | true.keys():
            says = counted.get(key)
            if says is None and key in true:
                off[key] = "not counted"  # what is sent meanwhile counts nowhere
            elif (says or 0) != true.get(key, 0):
                off[key] = (says or 0) - true.get(key, 0)
        return off
