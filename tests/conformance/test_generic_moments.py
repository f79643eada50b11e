"""Moments of a database that no adapter knows: a driver that hands out less than there is, is not believed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql, registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from tests.conformance.worlds import UNLIMITED, EngineClock, Postgresql, Sqlite
from tests.servers import Pair
from trueup import ConfigError, Database, Projection, Side, Trueup, Verdict
from trueup.errors import DesignProblem


class Precise(datetime):
    """A moment as some drivers hand it out: with nanoseconds beside what Python knows."""

    nanosecond = 7


def _moment(text: bytes) -> datetime:
    return datetime.fromisoformat(text.decode())


def _clock(text: bytes) -> timedelta:
    hours, minutes, seconds = text.decode().split(":")
    return timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))


#: Declared type -> what the driver makes of a text.
DRIVER: dict[str, Callable[[bytes], Any]] = {
    "MOMENT": _moment,
    "MOMENTTZ": _moment,
    "DATETIMEOFFSET": _moment,
    "PRECISE": lambda text: Precise.fromisoformat(text.decode()),
    "CLOCK": _clock,
    "CLOCKTZ": lambda text: time.fromisoformat(text.decode()),
    "DAY": lambda text: datetime.combine(date.fromisoformat(text.decode()), time()),
}


class Cursor(sqlite3.Cursor):
    """Tells digits of a second, as some drivers do."""

    digits: int | None = None

    @property
    def description(self) -> Any:
        told = super().description
        return told and tuple((*column[:5], self.digits, None) for column in told)


class Connection(sqlite3.Connection):
    def cursor(self, factory: Any = Cursor) -> Any:
        return super().cursor(factory)


class Dialect(SQLiteDialect_pysqlite):
    supports_statement_cache = True
    ischema_names = {  # noqa: RUF012 - SQLAlchemy's own declaration
        **SQLiteDialect_pysqlite.ischema_names,
        "MOMENT": sa.DateTime,
        "MOMENTTZ": lambda: sa.DateTime(timezone=True),
        "DATETIMEOFFSET": mssql.DATETIMEOFFSET,
        "PRECISE": sa.DateTime,
        "CLOCK": sa.Time,
        "CLOCKTZ": sa.Time,
        "DAY": sa.Date,
        "TIME": mssql.TIME,
    }

    def create_connect_args(self, url: sa.URL) -> Any:
        where, options = super().create_connect_args(url)
        return where, options | {"detect_types": sqlite3.PARSE_DECLTYPES, "factory": Connection}


@pytest.fixture
def compare(tmp_path: Path) -> Iterator[Callable[..., Trueup]]:
    """`v` of a type there, read from a table or a query, beside a target in SQLite or another database."""
    registry.register("moments", __name__, "Dialect")
    for name, read in DRIVER.items():
        sqlite3.register_converter(name, read)
    opened: list[Trueup] = []

    def make(type_: str, value: str, held: Any, *, of: str = "DATE", query: bool = False, target: Any = None) -> Trueup:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        with closing(sqlite3.connect(folder / "source.db")) as c:
            c.execute(f"CREATE TABLE src (id BIGINT PRIMARY KEY, v {type_})")
            c.execute("INSERT INTO src VALUES (1, ?)", [value])
            c.commit()
        place = target or Sqlite(f"sqlite:///{folder / 'target.db'}")
        place.sql("DROP TABLE IF EXISTS dst")
        place.table("dst", f"id {{integer}} PRIMARY KEY, v {of}", [(1, held)])
        side = {"query": "SELECT id, v FROM src"} if query else {"table": "src"}
        projection = Projection(
            name="p",
            source=Side(database="a", **side),
            target=Side(database="b", table="dst"),
            key=["id"],
            settle=0,
            limits=UNLIMITED,
        )
        databases = {"a": Database(url=f"moments:///{folder / 'source.db'}"), "b": Database(url=place.url)}
        ledger = f"sqlite:///{folder / 'ledger.db'}"
        opened.append(Trueup(databases=databases, projections=[projection], ledger=ledger, clock=EngineClock()))
        return opened[-1]

    yield make
    for app in opened:
        app.close()


Compare = Callable[..., Trueup]


@pytest.fixture
def typed(postgres_pair: Pair) -> Postgresql:
    return Postgresql(postgres_pair.target)


NOON = "2026-03-01 12:00:00"


@pytest.mark.parametrize(
    ("type_", "value", "of", "held", "same"),
    [
        ("MOMENT", NOON, "timestamp", NOON, True),
        ("MOMENT", NOON, "timestamp", f"{NOON}.000001", False),
        ("MOMENTTZ", f"{NOON}+00:00", "timestamptz", "2026-03-01 13:00:00+01:00", True),
        ("MOMENTTZ", f"{NOON}+00:00", "timestamptz", f"{NOON}+01:00", False),
        ("DATETIMEOFFSET", f"{NOON}+02:00", "timestamptz", "2026-03-01 10:00:00+00:00", True),
        ("DATETIMEOFFSET", f"{NOON}+02:00", "timestamptz", f"{NOON}+00:00", False),
        ("CLOCK", "12:00:00.5", "time", "12:00:00.5", True),
        ("CLOCK", "12:00:00.5", "time", "12:00:00.6", False),
        ("DAY", "2026-03-01", "date", "2026-03-01", True),
        ("DAY", "2026-03-01", "date", "2026-03-02", False),
    ],
)
def test_what_a_driver_hands_out_in_full_is_compared(
    compare: Compare, typed: Postgresql, type_: str, value: str, of: str, held: str, same: bool
) -> None:
    app = compare(type_, value, held, of=of, target=typed)
    assert app.check("p").verdict is (Verdict.IN_SYNC if same else Verdict.DRIFT)


@pytest.mark.parametrize(
    ("type_", "value", "of", "words"),
    [
        ("MOMENT", f"{NOON}+02:00", "timestamp", r"'v' .*holds values with a time zone"),
        ("MOMENTTZ", NOON, "timestamptz", r"'v' .* without saying in which zone"),
        ("DATETIMEOFFSET", NOON, "timestamptz", r"'v' .* without saying in which zone"),
        ("CLOCKTZ", "12:00:00+01:00", "time", r"'v' .*holds values with a time zone"),
        ("PRECISE", NOON, "timestamp", r"'v' .*holds nanoseconds"),
    ],
)
@pytest.mark.parametrize("query", [False, True])
def test_what_does_not_tell_what_it_is_ends_the_run(
    compare: Compare, typed: Postgresql, type_: str, value: str, of: str, words: str, query: bool
) -> None:
    app = compare(type_, value, value.partition("+")[0], of=of, target=typed, query=query)
    with pytest.raises(DesignProblem, match=words):
        app.check("p")


def test_digits_that_a_driver_says_it_cuts(compare: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    app = compare("MOMENT", NOON, NOON, of="TIMESTAMP")
    assert app.check("p").verdict is Verdict.IN_SYNC
    monkeypatch.setattr(Cursor, "digits", 6)
    assert app.check("p").verdict is Verdict.IN_SYNC
    monkeypatch.setattr(Cursor, "digits", 7)
    with pytest.raises(DesignProblem, match=r"'v' .*has 7 digits of a second: only microseconds can be compared"):
        app.check("p")


def test_a_type_with_nanoseconds_is_refused(compare: Compare) -> None:
    with pytest.raises(ConfigError, match=r"'v' cannot be compared exactly: TIME of 9 digits in the source"):
        compare("TIME(9)", "12:00:00", "12:00:00", of="TIME").check("p")
    assert compare("TIME(6)", "12:00:00", "12:00:00", of="TIME").check("p").verdict is Verdict.IN_SYNC


def test_text_keeps_its_digits(compare: Compare, typed: Postgresql) -> None:
    """As some drivers hand out what Python has no type for."""
    for of, text in (("time", "12:00:00"), ("timestamp", NOON)):
        for digits, same in ((".123456", True), (".123456000", True), (".123456789", False)):
            app = compare("VARCHAR(40)", text + digits, f"{text}.123456", of=of, target=typed)
            assert app.check("p").verdict is (Verdict.IN_SYNC if same else Verdict.DRIFT)


def test_a_real_driver_by_its_dialect_alone(postgres_pair: Pair, tmp_path: Path) -> None:
    """PostgreSQL by another name: instants, moments, times and days, as values and as keys."""
    registry.register("byname", "sqlalchemy.dialects.postgresql.psycopg", "PGDialect_psycopg")
    source, target = Postgresql(postgres_pair.source), Postgresql(postgres_pair.target)
    moments = [datetime(2026, 10, 25, hour, 30, 0, n, tzinfo=UTC) for hour in (0, 1) for n in (0, 1)]
    rows = [(m, m.replace(tzinfo=None), m.time(), m.date()) for m in moments]
    columns = "a {instant} PRIMARY KEY, b {timestamp}, c {time}, d {date}"
    source.table("src", columns, rows)
    target.table("dst", columns, [(*rows[0][:2], time(0, 30, 0, 9), rows[0][3]), *rows[1:3]])
    url = postgres_pair.source.replace("postgresql:", "byname:")
    app = Trueup(
        databases={"a": Database(url=url), "b": Database(url=postgres_pair.target)},
        projections=[
            Projection(
                name="p",
                source=Side(database="a", table="src"),
                target=Side(database="b", table="dst"),
                key=["a"],
                settle=0,
                limits=UNLIMITED,
            )
        ],
        ledger=f"sqlite:///{tmp_path / 'ledger.db'}",
        clock=EngineClock(),
    )
    with app:
        report = app.check("p")
    assert {(row["kind"], row["key"]["a"]) for row in report.drift} == {
        ("different", "2026-10-25 00:30:00+00:00"),
        ("missing", "2026-10-25 01:30:00.000001+00:00"),
    }
    assert report.different_by_column == {"c": 1}
