"""Where a conformance test runs: a source and a target, each on some database, in one database or in two.

The pairings come from the adapters that exist (`trueup.adapters.known`). An adapter joins the suite by an entry in
`SETUPS`; one without an entry fails every test that would have used it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import duckdb
import psycopg
import pytest

from tests.clock import FakeClock
from tests.servers import CONNECT_S, Pair, mariadb_connection
from trueup import Database, Limits, Projection, Side, Trueup
from trueup.adapters import connect, known

Row = tuple[Any, ...]

#: No limit of a run comes into play unless a test is about it.
UNLIMITED = Limits(rows=10**9, share="100%", deletes=10**9, collapse="0%")


class Place:
    """One database as a test sees it: past the engine, through the driver."""

    #: Name of the adapter.
    engine: str
    #: What the tests call a type -> what this database calls it.
    types: Mapping[str, str]

    def __init__(self, url: str) -> None:
        self.url = url

    def sql(self, *statements: str) -> list[Row]:
        """Run statements, each its own transaction; rows of the last."""
        raise NotImplementedError

    def insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        raise NotImplementedError

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inserts within are one transaction, where each of its own takes its time."""
        yield

    def holding(self, statement: str, *, commit: bool = False) -> AbstractContextManager[None]:
        """A transaction of the application that has executed `statement` and stays open meanwhile."""
        raise NotImplementedError

    def table(self, name: str, columns: str, rows: Iterable[Sequence[Any]] = ()) -> None:
        """Make a table; `{text}` and the like in `columns` become this database's types."""
        self.sql(f"CREATE TABLE {name} ({columns.format_map(self.types)})")
        self.insert(name, rows)

    def connect(self) -> Any:
        """A connection that commits by itself."""
        raise NotImplementedError

    _kept: Any = None

    def keep_open(self) -> None:
        """Connect once for a test: to some databases that takes longer than most statements."""
        self._kept = self.connect()

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
        self._kept = None

    @contextmanager
    def session(self) -> Iterator[Any]:
        """The connection that is kept, or one for now."""
        if self._kept is not None:
            yield self._kept
            return
        with closing(self.connect()) as c:
            yield c

    def analyze(self, table: str) -> None:
        """Have the database look at its statistics now."""
        self.sql(f"ANALYZE {table}")

    def rows(self, table: str) -> set[Row]:
        found = self.sql(f"SELECT * FROM {table}")
        assert len(set(found)) == len(found)
        return set(found)

    def count(self, table: str) -> int:
        return int(self.sql(f"SELECT count(*) FROM {table}")[0][0])


class Postgresql(Place):
    engine = "postgresql"
    types = MappingProxyType(
        {"integer": "bigint", "small": "integer", "text": "text", "number": "numeric", "float": "double precision"}
        | {"boolean": "boolean", "bytes": "bytea", "uuid": "uuid", "date": "date", "time": "time"}
        | {"timestamp": "timestamp", "instant": "timestamptz", "json": "jsonb"}
    )

    def connect(self) -> Any:
        return psycopg.connect(self.url, autocommit=True, connect_timeout=CONNECT_S, prepare_threshold=None)

    def sql(self, *statements: str) -> list[Row]:
        rows: list[Row] = []
        with self.session() as c:
            for statement in statements:
                cursor = c.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
        return rows

    @contextmanager
    def at_once(self) -> Iterator[None]:
        with self.session() as c, c.transaction():
            yield

    @contextmanager
    def holding(self, statement: str, *, commit: bool = False) -> Iterator[None]:
        with psycopg.connect(self.url) as holder:
            holder.execute(statement.encode())
            yield
            holder.commit() if commit else holder.rollback()

    def insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        if rows := list(rows):
            places = ", ".join(["%s"] * len(rows[0]))
            with self.session() as c, c.transaction():
                into = table.replace("%", "%%")
                c.cursor().executemany(f"INSERT INTO {into} VALUES ({places})".encode(), rows)


class Mysql(Place):
    """MariaDB: text as most of it is (case and trailing blanks mean nothing), keys told apart by their bytes."""

    engine = "mysql"
    types = MappingProxyType(
        {"integer": "bigint", "small": "int", "text": "longtext", "number": "decimal(50,20)", "float": "double"}
        | {"boolean": "boolean", "bytes": "longblob", "uuid": "uuid", "date": "date", "time": "time(6)"}
        | {"timestamp": "datetime(6)", "instant": "timestamp(6)", "json": "json"}
    )
    #: Inserts are in a transaction that goes on.
    within = False
    #: A text column of a key.
    text_key = "varchar(190) COLLATE utf8mb4_nopad_bin"

    def connect(self) -> Any:
        return mariadb_connection(self.url, sql_mode="ANSI_QUOTES,STRICT_ALL_TABLES")

    def sql(self, *statements: str) -> list[Row]:
        with self.session() as c, c.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def analyze(self, table: str) -> None:
        self.sql(f"ANALYZE TABLE {table}")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        with self.session() as c:
            c.begin()
            self.within = True
            try:
                yield
            finally:
                self.within = False
            c.commit()

    @contextmanager
    def holding(self, statement: str, *, commit: bool = False) -> Iterator[None]:
        with mariadb_connection(self.url) as holder, holder.cursor() as cursor:
            holder.begin()
            cursor.execute(statement)
            yield
            holder.commit() if commit else holder.rollback()

    def table(self, name: str, columns: str, rows: Iterable[Sequence[Any]] = ()) -> None:
        declared = columns.format_map(self.types)
        keys = re.findall(r"(\w+) longtext PRIMARY KEY", declared)
        for listed in re.findall(r"PRIMARY KEY \(([^)]*)\)", declared):
            keys += listed.split(", ")
        for key in keys:
            declared = re.sub(rf"\b{key} longtext", f"{key} {self.text_key}", declared)
        self.sql(f"CREATE TABLE {name} ({declared})")
        self.insert(name, rows)

    def insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        if rows := [[in_utc(value) for value in row] for row in rows]:
            places = ", ".join(["%s"] * len(rows[0]))
            with self.session() as c, c.cursor() as cursor:
                if not self.within:
                    c.begin()
                into = table.replace("%", "%%")
                cursor.executemany(f"INSERT INTO {into} VALUES ({places})", rows)
                if not self.within:
                    c.commit()


def in_utc(value: Any) -> Any:
    """As an application spells it that knows its session to be at UTC."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return str(value) if isinstance(value, UUID) else value


class Sqlite(Place):
    engine = "sqlite"
    types = MappingProxyType(
        {"integer": "INTEGER", "small": "INTEGER", "text": "TEXT", "number": "NUMERIC", "float": "REAL"}
        | {"boolean": "BOOLEAN", "bytes": "BLOB", "uuid": "UUID", "date": "DATE", "time": "TIME"}
        | {"timestamp": "TIMESTAMP", "instant": "TIMESTAMP", "json": "JSON"}
    )

    @property
    def path(self) -> str:
        return self.url.removeprefix("sqlite:///")

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, timeout=60)

    def keep_open(self) -> None:
        """Opening it takes no time."""

    def sql(self, *statements: str) -> list[Row]:
        rows: list[Row] = []
        with closing(self.connect()) as c:
            for statement in statements:
                rows = c.execute(statement).fetchall()
        return rows

    def insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        if rows := [[spelt(value) for value in row] for row in rows]:
            places = ", ".join(["?"] * len(rows[0]))
            with closing(self.connect()) as c:
                c.execute("BEGIN")
                c.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
                c.execute("COMMIT")


class Duckdb(Place):
    engine = "duckdb"
    types = MappingProxyType(
        {"integer": "BIGINT", "small": "INTEGER", "text": "VARCHAR", "number": "DECIMAL(38, 15)", "float": "DOUBLE"}
        | {"boolean": "BOOLEAN", "bytes": "BLOB", "uuid": "UUID", "date": "DATE", "time": "TIME"}
        | {"timestamp": "TIMESTAMP", "instant": "TIMESTAMPTZ", "json": "JSON"}
    )

    def connect(self) -> duckdb.DuckDBPyConnection:
        """While one is kept, others are made at once."""
        return duckdb.connect(self.url.removeprefix("duckdb:///"))

    def table(self, name: str, columns: str, rows: Iterable[Sequence[Any]] = ()) -> None:
        super().table(name, re.sub(r"\bat (?={)", '"at" ', columns), rows)  # a reserved word here

    def sql(self, *statements: str) -> list[Row]:
        rows: list[Row] = []
        with self.connect() as c:
            for statement in statements:
                rows = c.execute(statement).fetchall()
        return rows

    def insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        if rows := list(rows):
            places = ", ".join(["?"] * len(rows[0]))
            with self.connect() as c:
                c.begin()
                c.executemany(f"INSERT INTO {table} VALUES ({places})", rows)
                c.commit()


class Parquet(Duckdb):
    """Files beside a DuckDB database that shows them as views."""

    engine = "file"

    def path(self, table: str) -> Path:
        return Path(self.url.removeprefix("duckdb:///")).with_name(f"{table}.parquet")

    def insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        super().insert(table, rows)
        file = self.path(table)
        self.sql(
            f"COPY {table} TO '{file}' (FORMAT parquet)",
            f"DROP TABLE {table}",
            f"CREATE VIEW {table} AS SELECT * FROM '{file}'",
        )


def spelt(value: Any) -> Any:
    """How an application writes a value that SQLite has no type for."""
    match value:
        case bool():
            return int(value)
        case datetime():
            return value.isoformat(" ")
        case Decimal() | UUID():
            return str(value)
        case date() | time():
            return value.isoformat()
    return value


#: Adapter -> how the tests reach its databases, and the fixture that gives two empty ones.
SETUPS: Mapping[str, tuple[Callable[[str], Place], str]] = {
    "duckdb": (Duckdb, "duckdb_pair"),
    "file": (Parquet, "duckdb_pair"),
    "mysql": (Mysql, "mariadb_pair"),
    "postgresql": (Postgresql, "postgres_pair"),
    "sqlite": (Sqlite, "sqlite_pair"),
}


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Which adapters a world has, and whether both sides live in one database."""

    source: str
    target: str
    together: bool = False

    def __str__(self) -> str:
        return f"{self.source}-alone" if self.together else f"{self.source}-{self.target}"


def pairings(adapters: Sequence[str]) -> list[Pairing]:
    """Each adapter with itself in one database, then all ordered pairs of different ones.

    Two databases of one kind are read as those of two kinds are, one reader a side, so they show nothing more.
    """
    alone = [Pairing(source=name, target=name, together=True) for name in adapters]
    return alone + [Pairing(source=a, target=b) for a in adapters for b in adapters if a != b]


def ring(adapters: Sequence[str]) -> list[Pairing]:
    """Each adapter with itself in one database, then once as source and once as target of another."""
    alone = [Pairing(source=name, target=name, together=True) for name in adapters]
    others = [*adapters[1:], adapters[0]]
    return alone + [Pairing(source=a, target=b) for a, b in zip(adapters, others, strict=True) if a != b]


def of_places(*places: str) -> list[str]:
    """Adapters of SQL databases that have such sides; nothing is connected."""
    found = []
    for name in known():
        with closing(connect("any", Database(url=f"{name}:///0"))) as adapter:
            told = adapter.capabilities
            found += [name] if told.dialect and set(places) & set(told.places) else []
    return found


#: Adapters of SQL databases: the pairings of this file are theirs. Stores without tables are in `stores.py`.
TABLES = of_places("table")
ALL = pairings(TABLES)
TOGETHER = [pairing for pairing in ALL if pairing.together]
#: For what depends on one side alone: the number of pairs grows with the square of the adapters, this one does not.
EACH_SIDE = ring(TABLES)


def places(
    pairing: Pairing, request: pytest.FixtureRequest, setups: Mapping[str, tuple[Callable[[str], Place], str]] = SETUPS
) -> tuple[Place, Place]:
    """The two sides of a pairing, empty; the application has them open."""
    for name in (pairing.source, pairing.target):
        if name not in setups:
            pytest.fail(f"the adapter {name!r} has no entry in SETUPS of {__file__}: it is not tested", pytrace=False)
    (make_source, from_source), (make_target, from_target) = setups[pairing.source], setups[pairing.target]
    source: Pair = request.getfixturevalue(from_source)
    target: Pair = request.getfixturevalue(from_target)
    there = make_source(source.source)
    other = there if pairing.together else make_target(target.target)
    for place in {there, other}:
        place.keep_open()
        request.addfinalizer(place.close)
    return there, other


class World:
    """Two sides, and the engine on them."""

    def __init__(self, pairing: Pairing, source: Place, target: Place, folder: Path) -> None:
        self.pairing = pairing
        self.source = source
        self.target = target
        self.folder = folder
        self.opened: list[Trueup] = []

    @property
    def together(self) -> bool:
        return self.pairing.together

    def tables(self, columns: str, source: Iterable[Sequence[Any]] = (), target: Iterable[Sequence[Any]] = ()) -> None:
        """`src` and `dst`, alike."""
        self.source.table("src", columns, source)
        self.target.table("dst", columns, target)

    def app(
        self,
        *,
        source: str | Side = "src",
        target: str | Side = "dst",
        key: Sequence[str] = ("id",),
        ledger: str = "",
        clock: EngineClock | None = None,
        source_database: Mapping[str, Any] | None = None,
        target_database: Mapping[str, Any] | None = None,
        **declared: Any,
    ) -> Trueup:
        """The engine with one projection `p`; a source that begins with SELECT or WITH is a query."""
        here = "a" if self.together else "b"
        databases = {here: Database(**({"url": self.target.url} | dict(target_database or {})))}
        if not self.together or source_database:
            databases["a"] = Database(**({"url": self.source.url} | dict(source_database or {})))
        defaults: dict[str, Any] = {
            "settle": 0,
            "writers": "same_transaction" if self.together else "absolute",
            "limits": UNLIMITED,
        }
        projection = Projection(
            name="p", source=side(source, "a"), target=side(target, here), key=key, **(defaults | declared)
        )
        app = Trueup(
            databases=databases,
            projections=[projection],
            ledger=ledger or f"sqlite:///{self.folder / 'ledger.db'}",
            clock=clock or EngineClock(),
        )
        self.opened.append(app)
        return app

    def close(self) -> None:
        for app in self.opened:
            app.close()


def side(declared: str | Side, database: str) -> Side:
    if isinstance(declared, Side):
        return declared.model_copy(update={"database": database})
    words = declared.lstrip().split()
    if words[0].upper() in ("SELECT", "WITH", "VALUES", "/*"):
        return Side(database=database, query=declared)
    return Side(database=database, table=declared)


class EngineClock:
    """The engine's clock over a `FakeClock`: waiting takes no time, and what is due in it happens."""

    def __init__(self, fake: FakeClock | None = None) -> None:
        self.fake = fake or FakeClock()
        self.interrupted = False

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.fake.now(), UTC)

    def monotonic(self) -> float:
        return self.fake.now()

    def wait(self, seconds: float) -> bool:
        if not self.interrupted:
            self.fake.sleep(max(seconds, 0.0))
        return self.interrupted

    def interrupt(self) -> None:
        self.interrupted = True

    def go_on(self) -> None:
        self.interrupted = False
