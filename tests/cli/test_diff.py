"""`trueup diff`: two sides named on the command line, and nothing left behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections import Counter
from pathlib import Path
from typing import Any, cast

import duckdb
import psycopg
import pytest
import sqlalchemy as sa

import trueup
from tests.cli.shop import PATIENCE_S, SCHEMA, Ran, Shop
from tests.cli.test_loop import FIELDS
from tests.servers import Pair
from trueup.adapters import Adapter, _sql, connect
from trueup.adapters._sql import SqlAdapter
from trueup.bound import described
from trueup.comparison import comparing
from trueup.core.projection import Database, Side
from trueup.core.shape import Shape

SOURCE = [(1, 10), (2, 20), (3, 30), (5, 50)]
TARGET = [(1, 10), (2, 99), (4, 40), (5, 50)]
BOTH = ("sqlite:///app.db#src", "sqlite:///app.db#tgt")
APART = ("sqlite:///app.db#src", "sqlite:///other.db#tgt")


@pytest.fixture
def drifted(shop: Shop) -> Shop:
    """The same two tables in one file and in two; no configuration."""
    shop.fill(SOURCE, TARGET)
    shop.sql(SCHEMA.format("tgt"), database="other")
    shop.sql(*(f"INSERT INTO tgt VALUES ({n}, {value}, NULL)" for n, value in TARGET), database="other")
    (shop.folder / "trueup.toml").unlink()
    return shop


def diff(shop: Shop, *arguments: str, **variables: str) -> Ran:
    """`trueup diff`, with temporary folders where they can be seen."""
    temporary = shop.folder / "tmp"
    temporary.mkdir(exist_ok=True)
    before = sorted(shop.folder.iterdir())
    ran = shop.run("diff", *arguments, environment={"TMPDIR": str(temporary), **variables})
    assert list(temporary.iterdir()) == []
    assert {*before} ^ {*shop.folder.iterdir()} <= {shop.folder / name for name in (".out", ".err")}
    return ran


# --- what it finds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [BOTH, APART], ids=["one database", "two"])
def test_the_report_is_that_of_check(drifted: Shop, sides: tuple[str, str]) -> None:
    ran = diff(drifted, *sides, "--key", "id", "--json")
    assert (ran.code, ran.json["verdict"]) == (1, "drift")
    report = ran.report
    for name, kind in FIELDS.items():
        assert isinstance(report[name], kind), name
    assert (report["missing"], report["extra"], report["different"]) == (1, 1, 1)
    assert (report["source_rows"], report["target_rows"]) == (4, 4)
    assert report["different_by_column"] == {"n": 1}
    assert (report["source"], report["target"], report["key"]) == (*sides, ["id"])
    rows = {row["kind"]: row for row in report["drift"]}
    assert rows["different"] == {
        "kind": "different",
        "key": {"id": 2},
        "expected": {"n": 20, "email": None},
        "observed": {"n": 99, "email": None},
        "columns": ["n"],
    }
    assert (rows["missing"]["key"], rows["missing"]["observed"]) == ({"id": 3}, None)
    assert (rows["extra"]["key"], rows["extra"]["expected"]) == ({"id": 4}, None)


def test_exit_codes(drifted: Shop) -> None:
    assert diff(drifted, "sqlite:///app.db#src", "sqlite:///app.db#src").code == 0
    assert diff(drifted, *BOTH).code == 1
    assert diff(drifted, *BOTH, "--columns", "email").code == 1  # a row is missing, whatever its columns
    assert diff(drifted, *BOTH, "--key", "nosuch").code == 2
    drifted.sql("CREATE TABLE mixed (id, n)", "INSERT INTO mixed VALUES (1, 1), ('x', 2)")
    drifted.sql("CREATE TABLE mixed (id, n)", "INSERT INTO mixed VALUES (1, 1), ('x', 2)", database="other")
    unordered = diff(drifted, "sqlite:///app.db#mixed", "sqlite:///other.db#mixed", "--key", "id")
    assert (unordered.code, unordered.out) == (3, "")
    assert "different types" in unordered.err


def test_queries_and_chosen_columns(drifted: Shop) -> None:
    even = "sqlite:///app.db#SELECT id, n, 'x' AS email FROM src WHERE id % 2 = 0"
    report = diff(
        drifted, even, "sqlite:///other.db#SELECT * FROM tgt WHERE id % 2 = 0", "--key", "id", "--json"
    ).report
    assert (report["missing"], report["extra"], report["different"]) == (0, 1, 1)
    assert report["different_by_column"] == {"n": 1, "email": 1}
    narrow = diff(drifted, even, "sqlite:///other.db#tgt", "--key", "id", "--columns", "n", "--json").report
    assert narrow["different_by_column"] == {"n": 1}


def test_columns_can_be_left_out(drifted: Shop) -> None:
    drifted.sql("UPDATE tgt SET email = 'x'")
    all_of_them = diff(drifted, *BOTH, "--json").report
    assert all_of_them["different_by_column"] == {"n": 1, "email": 3}
    without = diff(drifted, *BOTH, "--exclude", "email", "--json").report
    assert without["different_by_column"] == {"n": 1}
    assert "nothing to compare" in diff(drifted, *BOTH, "--exclude", "n,email").err
    keys = [f"sqlite:///app.db#SELECT id FROM {table}" for table in ("src", "tgt")]
    assert diff(drifted, *keys, "--key", "id", "--json").report["missing"] == 1
    wrong = diff(drifted, *BOTH, "--exclude", "emial")
    assert (wrong.code, "did you mean 'email'?" in wrong.err) == (2, True)


@pytest.mark.parametrize("key", [[], ["--key", "n"]], ids=["the primary key", "named"])
def test_what_rows_belong_together_by_cannot_be_left_out(drifted: Shop, key: list[str]) -> None:
    """It was compared all the same, and nothing said so."""
    ran = diff(drifted, *BOTH, *key, "--exclude", key[-1] if key else "id")
    assert (ran.code, "belong together by" in ran.err, "--key" in ran.err) == (2, True, True)


def test_a_mapped_column_that_is_not_there_is_named_as_it_was_given(drifted: Shop) -> None:
    ran = diff(drifted, *BOTH, "--map", "emial=email")
    assert (ran.code, ran.err) == (2, "trueup: --map: 'emial' is not compared; known: id, n\n")


def test_a_misspelt_query_is_told_from_a_table(drifted: Shop) -> None:
    for query in ("selct id FROM src", "DELETE FROM src"):
        ran = diff(drifted, f"sqlite:///app.db#{query}", BOTH[1], "--key", "id")
        assert (ran.code, "a query begins with SELECT or WITH" in ran.err) == (2, True), ran.err
    assert "a query" not in diff(drifted, "sqlite:///app.db#scr", BOTH[1]).err


@pytest.mark.parametrize("sides", [BOTH, APART], ids=["one database", "two"])
def test_columns_that_only_one_side_has_are_named(drifted: Shop, sides: tuple[str, str]) -> None:
    """Nothing compared them, so `in sync` says nothing of them."""
    other = "app" if sides is BOTH else "other"
    drifted.sql("DELETE FROM src", "ALTER TABLE src ADD COLUMN Vat", "ALTER TABLE src ADD COLUMN note")
    drifted.sql("DELETE FROM tgt", "ALTER TABLE tgt ADD COLUMN vat", database=other)
    drifted.sql("INSERT INTO src VALUES (1, 2, 'a', 19, 'x')")
    drifted.sql("INSERT INTO tgt VALUES (1, 2, 'a', 7)", database=other)
    ran = diff(drifted, *sides)
    assert (ran.code, "in sync" in ran.out) == (0, True)
    assert "not compared: Vat, note (only in the source); vat (only in the target)" in ran.out
    assert "--map Vat=vat" in ran.out
    alone = {"source": ["Vat", "note"], "target": ["vat"]}
    assert diff(drifted, *sides, "--json").report["one_sided"] == alone
    assert diff(drifted, *sides, "--exclude", "email", "--json").report["one_sided"] == alone
    mapped = diff(drifted, *sides, "--map", "Vat=vat", "--json").report
    assert (mapped["different_by_column"], mapped["one_sided"]) == ({"Vat": 1}, {"source": ["note"]})
    assert "one_sided" not in diff(drifted, *sides, "--columns", "n", "--json").report
    assert diff(drifted, *sides, "--settle", "0.01", "--json").report["one_sided"] == alone


def test_a_column_that_cannot_be_compared_says_how_to_leave_it_out(drifted: Shop, postgres: str) -> None:
    source = f"{postgres}#SELECT 1::bigint AS id, 2 AS n, '(1,2)'::point AS email"
    ran = diff(drifted, source, BOTH[1], "--key", "id")
    assert ran.code == 2
    assert "'email'" in ran.err
    assert "--exclude" in ran.err
    assert diff(drifted, source, BOTH[1], "--key", "id", "--exclude", "email").code == 1


def test_columns_that_are_called_otherwise(drifted: Shop) -> None:
    target = "sqlite:///app.db#SELECT id AS number, n AS amount FROM src"
    ran = diff(drifted, "sqlite:///app.db#src", target, "--key", "id", "--map", "id=number,n=amount", "--json")
    assert (ran.code, ran.report["source_rows"]) == (0, 4)
    renamed = diff(drifted, target, "sqlite:///app.db#tgt", "--map", "number=id", "--map", "amount=n", "--json")
    assert (renamed.code, renamed.report["different_by_column"]) == (1, {"amount": 1})
    assert renamed.report["key"] == ["number"]  # found as the target's primary key, by the source's name
    assert diff(drifted, *BOTH, "--map", "id").code == 2
    assert "SOURCE_COLUMN=TARGET_COLUMN" in diff(drifted, *BOTH, "--map", "id").err


@pytest.mark.parametrize(
    ("allowed", "left"),
    [
        ((), [2, 3, 4]),
        (("--tolerance", "n=1"), [3, 4]),
        (("--tolerance", "n=5%", "--nulls", "email=unknown"), [3]),
        (("--tolerance", "n=5%,email=1"), None),  # text has no distance
        (("--nulls", "n=zero,email=zero"), [2, 4]),
        (("--nulls", "n=unknown", "--nulls", "email=unknown", "--tolerance", "n=0.99"), [2]),
    ],
)
@pytest.mark.parametrize("settle", ["0s", "1ms"])
def test_what_is_allowed_beyond_equality(
    drifted: Shop, allowed: tuple[str, ...], left: list[int] | None, settle: str
) -> None:
    """As a projection declares it, of one look and of two."""
    drifted.sql("DELETE FROM src", "INSERT INTO src VALUES (1, 1, 'a'), (2, 20, 'b'), (3, 0, 'c'), (4, 4, 'd')")
    drifted.sql("DELETE FROM tgt", "INSERT INTO tgt VALUES (1, 1, 'a'), (2, 21, 'b'), (3, NULL, 'c'), (4, 4, NULL)")
    ran = diff(drifted, *BOTH, *allowed, "--settle", settle, "--json")
    if left is None:
        assert (ran.code, "no distance" in ran.err) == (2, True)
        return
    assert sorted(row["key"]["id"] for row in ran.report["drift"]) == left, ran.err


def test_exact_reads_values_where_digests_would_do(postgres_pair: Pair) -> None:
    for url in (postgres_pair.source, postgres_pair.target):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t AS SELECT id, 1 AS v FROM generate_series(1, 3000) id")
            connection.execute("ALTER TABLE t ADD PRIMARY KEY (id)")
    sides = (f"{postgres_pair.source}#t", f"{postgres_pair.target}#t")
    assert "digests" in trueup.diff(*sides).strategy
    assert "digests" not in trueup.diff(*sides, exact=True).strategy


def test_an_empty_source_is_an_answer_here_and_not_for_check(drifted: Shop) -> None:
    """Nothing will be repaired by it. The other way round the same tables are refused."""
    drifted.sql("DELETE FROM src")
    report = diff(drifted, *BOTH, "--json").report
    assert (report["verdict"], report["extra"]) == ("drift", 4)
    drifted.declare()
    assert drifted.run("check").code == 4


def test_rows_bounds_the_list_and_not_the_counts(drifted: Shop) -> None:
    drifted.fill([(n, n) for n in range(150)], [])

    def listed(*arguments: str) -> int:
        report = diff(drifted, *BOTH, "--json", *arguments).report
        assert report["missing"] == 150
        return len(report["drift"])

    assert (listed(), listed("--rows", "7"), listed("--rows", "0")) == (100, 7, 150)


@pytest.mark.parametrize("sides", [BOTH, APART], ids=["one database", "two"])
def test_more_differences_than_a_database_hands_out(
    drifted: Shop, sides: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are listed, and each once."""
    drifted.fill([(n, n) for n in range(500)], [(n, -n) for n in range(1, 500)])
    drifted.sql(
        "DELETE FROM tgt", *(f"INSERT INTO tgt VALUES ({n}, {-n}, NULL)" for n in range(1, 500)), database="other"
    )
    monkeypatch.chdir(drifted.folder)
    for bound in (500, 7):
        monkeypatch.setattr(_sql, "DIFFERENCES_MAX", bound)
        report = trueup.diff(*sides, rows=0)
        assert (report.missing, report.different, report.source_rows, report.target_rows) == (1, 499, 500, 499)
        assert sorted(row["key"]["id"] for row in report.drift) == list(range(500))


def test_odd_keys_are_counted_and_their_rows_shown(drifted: Shop) -> None:
    for database in ("app", "other"):
        drifted.sql("CREATE TABLE loose (id INTEGER, n INTEGER)", database=database)
    drifted.sql("INSERT INTO loose VALUES (1, 1), (1, 2), (NULL, 3), (2, 2)")
    drifted.sql("INSERT INTO loose VALUES (1, 1), (NULL, 4), (2, 2)", database="other")
    ran = diff(drifted, "sqlite:///app.db#loose", "sqlite:///other.db#loose", "--key", "id", "--json")
    assert ran.report["duplicate_keys"] == {"source": 1, "target": 0}
    assert ran.report["null_keys"] == {"source": 1, "target": 1}
    reasons = {row["key"]["id"]: row["reason"] for row in ran.report["drift"]}
    assert "2 times in the source" in reasons[1]
    assert "NULL" in reasons[None]


def test_settle_leaves_out_what_moved(drifted: Shop) -> None:
    with drifted.running("diff", *BOTH, "--settle", "2s", "--json", "--output", "report.json") as going:
        going.until("looking again")
        drifted.sql("UPDATE tgt SET n = 20 WHERE id = 2")
        ended = going.end()
    assert (ended.code, ended.out) == (1, "")
    told = (drifted.folder / "report.json").read_text()
    assert '"resolved": 1' in told
    assert '"different": 0' in told


# --- the key ---------------------------------------------------------------------------------------------------------


def test_without_a_key_it_is_the_primary_key_and_that_is_said(drifted: Shop) -> None:
    assert "by id (the target's primary key)" in diff(drifted, *BOTH).out
    drifted.sql("CREATE TABLE loose AS SELECT * FROM tgt", database="other")
    assert "by id (the source's primary key)" in diff(drifted, BOTH[0], "sqlite:///other.db#loose").out
    assert "primary key" not in diff(drifted, *BOTH, "--key", "id").out


@pytest.mark.parametrize("database", ["sqlite_url", "postgres", "mariadb", "duckdb"])
def test_a_composite_primary_key_keeps_its_order(database: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Not that of its columns in the table, and not that of their names."""
    url = f"duckdb:///{tmp_path / 'c.duckdb'}" if database == "duckdb" else request.getfixturevalue(database)
    if database == "duckdb":
        duckdb.connect(str(tmp_path / "c.duckdb")).close()
    (tmp_path / "trueup.db").touch()
    adapter = cast(SqlAdapter, connect("app", Database(url=url)))
    with adapter.as_application() as connection:
        connection.exec_driver_sql("CREATE TABLE c (n INTEGER, a INTEGER, b INTEGER, v INTEGER, PRIMARY KEY (b, n, a))")
        connection.exec_driver_sql("CREATE UNIQUE INDEX cv ON c (v)")
        connection.commit()
    adapter.close()
    with comparing(f"{url}#c", f"{url}#SELECT * FROM c") as comparison:
        assert (comparison.projection.key, comparison.key_from) == (("b", "n", "a"), "the source's primary key")


@pytest.mark.parametrize("settle", [0, 0.001], ids=["one look", "two"])
def test_who_finds_the_key_compares_too(postgres_pair: Pair, settle: float) -> None:
    """As many connections, and as many statements in one look, as where the key is given."""
    for url in (postgres_pair.source, postgres_pair.target):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE t (id bigint PRIMARY KEY, v integer)")
    sides = (f"{postgres_pair.source}#t", f"{postgres_pair.target}#t")
    made: list[str] = []
    sa.event.listen(sa.pool.Pool, "connect", lambda *_: made.append("connection"))
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *_: made.append("statement"))

    def used(**more: Any) -> Counter[str]:
        made.clear()
        assert trueup.diff(*sides, settle=settle, **more).verdict == "in_sync"
        return Counter(made)

    given, found = used(key="id"), used()
    assert found["connection"] == given["connection"]
    assert settle or found == given
    assert given["connection"] == 2 + bool(settle)  # the ledger


def test_two_databases_tell_what_they_hold_at_the_same_time(drifted: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2)

    def together(adapter: Adapter, side: Side) -> Shape:
        meeting.wait(PATIENCE_S)
        return described(adapter, side)

    monkeypatch.setattr("trueup.bound.described", together)
    monkeypatch.chdir(drifted.folder)
    assert trueup.diff(*APART).drifted == trueup.diff(*APART, key="id").drifted == 3


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("SELECT id, n FROM src", "SELECT id, n FROM tgt", ["no primary key is known", "both sides have id, n"]),
        ("SELECT n, email FROM src", "tgt", ["primary key of the target is id", "both sides have n, email"]),
        ("unique_n", "SELECT * FROM tgt", ["unique: n"]),
        ("SELECT id AS a FROM src", "SELECT id AS b FROM tgt", ["no column in common"]),
    ],
)
def test_without_any_key_the_candidates_are_named(drifted: Shop, source: str, target: str, words: list[str]) -> None:
    drifted.sql("CREATE TABLE unique_n (n INTEGER NOT NULL UNIQUE, email TEXT)")
    ran = diff(drifted, f"sqlite:///app.db#{source}", f"sqlite:///app.db#{target}")
    assert (ran.code, ran.out) == (2, "")
    for word in words:
        assert word in ran.err


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sqlite:///app.db#sroc", BOTH[1]), "source: there is no table 'sroc'; did you mean 'src'?"),
        (("sqlite:///app.db#sroc", BOTH[1], "--key", "id"), "source: there is no table 'sroc'"),
        ((BOTH[0], "sqlite:///nowhere.db#tgt"), "target: there is no file nowhere.db"),
        (("nosuch://h/d#t", BOTH[1]), "source: no adapter for 'nosuch'"),
        ((*BOTH, "--key", "idd"), "--key: the source table 'src'"),
        ((*BOTH, "--columns", "nn"), "--columns: the source table 'src'"),
        ((*BOTH, "--key", "id=42"), "--key names columns"),
        ((*BOTH, "--settle", "soon"), "--settle: 'soon' is not a duration"),
        ((*BOTH, "--sensitive", "emial"), "--sensitive: there is no column 'emial'"),
        ((*BOTH, "--tolerance", "0.01"), "--tolerance '0.01': write it as COLUMN=0.01"),
        ((*BOTH, "--tolerance", "n=some"), "--tolerance n: 'some' is not a tolerance; write a number"),
        ((*BOTH, "--tolerance", "n=1,n=2"), "--tolerance names 'n' twice"),
        ((*BOTH, "--tolerance", "nn=1"), "--tolerance: 'nn' is not a compared column; did you mean 'n'?"),
        ((*BOTH, "--tolerance", "id=1"), "--tolerance: 'id' is in the key"),
        ((*BOTH, "--tolerance", "n=1s"), "--tolerance: column 'n' cannot have '1s'"),
        ((*BOTH, "--nulls", "email=maybe"), "--nulls email: "),
        ((*BOTH, "--nulls", "emial=zero"), "--nulls: 'emial' is not a compared column"),
        ((BOTH[0], "sqlite:///app.db#SELECT 1 AS id; DELETE FROM src"), "target: the query"),
        ((BOTH[0], "sqlite:///app.db#SELECT 1 AS id; DELETE FROM src", "--key", "id"), "target"),
        ((BOTH[0],), "TARGET"),
        ((*BOTH, "--rows", "-1"), "rows"),
        ((*BOTH, "--format", "parquet"), "--output"),
        ((*BOTH, "--output", "differences"), "--format"),
        ((*BOTH, "--output", "nowhere/d.csv"), "no directory nowhere"),
        ((*BOTH, "--format", "csv", "--output", "."), "it is a directory; name a file in it, differences.csv"),
        ((*BOTH, "--json", "--format", "csv"), "give one of them"),
        ((*BOTH, "--columns", "n", "--exclude", "email"), "give one of them"),
    ],
)
def test_a_mistake_is_two_and_speaks_of_the_command_line(drifted: Shop, arguments: tuple[str, ...], words: str) -> None:
    ran = diff(drifted, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert "projections." not in ran.err
    assert "databases." not in ran.err
    assert drifted.sql("SELECT count(*) FROM src") == [(4,)]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:canary-77@127.0.0.1:1/d",
        "postgresql://u:canary-77@127.0.0.1:1/d?sslpassword=canary-77",
        "postgresql://u:canary-77@h:port/d",
        "nosuch://u:canary-77@h/d",
        "postgresql://u:canary-77#@h/d",
        "postgresql://u:${CANARY}@127.0.0.1:1/d",
    ],
)
def test_no_password_is_shown_when_it_fails(drifted: Shop, url: str) -> None:
    for key in ((), ("--key", "id")):
        ran = diff(drifted, f"{url}#t", BOTH[1], *key, CANARY="canary-77")
        assert ran.code == 2
        assert "canary" not in ran.out + ran.err


def test_no_password_is_shown_when_it_works(drifted: Shop, postgres: str) -> None:
    """The server does not ask for one, so any will do."""
    url = postgres.replace("@", ":canary-77@", 1) if "@" in postgres else postgres.replace("//", "//u:canary-77@", 1)
    query = "SELECT 1::bigint AS id, 2 AS n"
    for form in ((), ("--json",), ("--format", "jsonl"), ("--format", "csv")):
        ran = diff(drifted, f"{url}#{query}", BOTH[1], "--key", "id", "--columns", "n", *form)
        assert ran.code == 1, ran.err
        assert "canary" not in ran.out + ran.err


def test_ctrl_c_leaves_nothing(drifted: Shop) -> None:
    temporary = drifted.folder / "tmp"
    temporary.mkdir()
    with drifted.running("diff", *BOTH, "--settle", "1h", "--output", "d.csv", TMPDIR=str(temporary)) as going:
        going.until("looking again")
        assert list(temporary.iterdir())  # there was something to leave
        going.interrupt()
        ended = going.end()
    assert ended.code == 3
    assert "nothing is kept" in ended.err
    assert list(temporary.iterdir()) == []
    assert not list(drifted.folder.glob("*d.csv*"))


# --- for people ------------------------------------------------------------------------------------------------------


def test_the_table(drifted: Shop) -> None:
    drifted.sql("UPDATE tgt SET email = 'a' WHERE id IN (1, 2)")
    lines = [line.rstrip() for line in diff(drifted, *BOTH).out.splitlines() if line.strip(" ─")]
    assert lines[0] == "sqlite:///app.db#src  →  sqlite:///app.db#tgt"
    assert lines[1] == "  drift  1 missing, 1 extra, 2 different"
    assert re.fullmatch(r"  4 source rows · 4 target rows · \d+\.\d s · by id .*", lines[2])
    assert lines[4] == "  columns: email 2, n 1"
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines[5:]]
    assert cells[0] == ["kind", "key", "expected", "observed"]
    assert sorted(cells[1:]) == [
        ["different", "id=1", "email=NULL", "email=a"],
        ["different", "id=2", "n=20, email=NULL", "n=99, email=a"],
        ["extra", "id=4", "no row", "n=40, email=NULL"],
        ["missing", "id=3", "n=30, email=NULL", "no row"],
    ]


def test_what_would_look_alike_is_told_apart(shop: Shop) -> None:
    shop.sql("CREATE TABLE a (id INTEGER PRIMARY KEY, v)", "CREATE TABLE b (id INTEGER PRIMARY KEY, v)")
    shop.sql(
        "INSERT INTO a VALUES (1, '5'), (2, ''), (3, ' x'), (4, 'NULL'), (5, 'a' || char(27) || '[31m' || char(10))"
    )
    shop.sql("INSERT INTO b VALUES (1, 5), (2, NULL), (3, 'x'), (4, NULL), (5, 'a')")
    out = shop.run("diff", "sqlite:///app.db#a", "sqlite:///app.db#b").out
    shown = [re.split(r"\s{2,}", line.strip())[1:] for line in out.splitlines() if "id=" in line]
    assert shown == [
        ["id=1", "v='5'", "v=5"],
        ["id=2", "v=''", "v=NULL"],
        ["id=3", "v=' x'", "v=x"],
        ["id=4", "v='NULL'", "v=NULL"],
        ["id=5", "v=a\\x1b[31m\\n", "v=a"],
    ]


def on_a_terminal(shop: Shop, *arguments: str, columns: int = 100) -> list[str]:
    """What a person sees, line by line, without the colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in shop.environment().items() if name != "COLUMNS"} | {"TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "trueup", *arguments], cwd=shop.folder, env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(ours)
    process.wait(PATIENCE_S)
    text = seen.decode().rpartition("\x1b[2K")[2]  # what progress wrote it took away again
    assert "\x1b[31m" in text  # positive control: it was drawn for a terminal
    return [line.rstrip("\r") for line in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).split("\n")]


def test_on_a_terminal_of_100_columns(shop: Shop) -> None:
    wide = ", ".join(f"c{n} TEXT" for n in range(30))
    for table in ("a", "b"):
        shop.sql(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {wide})")
    row = ", ".join(f"'value {n}'" for n in range(30))
    shop.sql(f"INSERT INTO a VALUES (1, {row}), (2, {row})", f"INSERT INTO b VALUES (2, {row}), (3, {row})")
    shop.sql("UPDATE b SET c17 = 'another' WHERE id = 2")
    lines = on_a_terminal(shop, "diff", "sqlite:///app.db#a", "sqlite:///app.db#b")
    assert all(len(line) <= 100 for line in lines)
    rows = [line.split() for line in lines if "id=" in line]
    assert len(rows) == 3  # a line each, wide as the tables are
    assert ["different", "id=2", "c17=value", "17", "c17=another"] in rows
    assert sum("…" in line for line in lines) == 2
    assert not any("comparing" in line for line in lines)
    whole = shop.run("diff", "sqlite:///app.db#a", "sqlite:///app.db#b").out
    assert "c29=value 29" in whole  # where nobody watches nothing is cut


# --- from Python -----------------------------------------------------------------------------------------------------


def test_from_python(drifted: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(drifted.folder)
    report = trueup.diff(*APART, key="id", columns=["n"])
    assert isinstance(report, trueup.Report)
    assert (report.verdict, report.exit_code, report.different_by_column) == (trueup.Verdict.DRIFT, 1, {"n": 1})
    assert len(trueup.diff(*BOTH, rows=1).drift) == 1
    with pytest.raises(trueup.TrueupError, match="'nosuch'"):
        trueup.diff(*BOTH, key=["nosuch"])


def test_a_comparison_writes_to_neither_side(drifted: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(drifted.folder)
    files = [drifted.folder / "app.db", drifted.folder / "other.db"]
    before = [file.read_bytes() for file in files]
    with comparing(*APART) as comparison:
        found: list[Any] = list(comparison.differences())
    assert len(found) == 3
    assert [file.read_bytes() for file in files] == before


def test_a_second_ctrl_c_says_nothing_of_going_on(drifted: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to go on from."""
    monkeypatch.chdir(drifted.folder)
    with pytest.raises(trueup.Interrupted, match="nothing is kept"), comparing(*BOTH):
        raise KeyboardInterrupt
