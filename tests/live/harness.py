"""What the live and fault tests share: an application on real databases, and ways to stand in the middle of a repair.

Db          one database, by its plain driver; the application and the judge use it, never the engine
Counters    edges and a counter of them, in one database; the application keeps both in one transaction
Docs        documents in two databases; the application commits the source and then delivers to the target
around      do something just before or after one step of the engine, once
Background  a thread whose end is waited for with a limit, and whose error comes out
blocked     until PostgreSQL itself says that somebody waits for a lock
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trueup import Database, Limits, Projection, Side, Trueup
from trueup.core import plan
from trueup.observe import Progress

#: Seconds after which something that should have happened is called missing: far more than a busy machine needs.
PATIENCE_S = 60.0
WIDE = Limits(rows=100_000, share=1, deletes=100_000, collapse=0)


# --- waiting ---------------------------------------------------------------------------------------------------------


def until(
    found: Callable[[], object],
    what: str = "what the test waits for",
    *,
    timeout_s: float = PATIENCE_S,
    pause_s: float = 0.005,
) -> None:
    """Look again and again until `found()` is true; a TimeoutError names `what`."""
    pause = threading.Event()
    end = time.monotonic() + timeout_s
    while not found():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        pause.wait(pause_s)


class Background:
    """`fn` in a thread."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(fn,), daemon=True)
        self._thread.start()

    def _run(self, fn: Callable[[], Any]) -> None:
        try:
            self._result = fn()
        except BaseException as error:  # handed to whoever joins
            self._error = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def join(self, timeout_s: float = PATIENCE_S) -> Any:
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"still running after {timeout_s:g} s")
        if self._error is not None:
            raise self._error
        return self._result


class QuickClock:
    """The machine's time, but nobody waits: what the application does in a pause is called in it, one call a pause."""

    def __init__(self, *meanwhile: Callable[[], object]) -> None:
        self.meanwhile = list(meanwhile)
        self.waits: list[float] = []

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return False

    def interrupt(self) -> None: ...


@contextmanager
def around(
    owner: object,
    name: str,
    *,
    before: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
    nth: int = 1,
) -> Iterator[list[int]]:
    """Patch `owner.name` so that its `nth` call is preceded and followed by what the application does meanwhile.

    Yields a list with one entry a call; a block whose step was never reached proves nothing, so that is an error.
    """
    original = getattr(owner, name)
    calls: list[int] = []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        mine = len(calls) == nth
        if mine and before:
            before()
        result = original(*args, **kwargs)
        if mine and after:
            after()
        return result

    setattr(owner, name, wrapped)
    try:
        yield calls
    finally:
        setattr(owner, name, original)
    assert len(calls) >= nth, f"{name} was called {len(calls)} times; the interleaving at call {nth} did not happen"


@contextmanager
def instead(owner: object, name: str, replacement: Any) -> Iterator[None]:
    """Take a guard out."""
    original = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def keys_per_segment(keys: int) -> Iterator[None]:
    """Small segments and units, so that a handful of rows has borders in between; slow machines do not change them."""
    small = instead(plan, "KEYS_PER_SEGMENT", keys), instead(plan.by_keys, "__defaults__", (keys,))
    with small[0], small[1], instead(plan, "HOLD_S", 1e9):
        yield


# --- databases -------------------------------------------------------------------------------------------------------


class Db:
    """One database by its plain driver."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sqlite = url.startswith("sqlite")
        #: How an application begins a transaction that will write.
        self.begin = "BEGIN IMMEDIATE" if self.sqlite else "BEGIN"

    def connect(self, *, timeout_s: float = 30.0) -> Any:
        """A connection in autocommit mode: every BEGIN and COMMIT is said aloud."""
        if self.sqlite:
            path = self.url.removeprefix("sqlite:///")
            connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA synchronous=OFF")
            return connection
        import psycopg

        return psycopg.connect(self.url, autocommit=True, application_name="application")

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Each in its own transaction; the rows of the last."""
        with closing(self.connect()) as c:
            for statement in statements:
                cursor = c.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def one(self, statement: str) -> Any:
        return self.sql(statement)[0][0]

    def together(self, *statements: str) -> None:
        """All in one transaction."""
        with closing(self.connect()) as c:
            for statement in (self.begin, *statements, "COMMIT"):
                c.execute(statement)

    def marked(self) -> int:
        """Units that committed here and were not closed by recovery."""
        return int(self.one("SELECT count(*) FROM trueup_applied WHERE NOT closed"))


WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
    "AND application_name = '{name}'"
)


def blocked(db: Db, *, who: str = "application", count: int = 1) -> None:
    """Until `count` sessions of `who` ('application' or 'trueup') wait for a lock in this database."""
    with closing(db.connect()) as c:
        until(
            lambda: c.execute(WAITING.format(name=who)).fetchone()[0] >= count,
            f"{count} sessions of {who} waiting for a lock",
        )


def databases(urls: Mapping[str, str], *, markers: bool = True, **settings: Any) -> dict[str, Database]:
    return {name: Database.model_validate({"url": url, "markers": markers, **settings}) for name, url in urls.items()}


# --- one database: edges and their counter ---------------------------------------------------------------------------


class Counters:
    """Edges of posts, and how many there are."""

    def __init__(self, url: str, writers: str = "same_transaction") -> None:
        self.db = Db(url)
        #: What the engine is told of our writers, unless it is told something else.
        self.writers = writers
        serial = "INTEGER PRIMARY KEY" if self.db.sqlite else "bigserial PRIMARY KEY"
        self.db.sql(
            f"CREATE TABLE edges(id {serial}, post INT NOT NULL)",
            "CREATE INDEX edges_post ON edges(post)",
            "CREATE TABLE counter(post INTEGER PRIMARY KEY, n BIGINT NOT NULL)",
        )

    def fill(self, posts: Mapping[int, tuple[int, int | None]]) -> None:
        """Post -> its edges, and what its counter says (None: there is no row)."""
        with closing(self.db.connect()) as c:
            c.execute(self.db.begin)
            for post, (edges, n) in posts.items():
                for _ in range(edges):
                    c.execute(f"INSERT INTO edges(post) VALUES ({post})")
                if n is not None:
                    c.execute(f"INSERT INTO counter VALUES ({post}, {n})")
            c.execute("COMMIT")

    def engine(
        self,
        folder: Path,
        *,
        clock: Any = None,
        progress: Progress | None = None,
        settings: Mapping[str, Any] | None = None,
        ledger: str | None = None,
        **declared: Any,
    ) -> Trueup:
        projection = Projection(
            name="counter",
            source=Side(database="app", query="SELECT post, count(*) AS n FROM edges GROUP BY post"),
            target=Side(database="app", table="counter"),
            key="post",
            # Naive writers break the same rows again and again here, and each repair is to be watched.
            **{"limits": WIDE, "writers": self.writers, "recurring": {"times": 0}, **declared},
        )
        return Trueup(
            databases=databases({"app": self.db.url}, **(settings or {})),
            projections=[projection],
            ledger=ledger or f"sqlite:///{folder / 'ledger.db'}",
            clock=clock or QuickClock(),
            progress=progress,
        )

    # what the application does; `c` is a connection, the caller says BEGIN and COMMIT

    @staticmethod
    def add_edge(c: Any, post: int) -> None:
        c.execute(f"INSERT INTO edges(post) VALUES ({post})")

    @staticmethod
    def increment(c: Any, post: int) -> None:
        c.execute(f"UPDATE counter SET n = n + 1 WHERE post = {post}")

    @staticmethod
    def upsert(c: Any, post: int, by: int = 1) -> None:
        c.execute(f"INSERT INTO counter VALUES ({post}, {by}) ON CONFLICT (post) DO UPDATE SET n = counter.n + ({by})")

    @staticmethod
    def put(c: Any, post: int, n: int) -> None:
        """What a repair by hand does: set a counter that may be missing."""
        c.execute(f"INSERT INTO counter VALUES ({post}, {n}) ON CONFLICT (post) DO UPDATE SET n = excluded.n")

    def write(self, post: int) -> None:
        """One whole transaction of the application."""
        with closing(self.db.connect()) as c:
            c.execute(self.db.begin)
            self.add_edge(c, post)
            self.upsert(c, post)
            c.execute("COMMIT")

    # what the judge sees

    def drift(self) -> dict[int, int]:
        """Post -> counter minus edges, for all posts, from one snapshot; a missing row counts as -edges."""
        rows = self.db.sql(
            "SELECT coalesce(c.post, e.post), coalesce(c.n, 0) - coalesce(e.n, 0) FROM counter c "
            "FULL JOIN (SELECT post, count(*) AS n FROM edges GROUP BY post) e ON e.post = c.post"
        )
        return {post: int(d) for post, d in rows}

    def wrong(self) -> dict[int, int]:
        return {post: d for post, d in self.drift().items() if d}


# --- two databases: documents and their copy -------------------------------------------------------------------------


class Docs:
    """Documents in one database and a copy of them in another."""

    def __init__(self, source: str, target: str) -> None:
        self.source = Db(source)
        self.target = Db(target)
        for db in (self.source, self.target):
            db.sql("CREATE TABLE doc(id INTEGER PRIMARY KEY, val BIGINT NOT NULL)")

    def engine(self, folder: Path, *, clock: Any = None, settings: Mapping[str, Any] | None = None, **declared: Any):
        projection = Projection(
            name="doc",
            source=Side(database="here", table="doc"),
            target=Side(database="there", table="doc"),
            key="id",
            limits=WIDE,
            **{"writers": "absolute", "settle": "0s", "recurring": {"times": 0}, **declared},
        )
        return Trueup(
            databases=databases({"here": self.source.url, "there": self.target.url}, **(settings or {})),
            projections=[projection],
            ledger=f"sqlite:///{folder / 'ledger.db'}",
            clock=clock or QuickClock(),
        )

    @staticmethod
    def put(db: Db, key: int, value: int | None) -> None:
        """Set a document on one side; None deletes it."""
        if value is None:
            db.sql(f"DELETE FROM doc WHERE id = {key}")
        else:
            db.sql(f"INSERT INTO doc VALUES ({key}, {value}) ON CONFLICT (id) DO UPDATE SET val = excluded.val")

    def write(self, key: int, value: int | None) -> None:
        """The application: commit the source, then deliver to the target."""
        self.put(self.source, key, value)
        self.put(self.target, key, value)

    def state(self, key: int = 1) -> tuple[int | None, int | None]:
        """(source, target)."""
        values = []
        for db in (self.source, self.target):
            rows = db.sql(f"SELECT val FROM doc WHERE id = {key}")
            values.append(rows[0][0] if rows else None)
        return values[0], values[1]
