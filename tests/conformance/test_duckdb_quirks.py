"""What DuckDB does in its own way: one process writes, transactions conflict, and the driver hands out less than there
is."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.conformance.worlds import Duckdb, EngineClock, Pairing, World
from tests.live.harness import until
from trueup import ConfigError, Database, Verdict
from trueup.adapters import _duckdb_dialect, connect
from trueup.adapters import duckdb as adapter
from trueup.adapters._duckdb_dialect import Deadline
from trueup.errors import Busy, ConnectionFailed

COLUMNS = "id {integer} PRIMARY KEY, v {integer}"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Both sides in one DuckDB file."""
    monkeypatch.setattr(adapter.DuckdbAdapter, "patience_s", 0.2)
    path = tmp_path / "one.duckdb"
    duckdb.connect(str(path)).close()
    place = Duckdb(f"duckdb:///{path}")
    made = World(Pairing(source="duckdb", target="duckdb", together=True), place, place, tmp_path)
    yield made
    made.close()


@pytest.fixture
def kept(world: World) -> Iterator[World]:
    """One that the application has open, for what does not depend on who opens it."""
    world.source.keep_open()
    yield world
    world.source.close()


def path_of(world: World) -> str:
    return world.source.url.removeprefix("duckdb:///")


@contextmanager
def another_process(world: World, *, read_only: bool) -> Iterator[int]:
    """A process that has the file open, until the block ends."""
    code = (
        f"import duckdb, sys; c = duckdb.connect({path_of(world)!r}, read_only={read_only}); print(1); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-uc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        yield process.pid
        process.communicate()


def opens_elsewhere(world: World) -> bool:
    """Can another process write the file now?"""
    code = f"import duckdb; duckdb.connect({path_of(world)!r}).execute('CHECKPOINT')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_who_holds_the_file_is_named(world: World) -> None:
    world.tables(COLUMNS, [(1, 1)], [(1, 2)])
    app = world.app()
    with another_process(world, read_only=False) as process:
        with pytest.raises(Busy, match=rf"PID {process}\).*one process write") as caught:
            app.check("p")
        assert path_of(world) in str(caught.value)
    assert app.check("p").different == 1


def test_a_reader_elsewhere_does_not_keep_us_from_reading(world: World) -> None:
    world.tables(COLUMNS, [(1, 1)], [(1, 2)])
    app = world.app()
    with another_process(world, read_only=True):
        assert app.check("p").different == 1
        with pytest.raises(Busy):
            app.run("p")
    app.resume("p")  # the engine paused it
    assert app.run("p").verdict is Verdict.REPAIRED


def test_the_file_is_closed_between_readings(world: World) -> None:
    """A process that keeps it open keeps the application from writing."""
    world.tables(COLUMNS, [(1, 1)], [(1, 2)])
    app = world.app()
    app.check("p")
    assert opens_elsewhere(world)
    app.run("p")
    assert opens_elsewhere(world)
    with duckdb.connect(path_of(world), read_only=True):
        assert not opens_elsewhere(world), "the positive control: an open file does keep it out"


def test_the_application_may_have_it_open_in_this_process(world: World) -> None:
    world.tables(COLUMNS, [(1, 1), (2, 2)], [(1, 2), (2, 2)])
    with duckdb.connect(path_of(world)) as application:
        assert world.app().run("p").verdict is Verdict.REPAIRED
        application.execute("UPDATE dst SET v = 7 WHERE id = 2")
        assert world.app().check("p").different == 1


def test_of_two_writers_of_one_row_the_later_is_busy(world: World) -> None:
    """The application's transaction in this process is never overwritten."""
    world.tables(COLUMNS, [(1, 1), (2, 2)], [(1, 5), (2, 6)])
    app = world.app(clock=EngineClock())
    with duckdb.connect(path_of(world)) as application:
        application.begin()
        application.execute("UPDATE dst SET v = 1 WHERE id = 1")
        report = app.run("p")
        assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 1, 1)
        application.commit()
    assert app.run("p").verdict is Verdict.IN_SYNC
    assert world.target.rows("dst") == {(1, 1), (2, 2)}


def test_raising_a_fence_waits_for_an_open_unit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter.DuckdbAdapter, "patience_s", 20.0)
    world.tables(COLUMNS)
    ours = adapter.connect("a", Database(url=world.source.url))
    assert ours.raise_fence("p") == 1
    raised = threading.Event()
    tokens: list[int | None] = []

    def raise_it() -> None:
        tokens.append(adapter.connect("b", Database(url=world.source.url)).raise_fence("p"))
        raised.set()

    with ours.writing() as connection:
        connection.exec_driver_sql("SELECT token FROM trueup_fence").fetchall()
        thread = threading.Thread(target=raise_it)
        thread.start()
        assert not raised.wait(0.3)
    thread.join()
    assert tokens == [2]


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    reader = connect("a", Database(url=f"duckdb:///{tmp_path / 'none.duckdb'}"))
    with pytest.raises(ConnectionFailed, match="there is no file"):
        reader.tables()
    with pytest.raises(ConnectionFailed, match="there is no file"):
        reader.raise_fence("p")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "junk.duckdb").write_text("junk" * 10_000)
    with pytest.raises(ConnectionFailed, match="not a valid DuckDB"):
        connect("a", Database(url=f"duckdb:///{tmp_path / 'junk.duckdb'}")).tables()


def test_settings_in_the_url(world: World) -> None:
    world.tables(COLUMNS, [(1, 1)], [(1, 1)])
    given = Database(url=f"{world.source.url}?memory_limit=100MB&threads=1")
    with adapter.connect("a", given).reading() as connection:
        found = connection.exec_driver_sql("SELECT current_setting('memory_limit'), current_setting('threads')").one()
    assert tuple(found) == ("95.3 MiB", 1)
    with pytest.raises(ConfigError, match="unknown setting 'memory'; did you mean 'memory_limit'"):
        connect("a", Database(url=f"{world.source.url}?memory=1"))


def test_rows_are_spilled_where_nobody_else_can_look(world: World) -> None:
    world.tables(COLUMNS, [(1, 1)], [(1, 1)])
    asked = "SELECT current_setting('temp_directory')"
    with (
        adapter.connect("a", Database(url=world.source.url)).reading() as one,
        adapter.connect("b", Database(url=world.source.url)).reading() as other,  # of one file, at the same time
    ):
        folder = Path(str(one.exec_driver_sql(asked).scalar()))
        assert other.exec_driver_sql(asked).scalar() == str(folder)
    assert folder.name != "trueup-duckdb", "a name that others can foresee"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == os.getuid()


def test_only_a_call_whose_own_time_is_over_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches may get its turn only in the next call, which has time of its own."""
    now_s = [0.0]
    interrupted: list[int] = []
    monkeypatch.setattr(_duckdb_dialect, "_watch", lambda *_: None)
    deadline = Deadline(1.0, lambda: interrupted.append(1), lambda: now_s[0])

    def look(at_s: float) -> float | None:
        now_s[0] = at_s
        return deadline.look()

    with deadline.watching():
        assert look(0.5) == 0.5
    now_s[0] = 0.9
    with deadline.watching():
        assert look(1.5) == pytest.approx(0.4), "the next look is when the time of this call is over"
        assert (interrupted, deadline.passed) == ([], False)
        assert look(2.0) == 1.0
        assert (interrupted, deadline.passed) == ([1], True), "the positive control"
    assert look(9.0) is None
    assert interrupted == [1], "between two calls there is nothing to interrupt"


def test_one_thread_watches_all_calls_of_a_connection(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    class Counted(threading.Thread):
        def start(self) -> None:
            started.append(self.name)
            super().start()

    world.tables(COLUMNS, [(1, 1)], [(1, 1)])
    monkeypatch.setattr(_duckdb_dialect.threading, "Thread", Counted)
    with adapter.connect("a", Database(url=world.source.url)).reading() as connection:
        for _ in range(20):
            connection.exec_driver_sql("SELECT 1").all()
    assert started == ["duckdb-deadline"]
    until(lambda: "duckdb-deadline" not in {thread.name for thread in threading.enumerate()}, "the watch's end")


def other_types(world: World, type_: str, source: str, target: str, target_type: str = "") -> Any:
    world.source.sql(
        "DROP TABLE IF EXISTS src", "DROP TABLE IF EXISTS dst",
        f"CREATE TABLE src (id BIGINT PRIMARY KEY, v {type_})", f"INSERT INTO src VALUES (1, {source})",
        f"CREATE TABLE dst (id BIGINT PRIMARY KEY, v {target_type or type_})", f"INSERT INTO dst VALUES (1, {target})",
    )  # fmt: skip
    return world.app(ledger=f"sqlite:///{world.folder / f'{len(world.opened)}.db'}").run("p")


@pytest.mark.parametrize(
    ("type_", "source", "target"),
    [
        ("HUGEINT", "170141183460469231731687303715884105727", "170141183460469231731687303715884105726"),
        ("UHUGEINT", "340282366920938463463374607431768211455", "340282366920938463463374607431768211454"),
        ("UBIGINT", "18446744073709551615", "18446744073709551614"),
        ("DECIMAL(38, 30)", "0.100000000000000000000000000001", "0.1"),
        ("INTERVAL", "INTERVAL '1 month'", "INTERVAL '2 months'"),
        ("INTERVAL", "'-14 months 3 days -100:00:00.000001'", "'-14 months 3 days -100:00:00'"),
        ("INTEGER[]", "[1, NULL, 3]", "[1, 3]"),
        ("INTEGER[2][]", "[[1, 2], [3, 4]]", "[[1, 2]]"),
        ("DECIMAL(38, 30)[]", "[0.100000000000000000000000000001, 1.5]", "[0.1, 1.5]"),
        ("VARCHAR[]", "['NULL', 'it''s, \"x\"']", "[NULL, 'it''s, \"x\"']"),
        ("BLOB[]", "['\\x00\\xff'::BLOB]", "['\\x00'::BLOB]"),
        ("UUID[]", "['00000000-0000-0000-0000-00000000000a']", "['00000000-0000-0000-0000-00000000000b']"),
        ("DATE[]", "['infinity'::DATE]", "['9999-12-31'::DATE]"),
        ("FLOAT[]", "[0.1]", "[0.2]"),
        ("STRUCT(a VARCHAR, b INTEGER)", "{'a': 'it''s, x', 'b': 1}", "{'a': 'it', 'b': 1}"),
        ("MAP(VARCHAR, INTEGER)", "MAP {'a': 1}", "MAP {'a': 2}"),
        ("ENUM ('b', 'a')", "'a'", "'b'"),
        ("BIT", "'0101'", "'101'"),
        ("UUID", "'00000000-0000-0000-0000-00000000000a'", "'00000000-0000-0000-0000-00000000000b'"),
        ("BLOB", "'\\x00\\xff'::BLOB", "'\\x00'::BLOB"),
        ("TIME", "'12:00:00.000001'", "'12:00:00'"),
        ("TIMESTAMP_S", "'2026-01-02 03:04:05'", "'2026-01-02 03:04:06'"),
        ("TIMESTAMP_MS", "'2026-01-02 03:04:05.001'", "'2026-01-02 03:04:05.002'"),
        ("TIMESTAMP_NS", "'2026-01-02 03:04:05.000001'", "'2026-01-02 03:04:05.000002'"),
        ("TIMESTAMPTZ", "'2026-01-02 03:04:05+02'", "'2026-01-02 03:04:05+00'"),
        ("VARCHAR COLLATE NOCASE", "'Ann'", "'ann'"),
        ("FLOAT", "0.1", "0.2"),
        ("BOOLEAN", "true", "NULL"),
        ("JSON", """'{"a": [1, 2]}'""", """'{"a": [1]}'"""),
    ],
)
def test_each_type_is_compared_and_repaired(kept: World, type_: str, source: str, target: str) -> None:
    assert other_types(kept, type_, source, source).verdict is Verdict.IN_SYNC
    report = other_types(kept, type_, source, target)
    assert (report.verdict, report.different, report.repaired) == (Verdict.REPAIRED, 1, 1)
    (same,) = kept.source.sql("SELECT s.v::VARCHAR = d.v::VARCHAR FROM src s JOIN dst d USING (id)")
    assert same == (True,)


@pytest.mark.parametrize(
    ("type_", "one", "other"),
    [
        ("UNION(a INTEGER, b VARCHAR)", "union_value(a := 1)", "union_value(b := '1')"),
        ("STRUCT(u UNION(a INTEGER, b INTEGER))", "{'u': union_value(a := 1)}", "{'u': union_value(b := 1)}"),
        ("VARIANT", "1::VARIANT", "'1'::VARIANT"),
    ],
)
def test_a_value_that_does_not_say_its_type_is_refused(world: World, type_: str, one: str, other: str) -> None:
    """Values travel as text, and these two have one."""
    assert world.source.sql(f"SELECT {one}::{type_}::VARCHAR = {other}::{type_}::VARCHAR") == [(True,)], "the control"
    with pytest.raises(ConfigError, match="do not say of which type they are"):
        other_types(world, type_, one, other)


def test_an_update_that_duckdb_skips_is_no_repair(world: World) -> None:
    """It takes a month for thirty days, and so leaves the row as it is: noticed, and reported."""
    report = other_types(world, "INTERVAL", "INTERVAL '1 month'", "INTERVAL '30 days'")
    assert (report.verdict, report.different, report.repaired) == (Verdict.DRIFT, 1, 0)
    (known,) = world.opened[-1].drift("p")
    assert "did not keep what was written" in known.reason


@pytest.mark.parametrize(
    ("source_type", "source", "target_type", "target", "differ"),
    [
        ("BIGINT", "9007199254740993", "DECIMAL(20, 2)", "9007199254740992", True),
        ("HUGEINT", "170141183460469231731687303715884105727", "DECIMAL(38, 10)", "1.5", True),
        ("DECIMAL(38, 30)", "1.5", "DECIMAL(10, 2)", "1.5", False),
        ("BIGINT", "9007199254740993", "DOUBLE", "9007199254740992", True),
        ("DECIMAL(20, 18)", "0.1", "DOUBLE", "0.1", False),
        ("DECIMAL(20, 18)", "0.100000000000000001", "DOUBLE", "0.1", True),
        ("FLOAT", "0.1", "DOUBLE", "0.1", False),
        ("BOOLEAN", "true", "BIGINT", "1", False),
        ("BOOLEAN", "true", "BIGINT", "2", True),
        ("TIMESTAMP_NS", "'2026-01-02 03:04:05.000001'", "TIMESTAMP", "'2026-01-02 03:04:05.000001'", False),
        ("UTINYINT", "255", "BIGINT", "255", False),
        ("DECIMAL(5, 0)", "10", "BIGINT", "1", True),
        ("DECIMAL(5, 0)", "10", "DECIMAL(7, 2)", "10", False),
        ("DECIMAL(2, 2)", "0", "BIGINT", "0", False),
        ("DECIMAL(2, 2)", "0.5", "DECIMAL(3, 1)", "0.5", False),
        ("DECIMAL(2, 2)", "-0.5", "DECIMAL(3, 1)", "0.5", True),
    ],
)
def test_numbers_of_two_types(
    kept: World, source_type: str, source: str, target_type: str, target: str, differ: bool
) -> None:
    """DuckDB casts one to the other, and 2**53 + 1 as a float is 2**53."""
    kept.source.sql(
        f"CREATE TABLE src (id BIGINT PRIMARY KEY, v {source_type})", f"INSERT INTO src VALUES (1, {source})",
        f"CREATE TABLE dst (id BIGINT PRIMARY KEY, v {target_type})", f"INSERT INTO dst VALUES (1, {target})",
    )  # fmt: skip
    assert kept.app().check("p").different == int(differ)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        *(("DECIMAL(10, 2)", other) for other in ("BIGINT", "DECIMAL(12, 4)", "DOUBLE")),
        *(("BIGINT", other) for other in ("DECIMAL(10, 2)", "HUGEINT", "DOUBLE")),
        ("DECIMAL(2, 2)", "BIGINT"),
        ("DOUBLE", "DECIMAL(10, 2)"),
    ],
)
@pytest.mark.parametrize("nought", [0, 0.0], ids=str)
def test_nothing_is_a_number_of_two_types(world: World, source: str, target: str, nought: float) -> None:
    """What a row or a NULL counts as has no column of its own, and was spelt as if it had."""
    world.source.sql(
        f"CREATE TABLE src (id BIGINT PRIMARY KEY, v {source})", "INSERT INTO src VALUES (1, NULL), (2, 0), (5, NULL)",
        f"CREATE TABLE dst (id BIGINT PRIMARY KEY, v {target})",
        "INSERT INTO dst VALUES (1, 0), (2, NULL), (3, 0), (4, 7), (5, 7)",
    )  # fmt: skip
    report = world.app(nulls={"v": "zero"}, absent={"v": nought}).check("p", rows=0)
    assert {(row["kind"], row["key"]["id"]) for row in report.drift} == {("extra", 4), ("different", 5)}


@pytest.mark.parametrize(
    ("type_", "value", "driver"),
    [
        ("DATE", "'infinity'", date.max),
        ("TIMESTAMP", "'infinity'", datetime.max),
        ("TIMESTAMP_NS", "'2026-01-02 03:04:05.123456789'", datetime(2026, 1, 2, 3, 4, 5, 123456)),
    ],
)
def test_what_the_driver_would_cut_is_an_error(world: World, type_: str, value: str, driver: Any) -> None:
    world.source.sql(
        f"CREATE TABLE src (id BIGINT PRIMARY KEY, v {type_})", f"INSERT INTO src VALUES (1, {value})",
        f"CREATE TABLE dst (id BIGINT PRIMARY KEY, v {type_})", "INSERT INTO dst VALUES (1, '2026-01-02')",
    )  # fmt: skip
    assert world.source.sql("SELECT v FROM src") == [(driver,)], "the control: the driver does not keep the value"
    report = world.app().check("p")
    assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 3)
    assert re.search("v holds (infinity|nanoseconds), and moments are .* with a query", report.to_json_text())
    as_text = "SELECT id, v::VARCHAR v FROM src"
    text = world.app(source=as_text, target="SELECT id, v::VARCHAR v FROM dst")
    assert text.check("p").different == 1


@pytest.mark.parametrize(
    ("source", "target"),
    [("TIMESTAMP", "TIMESTAMP_NS"), ("TIMESTAMP_NS", "TIMESTAMP"), ("TIMESTAMP_NS", "TIMESTAMP_NS")],
)
def test_a_key_with_nanoseconds_is_not_taken_for_another(kept: World, source: str, target: str) -> None:
    """A row that is extra was named by the key of one that is right, and is not the one that a repair looks at."""
    kept.source.sql(
        f"CREATE TABLE src (id {source}, v BIGINT)", "INSERT INTO src VALUES ('2020-01-01', 1), ('2020-01-02', 2)",
        f"CREATE TABLE dst (id {target} PRIMARY KEY, v BIGINT)", "INSERT INTO dst VALUES ('2020-01-01', 1)",
    )  # fmt: skip
    report = kept.app().check("p")
    assert [(row["kind"], row["key"]) for row in report.drift] == [("missing", {"id": "2020-01-02 00:00:00"})]
    odd = "dst" if target == "TIMESTAMP_NS" else "src"
    kept.source.sql(f"INSERT INTO {odd} VALUES ('2020-01-01 00:00:00.0000004', 1)")
    rows = "SELECT id::VARCHAR, v FROM dst ORDER BY id"
    before = kept.source.sql(rows)
    ran = kept.app(on_extra="delete").run("p")
    assert (ran.verdict, ran.repaired) == (Verdict.INCONCLUSIVE, 0)
    assert "nanoseconds" in ran.to_json_text()
    assert kept.source.sql(rows) == before


def test_a_key_in_a_year_that_nanoseconds_do_not_reach_is_a_missing_row(kept: World) -> None:
    kept.source.sql(
        "CREATE TABLE src (id TIMESTAMP, v BIGINT)", "INSERT INTO src VALUES ('2020-01-01', 1), ('2500-01-01', 2)",
        "CREATE TABLE dst (id TIMESTAMP_NS PRIMARY KEY, v BIGINT)", "INSERT INTO dst VALUES ('2020-01-01', 1)",
    )  # fmt: skip
    report = kept.app().check("p")
    assert [(row["kind"], row["key"]) for row in report.drift] == [("missing", {"id": "2500-01-01 00:00:00"})]


def test_keys_of_instants_need_no_further_package(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytz", None)
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    world.source.table("src", "id {instant} PRIMARY KEY, v {integer}", [(moment, 1) for moment in moments])
    world.target.table("dst", "id {instant} PRIMARY KEY, v {integer}", [(moment, 1) for moment in moments[:2]])
    report = world.app().check("p")
    assert (report.missing, report.drift[0]["key"]) == (1, {"id": "2026-01-03 00:00:00+00:00"})


def test_a_number_that_no_parameter_holds(world: World) -> None:
    """The driver makes a float of a decimal with more than 38 digits."""
    world.tables("id {integer} PRIMARY KEY, v {number}", [(1, Decimal(1))], [(1, Decimal("0.1"))])
    app = world.app(absent={"v": "1" + "0" * 45}, on_extra="report")
    world.source.sql("DELETE FROM src")
    assert app.check("p").verdict is Verdict.INCONCLUSIVE
