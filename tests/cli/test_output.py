"""Differences as lines and files: every value arrives as it was, and a file is there whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.shop import PATIENCE_S, Shop
from trueup.cli.output import csv_line, write_lines
from trueup.comparison import Comparison, Difference
from trueup.core.values import Json

BOTH = ("sqlite:///app.db#src", "sqlite:///app.db#tgt")
CANARY = "canary@example"

#: One column a kind of value that is easily damaged: its type on PostgreSQL, the source's value, the target's.
HARD: dict[str, tuple[str, Any, Any]] = {
    "big": ("bigint", 2**63 - 1, -(2**63)),
    "exact": ("numeric", Decimal("12345678901234567890.1234567890"), Decimal("0.10")),
    "half": ("double precision", 0.1 + 0.2, 1e300),
    "flag": ("boolean", True, False),
    "words": ("text", 'it\'s "quoted", with, commas\r\nand a line', ""),
    "nothing": ("text", "", None),
    "accents": ("text", "Ä&#39;é語\u2028", "NULL"),
    "octets": ("bytea", b"\x00\xff\n\\", b""),
    "id_of": ("uuid", UUID("00000000-0000-0000-0000-0000000000ff"), None),
    "day": ("date", date(1, 1, 1), date(9999, 12, 31)),
    "hour": ("time", time(23, 59, 59, 999999), time(0)),
    "local": ("timestamp", datetime(2026, 3, 29, 2, 30, 0, 1), datetime(1900, 1, 1)),
    "instant": (
        "timestamptz",
        datetime(2026, 10, 25, 0, 30, 0, 999999, UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    ),
}
COLUMNS = list(HARD)


@pytest.fixture
def hard(postgres: str) -> str:
    """A URL of two tables with one row that is different in every column, one missing and one extra."""
    columns = ", ".join(f"{name} {kind}" for name, (kind, _, _) in HARD.items())
    with psycopg.connect(postgres, autocommit=True) as connection:
        for table, at, other in (("a", 1, "x"), ("b", 2, "é&#39;")):
            connection.execute(f"CREATE TABLE {table} (region text, code text, {columns}, PRIMARY KEY (region, code))")
            row = [values[at] for values in HARD.values()]
            places = ", ".join(["%s"] * (len(row) + 2))
            for key in ("both", other):
                connection.execute(f"INSERT INTO {table} VALUES ({places})", ["r", key, *row])
    return postgres


def diffed(shop: Shop, url: str, *arguments: str) -> str:
    ran = shop.run("diff", f"{url}#a", f"{url}#b", *arguments)
    assert ran.code == 1, ran.err
    return ran.out


NAMES = ("it's", "50%", "%s", 'é"\\', "plain")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.text(),
    st.floats(allow_nan=True),
    st.decimals(),
    st.binary(max_size=4),
    st.uuids(),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.sampled_from([None, UTC])),
    st.just(Json('{"a": [1, "%s"]}')),
    st.tuples(st.integers(), st.text(max_size=3), st.tuples(st.none(), st.decimals())),
)
ROWS = st.none() | st.tuples(*[VALUES] * len(NAMES))


@given(st.tuples(VALUES), ROWS, ROWS, st.sets(st.sampled_from(NAMES)), st.text(max_size=9))
def test_a_line_is_the_row_that_reports_list(key: Any, expected: Any, observed: Any, columns: Any, reason: str) -> None:
    found = Difference(
        kind="different", key=key, expected=expected, observed=observed, columns=tuple(columns), reason=reason
    )
    projection = SimpleNamespace(key=("100%",))
    comparison: Any = object.__new__(Comparison)
    comparison.binding = SimpleNamespace(columns=NAMES, projection=projection)
    out = io.StringIO()
    assert write_lines("jsonl", [found, found], comparison, out) == 2
    line = json.dumps(comparison.row(found), ensure_ascii=False)
    assert out.getvalue() == f"{line}\n{line}\n"


def expected_rows() -> list[dict[str, Any]]:
    """What must be in the file, by an account of our own: kind, key, and the values of both sides."""
    source = {name: values[1] for name, values in HARD.items()}
    target = {name: values[2] for name, values in HARD.items()}
    none = dict.fromkeys(HARD)
    return [
        {"kind": "different", "code": "both", "expected": source, "observed": target},
        {"kind": "extra", "code": "é&#39;", "expected": none, "observed": target},
        {"kind": "missing", "code": "x", "expected": source, "observed": none},
    ]


# --- JSON lines ------------------------------------------------------------------------------------------------------


def test_json_lines_are_the_rows_of_the_document(shop: Shop, hard: str) -> None:
    lines = diffed(shop, hard, "--format", "jsonl").split("\n")
    assert lines.pop() == ""
    document = json.loads(diffed(shop, hard, "--json", "--rows", "0"))
    assert [json.loads(line) for line in lines] == document["projections"][0]["drift"]
    assert len(lines) == 3


def test_lines_are_complete_unless_a_number_is_given(shop: Shop) -> None:
    shop.fill([(n, n) for n in range(250)], [])
    for form, header in (("jsonl", 0), ("csv", 1)):
        whole = shop.run("diff", *BOTH, "--format", form)
        assert whole.out.count("\n") == 250 + header
        assert "250 missing" in whole.err  # the summary is not among the lines
        part = shop.run("diff", *BOTH, "--format", form, "--rows", "7")
        assert part.out.count("\n") == 7 + header
        assert "7 rows; 243 more" in part.err
        assert part.code == 1


def test_lines_come_as_they_are_found(shop: Shop) -> None:
    """A reader that has enough ends the writer, long before the last line."""
    shop.fill([(n, n, "x" * 100) for n in range(100_000)], [])
    command = [sys.executable, "-m", "trueup", "diff", *BOTH, "--format", "jsonl"]
    with subprocess.Popen(
        command, cwd=shop.folder, env=shop.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["kind"] == "missing"
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 3
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


# --- CSV -------------------------------------------------------------------------------------------------------------


def test_csv_is_read_by_postgresql_as_it_was(shop: Shop, hard: str) -> None:
    """Into columns of the original types: an independent reader finds every value, NULL and '' apart."""
    diffed(shop, hard, "--output", "d.csv")
    text = (shop.folder / "d.csv").read_bytes().decode()
    both = ", ".join(f"e_{name} {kind}, o_{name} {kind}" for name, (kind, _, _) in HARD.items())
    with psycopg.connect(hard, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE d (kind text, columns text, region text, code text, {both}, reason text)")
        with connection.cursor() as cursor, cursor.copy("COPY d FROM STDIN (FORMAT csv, HEADER)") as copy:
            copy.write(text.encode())
        rows = connection.execute("SELECT * FROM d ORDER BY kind").fetchall()
    for row, expected in zip(rows, expected_rows(), strict=True):
        assert (row[0], row[2], row[3], row[-1]) == (expected["kind"], "r", expected["code"], None)
        values = row[4:-1]
        assert dict(zip(COLUMNS, values[::2], strict=True)) == expected["expected"]
        assert dict(zip(COLUMNS, values[1::2], strict=True)) == expected["observed"]
    assert rows[0][1].split(",") == COLUMNS


def test_csv_columns_are_stable(shop: Shop) -> None:
    """The same whatever was found; and a column called like one of ours is no trouble."""
    for table in ("a", "b"):
        shop.sql(f"CREATE TABLE {table} (kind TEXT PRIMARY KEY, columns TEXT, reason TEXT)")
    header = "kind,columns,key_kind,expected_columns,observed_columns,expected_reason,observed_reason,reason"
    for _ in range(2):
        lines = shop.run("diff", "sqlite:///app.db#a", "sqlite:///app.db#b", "--format", "csv").out.splitlines()
        assert next(csv.reader(lines)) == header.split(",")
        shop.sql("INSERT OR IGNORE INTO a VALUES ('missing', 'x', 'y')")
    assert list(csv.reader(lines))[1] == ["missing", "", "missing", "x", "", "y", "", ""]


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_csv_text_of_any_kind(values: list[str | None]) -> None:
    """Python's reader finds the texts; '' and NULL it takes for the same, so those are counted."""
    line = csv_line([*values, 7])
    (row,) = csv.reader(io.StringIO(line + "\n", newline=""), strict=True)
    assert row == [*(value or "" for value in values), "7"]
    if not any(values):
        assert line.count('""') == values.count("")


#: Kinds whose text has commas and quotes: type on PostgreSQL, the source's value, the target's, and both as text.
NESTED = {
    "document": ("jsonb", '{"a": [1, "b,c"]}', "[]", '{"a": [1, "b,c"]}', "[]"),
    "word": ("json", '"it\'s, \\"so\\""', "null", '"it\'s, \\"so\\""', "null"),
    "names": ("text[]", '{a,"b,c",NULL,"\\"q\\""}', "{}", '["a", "b,c", null, "\\"q\\""]', "[]"),
    "sums": ("numeric[]", "{{1.10,2},{3,4}}", "{NaN}", '[["1.10", "2"], ["3", "4"]]', '["nan"]'),
    "span": ("interval", "1 mon 2 days 03:04:05.6", "0", "P1M2DT11045.6S", "PT0S"),
}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_documents_and_lists_arrive_whole(shop: Shop, postgres: str, ending: str) -> None:
    columns = ", ".join(f"{name} {of[0]}" for name, of in NESTED.items())
    with psycopg.connect(postgres, autocommit=True) as connection:
        for table, at in (("a", 1), ("b", 2)):
            connection.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, {columns})")
            values = [str(of[at]) for of in NESTED.values()]
            connection.execute(f"INSERT INTO {table} VALUES (1, {', '.join(['%s'] * len(values))})", values)
    diffed(shop, postgres, "--output", f"d.{ending}")
    if ending == "csv":
        with (shop.folder / "d.csv").open(newline="", encoding="utf-8") as file:
            (row,) = csv.DictReader(file, strict=True)
    else:
        duckdb = pytest.importorskip("duckdb")
        with duckdb.connect(":memory:") as connection:
            found = connection.execute("SELECT * FROM read_parquet($1)", [str(shop.folder / "d.parquet")])
            names = [item[0] for item in found.description]
            row = dict(zip(names, found.fetchone(), strict=True))
    assert {name: (row[f"expected_{name}"], row[f"observed_{name}"]) for name in NESTED} == {
        name: (of[3], of[4]) for name, of in NESTED.items()
    }
    assert row["columns"].split(",") == list(NESTED)


# --- Parquet ---------------------------------------------------------------------------------------------------------


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(":memory:") as connection:
        # Moments come out as text in UTC: Python values of them would need another package.
        found = connection.execute(
            "SELECT * REPLACE (CAST(expected_instant AS VARCHAR) AS expected_instant, "
            "CAST(observed_instant AS VARCHAR) AS observed_instant) FROM read_parquet($1) ORDER BY kind",
            [str(path)],
        )
        names = [item[0] for item in found.description]
        for row in found.fetchall():
            yield dict(zip(names, row, strict=True))


def test_parquet_keeps_values_and_types(shop: Shop, hard: str) -> None:
    out = diffed(shop, hard, "--output", "d.parquet")
    assert "3 rows in d.parquet" in out
    rows = list(rows_of(shop.folder / "d.parquet"))
    for row, expected in zip(rows, expected_rows(), strict=True):
        assert (row["kind"], row["key_region"], row["key_code"]) == (expected["kind"], "r", expected["code"])
        for side in ("expected", "observed"):
            values = {name: row[f"{side}_{name}"] for name in COLUMNS}
            if values["instant"] is not None:
                values["instant"] = datetime.fromisoformat(values["instant"])
            assert values == expected[side]
            assert {name: type(value) for name, value in values.items()} == {
                name: type(value) for name, value in expected[side].items()
            }


def test_parquet_without_any_difference_has_the_types_too(shop: Shop, hard: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    assert shop.run("diff", f"{hard}#a", f"{hard}#a", "--output", "d.parquet").code == 0
    path = str(shop.folder / "d.parquet")
    with duckdb.connect(":memory:") as connection:
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet($1)", [path]).fetchall()
        assert connection.execute("SELECT count(*) FROM read_parquet($1)", [path]).fetchone() == (0,)
    types = {row[0]: row[1] for row in described}
    assert types["expected_big"] == types["observed_big"] == "BIGINT"
    assert types["expected_instant"] == "TIMESTAMP WITH TIME ZONE"
    assert types["expected_octets"] == "BLOB"


@pytest.mark.parametrize(
    ("a", "b", "sql_type"),
    [
        (["1.5", "2"], ["1.25", "2"], "DECIMAL(38,2)"),
        (["'x'", "2"], ["1", "2"], "VARCHAR"),
        (["1e40", "2"], ["1", "2"], "VARCHAR"),
        (["1", "2"], ["3", "2"], "DECIMAL(38,0)"),
    ],
)
def test_parquet_takes_the_type_that_holds_every_value(shop: Shop, a: list[str], b: list[str], sql_type: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    for table, values in (("a", a), ("b", b)):
        shop.sql(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, v NUMERIC)")
        shop.sql(*(f"INSERT INTO {table} VALUES ({at}, {value})" for at, value in enumerate(values)))
    assert shop.run("diff", "sqlite:///app.db#a", "sqlite:///app.db#b", "--output", "d.parquet").code == 1
    path = str(shop.folder / "d.parquet")
    with duckdb.connect(":memory:") as connection:
        (row,) = connection.execute("SELECT typeof(expected_v), expected_v FROM read_parquet($1)", [path]).fetchall()
    assert row[0] == sql_type
    if sql_type.startswith("DECIMAL"):
        assert row[1] == Decimal(a[0])


def test_parquet_without_duckdb_says_what_to_install(shop: Shop) -> None:
    without = "import sys\nsys.modules['duckdb'] = None\nfrom trueup.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", without, "diff", *BOTH, "--output", "d.parquet"],
        cwd=shop.folder,
        env=shop.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'trueup[duckdb]'" in done.stderr
    assert not (shop.folder / "d.parquet").exists()


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["d.txt", "d.jsonl", "d.csv", "d.parquet"])
def test_a_file_is_there_whole_or_as_it_was(shop: Shop, name: str) -> None:
    """The second comparison breaks in the middle: what the first one wrote stays, and nothing else is left."""
    shop.fill([(n, n) for n in range(50)], [])
    good = shop.run("diff", *BOTH, "--output", name)
    assert good.code == 1
    before = (shop.folder / name).read_bytes()
    assert len(before) > 500
    # Numbers come first in SQLite's order, so there are differences before the key that has no order.
    rows = [f"INSERT INTO t VALUES ({n}, {n})" for n in range(30_000)]
    shop.sql("CREATE TABLE t (id, n)", *rows, "INSERT INTO t VALUES ('x', 1)", database="left")
    shop.sql("CREATE TABLE t (id, n)", *rows[::2], "INSERT INTO t VALUES ('x', 2)", database="right")
    broken = shop.run("diff", "sqlite:///left.db#t", "sqlite:///right.db#t", "--key", "id", "--output", name)
    assert (broken.code, broken.out) == (3, "")
    assert (shop.folder / name).read_bytes() == before
    assert [path.name for path in shop.folder.iterdir() if ".part" in path.name] == []


@pytest.mark.parametrize("arguments", [("--format", "csv"), ("--format", "parquet"), ("--json",), ("audit",)])
def test_a_device_or_a_pipe_is_written_to(shop: Shop, arguments: tuple[str, ...]) -> None:
    """Whoever may write to /dev would have lost /dev/null."""
    shop.fill([(1, 1)], [(1, 2)])
    assert shop.run("check").code == 1
    pipe = shop.folder / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        try:
            given = ("audit", "export", "pipe") if arguments == ("audit",) else ("diff", *BOTH, "--output", "pipe")
            shop.run(*given, *(arguments if given[0] == "diff" else ()))
            assert stat.S_ISFIFO(pipe.stat().st_mode)
            assert len(reader.communicate(timeout=PATIENCE_S)[0]) > 30
        finally:
            reader.kill()


def test_a_file_that_is_open_loses_nothing(shop: Shop) -> None:
    """`--output /dev/stdout >> log`: to replace the log would lose what it has."""
    log = shop.folder / "log"
    log.write_text("before\n")
    with log.open("a") as kept:
        (shop.folder / "link").symlink_to(f"/proc/{os.getpid()}/fd/{kept.fileno()}")
        ran = shop.run("diff", *BOTH, "--output", "link", "--format", "csv")
    assert (ran.code, "it is a file that is open" in ran.err) == (2, True)
    assert log.read_text() == "before\n"


@pytest.mark.parametrize("name", ["d.csv", "d.parquet"])
def test_a_link_stays_one_and_a_file_keeps_its_permissions(shop: Shop, name: str) -> None:
    shop.fill([(1, 1)], [(1, 2)])
    there = shop.folder / f"there-{name}"
    there.write_bytes(b"")
    there.chmod(0o600)
    (shop.folder / name).symlink_to(there.name)
    assert shop.run("diff", *BOTH, "--output", name).code == 1
    assert (shop.folder / name).is_symlink()
    assert there.stat().st_size > 0
    assert stat.S_IMODE(there.stat().st_mode) == 0o600


def test_a_document_or_a_table_in_a_file(shop: Shop) -> None:
    shop.fill([(1, 1)], [(1, 2)])
    assert shop.run("diff", *BOTH, "--json", "--output", "d.json").out == ""
    assert json.loads((shop.folder / "d.json").read_text())["verdict"] == "drift"
    assert shop.run("diff", *BOTH, "--format", "table", "--output", "anything").out == ""
    assert "1 different" in (shop.folder / "anything").read_text()
    assert shop.run("diff", *BOTH, "--format", "csv", "--output", "anything").code == 1
    assert (shop.folder / "anything").read_text().startswith('"kind","columns"')


@pytest.mark.parametrize("name", ["d.txt", "d.jsonl", "d.csv", "d.parquet", "d.json"])
def test_sensitive_values_are_masked_in_every_format(shop: Shop, name: str) -> None:
    shop.fill([(1, 1, f"new {CANARY}"), (2, 2, CANARY)], [(1, 1, f"old {CANARY}"), (3, 3, CANARY)])
    form = ("--json",) if name == "d.json" else ()
    ran = shop.run("diff", *BOTH, "--sensitive", "email", "--output", name, *form)
    assert ran.code == 1
    assert CANARY not in ran.out + ran.err
    assert CANARY.encode() not in (shop.folder / name).read_bytes()
    shown = shop.run("diff", *BOTH, "--output", name, *form)  # positive control: it would have been there
    assert shown.code == 1
    assert CANARY.encode() in (shop.folder / name).read_bytes()


def test_that_a_masked_column_differs_is_told(shop: Shop) -> None:
    shop.fill([(1, 1, "new")], [(1, 1, "old")])
    (line,) = shop.run("diff", *BOTH, "--sensitive", "email", "--format", "jsonl").out.splitlines()
    assert json.loads(line)["columns"] == ["email"]
    assert json.loads(line)["expected"] == {"n": 1, "email": "•••"}
