"""Faults of a soak, each with what ends it. None touches a server that others use, but for sessions of the soak's own
databases.
"""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import psycopg
import redis

from tests.campaign.nodes import befall, mend
from tests.campaign.soak_world import NAMES, POISON, ROWS, World
from tests.servers import run_sql

#: Events in a storm.
STORM = 2_000


class Faults:
    """Does one thing after the other, at random, and ends what is over."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.done: Counter[str] = Counter()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._threads: list[threading.Thread] = []
        self._down: set[str] = set()
        self._kinds: dict[str, tuple[int, Callable[[], None]]] = {
            "drift": (8, self.drift),
            "node": (4, self.node),
            "sessions ended": (2, self.sessions),
            "server killed": (1, self.server),
            "redis killed": (1, self.redis),
            "poison row": (1, self.poison),
            "schema changed": (1, self.schema),
            "storm": (1, self.storm),
            "convoy": (1, self.convoy),
        }

    def one(self) -> None:
        """One fault; what another fault has made impossible just now is not done."""
        self.end_due()
        names = list(self._kinds)
        name = self.chance.choices(names, [self._kinds[name][0] for name in names])[0]
        with suppress(psycopg.Error, redis.RedisError, OSError):
            self._kinds[name][1]()
            self.done[name] += 1

    def end_due(self) -> None:
        """End what is over."""
        while self._later and self._later[0][0] <= time.monotonic():
            self._end(heapq.heappop(self._later)[2])

    def end_all(self) -> None:
        """Everything that goes on."""
        while self._later:
            self._end(heapq.heappop(self._later)[2])
        for thread in self._threads:
            thread.join(60)

    def _end(self, ending: Callable[[], None]) -> None:
        """Tried again later where another fault is in its way."""
        try:
            ending()
        except (psycopg.Error, redis.RedisError, OSError):
            self._after(1, ending)

    def _after(self, seconds: float, ending: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), ending))

    # --- rows --------------------------------------------------------------------------------------------------------

    def drift(self) -> None:
        """A few rows are lost, wrong, or too many."""
        name = self.chance.choice(NAMES)
        for _ in range(self.chance.randint(1, 5)):
            self._plant(name, self.chance.choice(["missing", "different", "extra"]), self.chance.randint(1, ROWS))
            self.world.planted[name] = self.world.planted.get(name, 0) + 1
        if name in ("cached", "heard") and self.chance.random() < 0.5:
            self._tell(name, [self.chance.randint(1, ROWS) for _ in range(5)])

    def _plant(self, name: str, kind: str, id_: int) -> None:
        if name == "cached":
            with self.world.client() as client:
                if kind == "missing":
                    client.delete(f"n:{id_}")
                elif kind == "different":
                    client.incrby(f"n:{id_}", 1_000)
                else:
                    client.set(f"n:{ROWS + id_}", 1)
            return
        statement = {
            "missing": f"DELETE FROM t_{name} WHERE id = {id_}",
            "different": f"UPDATE t_{name} SET n = n + 1000 WHERE id = {id_}",
            "extra": f"INSERT INTO t_{name} (id, n) VALUES ({ROWS + id_}, 1) ON CONFLICT DO NOTHING",
        }
        run_sql(self.world.target(name), statement[kind])

    def poison(self) -> None:
        """A row that the target refuses, until its source is mended."""
        id_ = self.chance.randint(1, ROWS)
        run_sql(self.world.app, f"UPDATE s_copied SET n = {POISON} WHERE id = {id_}")
        mended = f"UPDATE s_copied SET n = {id_} WHERE id = {id_}"
        self._after(self.chance.uniform(10, 30), lambda: run_sql(self.world.app, mended) and None)

    def schema(self) -> None:
        """A column more, for a while."""
        if "schema" in self._down:
            return
        self._down.add("schema")
        run_sql(self.world.app, "SET lock_timeout = '3s'; ALTER TABLE t_turns ADD COLUMN IF NOT EXISTS more text")

        def back() -> None:
            run_sql(self.world.app, "SET lock_timeout = '3s'; ALTER TABLE t_turns DROP COLUMN IF EXISTS more")
            self._down.discard("schema")

        self._after(self.chance.uniform(5, 20), back)

    # --- events ------------------------------------------------------------------------------------------------------

    def storm(self) -> None:
        """Thousands of events about a few keys, and some that cannot be read."""
        keys = [self.chance.randint(1, ROWS) for _ in range(20)]
        for name in ("cached", "heard"):
            self._tell(name, [self.chance.choice(keys) for _ in range(STORM)])

    def _tell(self, name: str, ids: list[int]) -> None:
        events = ["{never" if self.chance.random() < 0.01 else f'{{"id": {id_}}}' for id_ in ids]
        if name == "cached":
            with self.world.client() as client, client.pipeline(transaction=False) as pipe:
                for event in events:
                    pipe.xadd("soak", {"event": event}, maxlen=3 * STORM, approximate=True)
                pipe.execute()
            return
        with psycopg.connect(self.world.app, autocommit=True) as c, c.cursor() as cursor:
            cursor.executemany("SELECT pg_notify('soak', %s)", [(event,) for event in events])

    # --- processes and sessions --------------------------------------------------------------------------------------

    def node(self) -> None:
        """Killed, stopped longer than its lease, or cut off from the ledger. The first is never killed."""
        well = [node for node in self.world.nodes if not node.until]
        if len(well) < len(self.world.nodes):
            return
        node = self.chance.choice(well)
        spared = node is self.world.nodes[0]
        what = self.chance.choice(["stopped", "cut off"] if spared else ["killed", "killed", "stopped", "cut off"])
        for_s = self.chance.uniform(0.5, 12)
        befall(node, what, self.world.ledger, for_s)
        self.done[what] += 1
        self._after(for_s, lambda: mend(node))

    def sessions(self) -> None:
        """All sessions of the nodes in one database."""
        url = self.chance.choice([self.world.app, self.world.ledger, self.world.own.url])
        mine = "datname = current_database() AND application_name LIKE 'soak-n%'"
        run_sql(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")

    def server(self) -> None:
        """Its processes die at once; it comes back on what it left."""
        if "server" in self._down:
            return
        self._down.add("server")
        self.world.own.kill()

        def back() -> None:
            self.world.own.start()
            self._down.discard("server")

        self._after(self.chance.uniform(0.5, 5), back)

    def redis(self) -> None:
        if "redis" in self._down:
            return
        self._down.add("redis")
        self.world.cache.kill()

        def back() -> None:
            self.world.cache.start()
            self._down.discard("redis")

        self._after(self.chance.uniform(0.5, 5), back)

    def convoy(self) -> None:
        """Many rows are locked for a while, and behind it wait others who want the whole table."""
        name, for_s = self.chance.choice(["live", "heard", "turns"]), self.chance.uniform(1, 4)

        def hold() -> None:
            with suppress(psycopg.Error), psycopg.connect(self.world.app) as c:
                c.execute(f"SELECT * FROM t_{name} WHERE id % 3 = 0 FOR UPDATE".encode())
                time.sleep(for_s)

        def wait() -> None:
            time.sleep(for_s / 4)
            with suppress(psycopg.Error), psycopg.connect(self.world.app) as c:
                c.execute("SET lock_timeout = '3s'")
                c.execute(f"LOCK TABLE t_{name} IN EXCLUSIVE MODE".encode())
                time.sleep(0.3)

        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for work in (hold, wait, wait):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            self._threads.append(thread)
