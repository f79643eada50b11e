"""Files as sides: read to their end, with types that nobody guessed, or not believed."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import zlib
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import ValidationError

from tests.conformance.worlds import UNLIMITED, Duckdb, EngineClock
from trueup import ConfigError, Database, Projection, Side, Trueup, TrueupError, Verdict, config, diff
from trueup.adapters import _files, _results
from trueup.cli import output
from trueup.comparison import comparing
from trueup.errors import BrokenRead, DesignProblem

#: The target of every comparison here; a typed table says what the texts of a file mean.
COLUMNS = "id BIGINT PRIMARY KEY, code VARCHAR, amount DECIMAL(12, 2), day DATE, paid BOOLEAN"
ROWS = [(1, "007", "1.50", date(2026, 1, 2), True), (2, "", "2.00", None, False), (3, None, "-0.01", date.max, None)]
CSV = 'id,code,amount,day,paid\n1,007,1.50,2026-01-02,true\n2,"",2.000,,false\n3,,-.01,9999-12-31,\n'


class Files:
    """A folder of files, and a DuckDB table to compare them with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[Trueup] = []
        self.url = f"duckdb:///{folder / 'target.duckdb'}"
        self.table = Duckdb(self.url)
        self.table.keep_open()
        self.table.table("dst", COLUMNS, ROWS)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def app(
        self, file: str, *, target: Side | None = None, changes: Any = None, key: str = "id", **declared: Any
    ) -> Trueup:
        projection = Projection(
            name="p",
            changes=changes,
            source=Side(file=str(self.folder / file), **declared),
            target=target or Side(database="t", table="dst"),
            key=[key],
            settle=0,
            limits=UNLIMITED,
            writers="absolute",
        )
        databases = {"t": Database(url=self.url)}
        ledger = f"sqlite:///{self.folder / f'ledger{len(self.opened)}.db'}"
        self.opened.append(Trueup(databases=databases, projections=[projection], ledger=ledger, clock=EngineClock()))
        return self.opened[-1]


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    made = Files(tmp_path)
    yield made
    for app in made.opened:
        app.close()
    made.table.close()


def as_json(**changed: Any) -> list[dict[str, Any]]:
    names = ("id", "code", "amount", "day", "paid")
    rows = [dict(zip(names, row, strict=True)) for row in ROWS]
    for row in rows:
        row["day"] = row["day"] and row["day"].isoformat()
    rows[0] |= changed
    return rows


def write_each_format(files: Files) -> dict[str, str]:
    """The same rows in each format."""
    files.write("rows.csv", CSV)
    files.write("rows.tsv", CSV.replace(",", "\t"))
    files.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in as_json()))
    files.write("rows.json", json.dumps(as_json(), indent=1))
    files.table.sql(f"COPY dst TO '{files.folder / 'rows.parquet'}'")
    return {name: f"rows.{name}" for name in ("csv", "tsv", "jsonl", "json", "parquet")}


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_each_format_is_read_by_meaning(files: Files, ending: str) -> None:
    app = files.app(write_each_format(files)[ending])
    report = app.check("p")
    assert (report.verdict, report.source_rows) == (Verdict.IN_SYNC, 3)
    files.table.sql(
        "UPDATE dst SET code = '7' WHERE id = 1",
        "UPDATE dst SET code = NULL WHERE id = 2",
        "DELETE FROM dst WHERE id = 3",
    )
    report = app.check("p")
    assert (report.missing, report.different, report.different_by_column) == (1, 2, {"code": 2})
    assert app.run("p").verdict is Verdict.REPAIRED
    assert {row[1] for row in files.table.rows("dst")} == {"007", "", None}


@pytest.mark.parametrize("first", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("second", ["csv", "jsonl", "parquet"])
def test_two_files(files: Files, first: str, second: str) -> None:
    """Text against types, and both alike: where neither side has types, `types` say them."""
    names = write_each_format(files)
    typed = {"id": "integer", "amount": "decimal(12,2)", "day": "date", "paid": "boolean", "code": "text"}
    declared = {name: {} if name == "parquet" else {"types": typed} for name in (first, second)}
    app = files.app(
        names[first], target=Side(file=str(files.folder / names[second]), **declared[second]), **declared[first]
    )
    assert app.check("p").verdict is Verdict.IN_SYNC
    with pytest.raises(ConfigError, match="only a table can be repaired"):
        app.run("p")


def test_digits_are_never_cut(files: Files) -> None:
    """A reader that converts as a database does makes 2 of 1.7, and reads 0.1 of a number with thirty digits."""
    long = "0.100000000000000005551115123126"
    files.table.sql(
        "CREATE TABLE wide (id BIGINT PRIMARY KEY, amount DECIMAL(38, 30))", f"INSERT INTO wide VALUES (1, {long})"
    )
    wide = Side(database="t", table="wide")
    for name, text in (("n.csv", f"id,amount\n1,{long}\n"), ("n.jsonl", f'{{"id": 1, "amount": {long}}}\n')):
        files.write(name, text)
        assert files.app(name, target=wide).check("p").verdict is Verdict.IN_SYNC
        files.write(name, text.replace("126", "127"))
        assert files.app(name, target=wide).check("p").different == 1


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("integer", "1.7"),
        ("integer", "1e3"),
        ("integer", "0x10"),
        ("integer", "9" * 44),
        ("float", "1e400"),
        ("float", "-1e400"),
        ("float", "1e-400"),
        ("float", "9007199254740993"),
        ("decimal(12,2)", "1.505"),
        ("decimal(3,2)", "10.00"),
        ("date", "2026-01-02 10:00"),
        ("date", "2026-02-30"),
        ("timestamp", "2026-01-02 10:00:60"),
        ("timestamp", "2026-01-02 10:00:00.1234567"),
        ("timestamp", "2026-01-02 10:00:00+02"),
        ("boolean", "yes"),
        ("uuid", "123"),
    ],
)
def test_a_value_that_is_not_of_its_declared_type_is_an_error(files: Files, type_: str, value: str) -> None:
    files.write("a.csv", f"id,v\n1,{value}\n")
    files.table.sql("CREATE TABLE v (id BIGINT PRIMARY KEY, v VARCHAR)", f"INSERT INTO v VALUES (1, '{value}')")
    app = files.app("a.csv", target=Side(file=str(files.folder / "a.csv")), types={"v": type_})
    told = rf"a\.csv: column 'v' holds a value that is no {re.escape(type_)}, or would lose digits as one"
    with pytest.raises(DesignProblem, match=told) as caught:
        app.check("p")
    assert value not in str(caught.value), "rows of a file may be secret"
    # As text it is what it is.
    app = files.app("a.csv", target=Side(database="t", table="v"), types={"v": "text"})
    assert app.check("p").verdict is Verdict.IN_SYNC


def test_floats_that_a_text_means(files: Files) -> None:
    texts = [
        "1e308",
        "inf",
        "0.000",
        "-0e5",
        "9007199254740992",
        "1152921504606847000",
        "1152921504606846976",
        "5e-324",
        "0.1",
    ]
    files.write("a.csv", "id,v\n" + "".join(f"{at},{text}\n" for at, text in enumerate(texts)))
    files.table.table("v", "id {integer} PRIMARY KEY, v {float}", [(at, float(text)) for at, text in enumerate(texts)])
    assert files.app("a.csv", target=Side(database="t", table="v")).check("p").verdict is Verdict.IN_SYNC


def test_a_text_and_a_number_of_a_document_are_two_values(files: Files) -> None:
    """The rows of a JSON file, beside a column of documents: `"1"` is not `1`."""
    members = ['"1"', "1", '{"b": 1.0, "a": "x"}', "[1,2]", "true", '"true"', "null"]
    files.write("a.jsonl", "".join(f'{{"id": {at}, "v": {member}}}\n' for at, member in enumerate(members)))
    held = ['"1"', "1.0", '{"a":"x","b":1}', "[1, 2]", "true", '"true"', None]
    files.table.sql("CREATE TABLE v (id BIGINT PRIMARY KEY, v JSON)")
    files.table.insert("v", list(enumerate(held)))
    app = files.app("a.jsonl", target=Side(database="t", table="v"))
    assert app.check("p").verdict is Verdict.IN_SYNC
    files.table.sql("UPDATE v SET v = '1' WHERE id = 0", """UPDATE v SET v = '"1"' WHERE id = 1""")
    assert [row["key"]["id"] for row in app.check("p").drift] == [0, 1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1", '"1"', False),
        ("true", '"true"', False),
        ("[1]", '"[1]"', False),
        ('"a"', '"A"', False),
        ("null", '"null"', False),
        ("1.0", "1", True),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1.0}', True),
        ("null", "null", True),
    ],
)
def test_members_of_two_json_files_are_compared_as_json(files: Files, one: str, other: str, same: bool) -> None:
    """Read as texts, a number was equal to its digits."""
    for name, member in (("a.jsonl", one), ("b.json", other)):
        files.write(name, f'{{"id": 1, "v": {member}}}\n')
    app = files.app("a.jsonl", target=Side(file=str(files.folder / "b.json")))
    assert (app.check("p").verdict is Verdict.IN_SYNC) is same
    assert files.app("a.jsonl", target=Side(file=str(files.folder / "a.jsonl"))).check("p").verdict is Verdict.IN_SYNC


def two_json_files(files: Files, one: str, other: str) -> tuple[str, str]:
    """Rows of one member `v` in two files: `1, "x"` are two rows."""
    for name, members in (("a.jsonl", one), ("b.jsonl", other)):
        rows = [{"id": at, "v": member} for at, member in enumerate(json.loads(f"[{members}]"))]
        files.write(name, "".join(json.dumps(row) + "\n" for row in rows))
    return str(files.folder / "a.jsonl"), str(files.folder / "b.jsonl")


@pytest.mark.parametrize(
    ("tolerance", "one", "other", "drift"),
    [
        ("0.01", "1.00, 2, 3, null", "1.005, 2, 3.02, null", [2]),
        ("1%", '100, "x", -100, 1e3', '101, "x", -99, 1011', [3]),
        ("0.01", '1, true, [1], "1.00", 0, null', '"1", 1, 1, "1.005", null, "null"', [0, 1, 2, 3, 4, 5]),
        ("2s", '"2026-01-01 00:00:00", "x"', '"2026-01-01 00:00:01", "y"', [1]),
    ],
)
def test_a_tolerance_between_two_json_files(
    files: Files, tolerance: str, one: str, other: str, drift: list[int]
) -> None:
    """It was refused, as documents have no distance; numbers and times in them have, and 1 is still not "1"."""
    report = diff(*two_json_files(files, one, other), key=["id"], tolerance={"v": tolerance})
    assert [int(row["key"]["id"]) for row in report.drift] == drift


def test_a_tolerance_between_two_csv_files_needs_numbers(files: Files) -> None:
    """Texts have no distance, so it did nothing."""
    one, other = "id,v,at\n1,1.00,2026-01-01 10:00:00\n", "id,v,at\n1,1.01,2026-01-01 10:00:01\n"
    source, target = str(files.write("a.csv", one)), str(files.write("b.csv", other))
    with pytest.raises(TrueupError, match=r"column 'v' cannot have '0\.1': both sides hold texts"):
        diff(source, target, key=["id"], tolerance={"v": "0.1"})
    report = diff(source, f"{target} types.v=float", key=["id"], tolerance={"v": "0.1", "at": "1s"})
    assert report.verdict is Verdict.IN_SYNC
    assert diff(source, f"{target} types.v=float", key=["id"], tolerance={"v": "0.001", "at": "1s"}).different == 1


def test_a_null_that_is_not_known_between_two_json_files(files: Files) -> None:
    report = diff(*two_json_files(files, 'null, 1, "a"', '5, "1", "b"'), key=["id"], nulls={"v": "unknown"})
    assert [row["key"]["id"] for row in report.drift] == ["1", "2"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_partition_of_two_json_files_is_named_as_its_text(files: Files, declared: bool) -> None:
    """The column that cuts was read from the cell that is compared, and `eu` became `"eu"`."""
    for name, odd in (("a.jsonl", "x"), ("b.jsonl", "y")):
        rows = [(1, "eu", "x"), (2, "us", odd), (3, 7, "x"), (4, None, "x")]
        members = [dict(zip(("id", "region", "v"), row, strict=True)) for row in rows]
        files.write(name, "".join(json.dumps(row) + "\n" for row in members))
    projection = Projection(
        name="p",
        source=Side(file=str(files.folder / "a.jsonl")),
        target=Side(file=str(files.folder / "b.jsonl")),
        key=["id"],
        settle=0,
        columns=["v", "region"] if declared else None,
        partition={"column": "region", "by": "column"},
    )
    with Trueup(
        databases={}, projections=[projection], ledger=f"sqlite:///{files.folder / 'l.db'}", clock=EngineClock()
    ) as app:
        report = app.check("p")
        assert {part["partition"]: part["different"] for part in report.partitions} == {
            "eu": 0,
            "us": 1,
            "7": 0,
            None: 0,
        }
        assert report.drift[0]["expected"] == {"v": "x", "region": "us"}
        assert app.check("p", partitions=["eu"]).verdict is Verdict.IN_SYNC
        assert app.check("p", partitions=["us"]).verdict is Verdict.DRIFT


def test_members_of_json_files_are_shown_as_texts(files: Files) -> None:
    """They were shown as JSON in JSON; a string keeps its quotes where it would look like the other value without."""
    one = """ "O'Hara", 1.5, {"a": "b"}, 1, "x", "true", "7" """
    other = """ "Ohara", 2.5, {"a": "c"}, "1", null, true, "8" """
    report = diff(*two_json_files(files, one, other), key=["id"])
    assert [(row["expected"]["v"], row["observed"]["v"]) for row in report.drift] == [
        ("O'Hara", "Ohara"),
        ("1.5", "2.5"),
        ('{"a":"b"}', '{"a":"c"}'),
        ("1", '"1"'),
        ("x", None),
        ('"true"', "true"),
        ("7", "8"),
    ]


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("jsonl", """"expected": {"v": "O'Hara"}, "observed": {"v": "Oh \\"a\\""}"""),
        ("csv", '''"O'Hara","Oh ""a""",'''),
    ],
)
def test_members_of_json_files_in_what_programs_read(files: Files, form: str, line: str) -> None:
    names = two_json_files(files, """ "O'Hara" """, """ "Oh \\"a\\"" """)
    with comparing(*names, key=["id"]) as comparison:
        out = io.StringIO()
        output.write_lines(form, comparison.differences(), comparison, out)
    assert line in out.getvalue()


@pytest.mark.parametrize("type_", ["BLOB", "INTERVAL", "BIGINT[]"])
def test_bytes_intervals_and_lists_have_no_text_that_all_products_spell(files: Files, type_: str) -> None:
    files.write("a.csv", "id,v\n1,x\n")
    files.table.sql(f"CREATE TABLE v (id BIGINT PRIMARY KEY, v {type_})")
    with pytest.raises(ConfigError, match="cannot be compared exactly: text of a file in the source"):
        files.app("a.csv", target=Side(database="t", table="v")).check("p")


def test_parquet_files_of_two_types_are_not_converted(files: Files) -> None:
    """DuckDB makes 2 of 1.7 where the first file has integers."""
    files.table.sql(
        f"COPY (SELECT 1::BIGINT id, 1::BIGINT v) TO '{files.folder / '1.parquet'}'",
        f"COPY (SELECT 2::BIGINT id, 1.7::DOUBLE v) TO '{files.folder / '2.parquet'}'",
    )
    with pytest.raises(ConfigError, match=r"2\.parquet has other columns or types than .*1\.parquet: 'v' is DOUBLE"):
        files.app("*.parquet").check("p")


#: Parquet files of one row as PyArrow writes them, packed: `at` is 2026-01-02 03:04:05.123456789 in 96 bits, as Spark
#: and Impala kept moments; `v` is a decimal with 40 digits behind the point, the last of them 1.
_INT96 = (
    "c-jka3^EjD5S0;?(Gg_=GT21fWEdD2m_V43kpTjL;wqvlSQLo<U$KOni-DoISCv7OMbgHUL4vI~IU_YUQIrKJpvok{l$iq517akW"
    "Fo-cp%1G*{F~|Vbs<JUif@DR3qGC>BPHG&UGNK@xm>6s{*(BA#Hh`3}L6s(!fR%cQd8v6}Q7YEMD8{750i+l-6bcfH3QJQ<bdw7T"
    "bQ6n;^2-&<Qj3Z+^Yavp%=8TO3?+4degJu6D-Z_&g8%@kIwa%"
)
_DECIMAL256 = (
    "c-n1{y$ZrG5XUc}1aWY?&_IMP4JxguU?&&dbSlnWN-fwytySyWIJx-*P7XeigS!`94P0^`zdyOVc)A=Sphg`aCr6;r0Kly=2ERl3"
    "2%|rMEw;1n>zQ01xBEM_F+)d9#^8!Ww$3*xI)IMPU0$pJTi8SHvf6KAjH@8AH%TN{S_K9)Nqqsz!bn*;lQYwpYqTA3m~@3Q-=8ho"
    "`k}1;l8H>r;twe=Omfqp2RdGvR{K+a470Kf)2iB?y*jTB#cu13qW+*iQ~`}<r+bpcw3!dPIx39"
)


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


def test_a_parquet_file_of_which_duckdb_loses_something_is_refused(files: Files) -> None:
    """A nanosecond, and the last digits of a long decimal: what differed in these was equal."""
    files.write("old.parquet", unpacked(_INT96))
    files.write("long.parquet", unpacked(_DECIMAL256))
    for name, lost in (("old", ("TIMESTAMP", datetime(2026, 1, 2, 3, 4, 5, 123456))), ("long", ("DOUBLE", 1.0))):
        column = {"old": "at", "long": "v"}[name]
        read = duckdb.sql(f"SELECT typeof(f.{column}), f.{column} FROM '{files.folder / name}.parquet' f").fetchall()
        assert read == [lost], "the control: DuckDB says nothing"
    target = Side(file=str(files.folder / "old.parquet"))
    with pytest.raises(ConfigError, match=r"'at' cannot be compared exactly: INT96, of which DuckDB loses"):
        files.app("old.parquet", target=target).check("p")
    with pytest.raises(ConfigError, match=r"'v' cannot be compared exactly: decimal\(50,40\), of which"):
        files.app("long.parquet", target=Side(file=str(files.folder / "long.parquet"))).check("p")
    files.table.sql(f"CREATE TABLE moments AS SELECT * FROM '{files.folder / 'old.parquet'}'")
    moments = Side(database="t", table="moments")
    assert files.app("old.parquet", target=moments, types={"at": "timestamp"}).check("p").verdict is Verdict.IN_SYNC


def test_types_of_parquet_files_are_their_own(files: Files) -> None:
    write_each_format(files)
    for name, type_ in (("code", "integer"), ("id", "timestamp"), ("nothing", "timestamp")):
        with pytest.raises(ConfigError, match=rf"types: Parquet files say themselves of which type '{name}' is"):
            files.app("rows.parquet", types={name: type_}).check("p")


def test_what_a_parquet_column_consists_of() -> None:
    def element(name: str, children: int | None = None, type_: str = "INT64", precision: int | None = None) -> Any:
        return {"name": name, "num_children": children, "type": type_, "precision": precision, "scale": 1}

    schema = [element("schema", 4), element("id"), element("l", 1), element("list", 1), element("element")]
    schema += [element("s", 2), element("a", type_="INT96"), element("b"), element("at", type_="INT96")]
    assert _files.lossy(Path("a"), schema) == {"s": "a column with INT96 in it", "at": "INT96"}
    schema[4] = element("element", precision=39)
    assert _files.lossy(Path("a"), schema)["l"] == "a column with decimal(39,1) in it"
    schema[1] = element("AT")
    with pytest.raises(ConfigError, match="two columns have names that differ in capitals only: AT, at"):
        _files.lossy(Path("a"), schema)


def test_many_files_are_one_side(files: Files) -> None:
    for part in range(3):
        header, *lines = CSV.splitlines(keepends=True)
        files.write(f"part{part}.csv", header + lines[part])
    report = files.app("part*.csv").check("p")
    assert (report.verdict, report.source_rows) == (Verdict.IN_SYNC, 3)
    files.write("part3.csv", "id,code,amount,paid,day\n")
    with pytest.raises(ConfigError, match="other columns"):
        files.app("part*.csv").check("p")


@pytest.mark.parametrize("name", ["none.csv", "none*.parquet", "nowhere/*.json"])
def test_no_file_is_no_empty_source(files: Files, name: str) -> None:
    with pytest.raises(ConfigError, match=r"projections\.p\.source\.file: (there is no file|no file matches)"):
        files.app(name).check("p")
    assert files.table.count("dst") == 3


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_says_what_has_changed(files: Files, ending: str) -> None:
    """How far its marks go was asked of no file at all."""
    rows = [(n, "x", n) for n in range(1, 500)]
    files.table.sql("CREATE TABLE t (id BIGINT PRIMARY KEY, v VARCHAR, rev BIGINT)")
    files.table.insert("t", rows)
    path = files.folder / f"rows.{ending}"
    files.table.sql(f"COPY t TO '{path}' (HEADER)" if ending == "csv" else f"COPY t TO '{path}'")
    types = {"types": {"rev": "integer"}} if ending == "csv" else {}
    app = files.app(
        path.name,
        target=Side(database="t", table="t"),
        changes={"source": {"column": "rev"}, "target": {"column": "rev"}},
        **types,
    )
    assert app.check("p").source_rows == 499
    files.table.sql("UPDATE t SET v = 'y', rev = 1000 WHERE id = 7")
    report = app.check("p")
    assert (report.different, report.drift[0]["key"]) == (1, {"id": 7})
    assert "changed" in report.strategy, report.strategy


def test_a_link_to_nothing_is_not_left_out(files: Files) -> None:
    files.write("part1.csv", CSV)
    (files.folder / "part2.csv").symlink_to("gone.csv")
    with pytest.raises(ConfigError, match=r"part2\.csv: it is no file that can be read, or a link to one"):
        files.app("part*.csv").check("p")


def test_a_file_that_goes_away_is_a_broken_read(tmp_path: Path) -> None:
    with pytest.raises(BrokenRead, match=r"rows\.csv: it cannot be read any more: No such file"):
        _files.state_of([tmp_path / "rows.csv"])


def test_what_is_wrong_in_a_file_is_told_of_that_file(files: Files) -> None:
    """Both sides are read at the same time, by one connection each."""
    lines = "".join(f"{n},x,1.00,,true\n" for n in range(10, 9_000))
    for name, last in (("whole", ""), ("short", "9000,x\n"), ("odd", "9000,x,1,soon,true\n")):
        files.write(f"{name}.csv", CSV + lines + last)
    types = {"day": "date"}  # of one side: two typed sides are read by one statement
    for name, words in (("short", "line 8995 is broken"), ("odd", "column 'day' holds a value that is no date")):
        for source, target in (("whole", name), (name, "whole")):
            side = Side(file=str(files.folder / f"{target}.csv"))
            with pytest.raises(TrueupError, match=rf"{name}\.csv: {words}"):
                files.app(f"{source}.csv", target=side, types=types).check("p")
    side = Side(file=str(files.folder / "odd.csv"), types=types)
    with pytest.raises(TrueupError, match=r"whole\.csv, .*odd\.csv: column 'day'"):
        files.app("whole.csv", target=side, types=types).check("p")


def test_a_folder_and_a_name_without_an_ending(files: Files) -> None:
    (files.folder / "many").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        files.app("many").check("p")
    files.write("rows", CSV)
    with pytest.raises(ConfigError, match="give format"):
        files.app("rows").check("p")
    assert files.app("rows", format="csv").check("p").verdict is Verdict.IN_SYNC


@pytest.mark.parametrize("name", ["odd [1].csv", "it's.csv", "a:b?.csv", "ä.csv"])
def test_names_of_files(files: Files, name: str) -> None:
    files.write(name, CSV)
    assert files.app(name).check("p").verdict is Verdict.IN_SYNC


@pytest.mark.parametrize(
    "name", [r"b\[1].csv", r"c\d.csv", r"e\*.csv", r"g\\h.csv", r"m\]n.csv", r"s\t/u.csv", "~x.csv"]
)
def test_a_backslash_and_a_tilde_in_the_name_of_a_file(
    files: Files, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Escaped as a pattern, such a file was not found."""
    (files.folder / name).parent.mkdir(exist_ok=True)
    files.write(name, CSV)
    assert files.app(name).check("p").verdict is Verdict.IN_SYNC
    monkeypatch.chdir(files.folder)
    files.folder = Path()
    assert files.app(name).check("p").source_rows == 3


def test_a_name_that_duckdb_has_no_pattern_for_is_said(files: Files) -> None:
    files.write(r"a\b[1].csv", CSV)
    with pytest.raises(
        ConfigError, match=r"a name with a backslash and one of \* \? \[ cannot be read. Rename the file"
    ):
        files.app(r"a\b[1].csv").check("p")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(("name", "like_it"), [("a[1]", "a1"), ("b?", "bx"), ("c*", "cx"), ("[d]/e", "d/e")])
def test_a_file_whose_name_is_a_pattern_is_that_file(files: Files, name: str, like_it: str, ending: str) -> None:
    """DuckDB takes each name for a pattern, and read the file beside it: what differed was equal."""
    whole = files.folder / write_each_format(files)[ending]
    for other, content in ((name, whole.read_bytes()), (like_it, b"no such rows")):
        path = files.folder / f"{other}.{ending}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    assert files.app(f"{name}.{ending}").check("p").verdict is Verdict.IN_SYNC


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("short.csv", CSV + "4,x\n"),
        ("long.csv", CSV + "4,x,1,,true,more\n"),
        ("open.csv", CSV + '4,"x,1,,true\n'),
        ("latin.csv", CSV.encode() + b"4,\xe4,1,,true\n"),
        ("ends.csv", CSV + "4,x,1,,true\r\n5,x,1,,true\n"),
        ("cut.jsonl", json.dumps(as_json()[0]) + "\n" + json.dumps(as_json()[1])[:-5]),
        ("cut.json", json.dumps(as_json())[:-5]),
        ("twice.jsonl", '{"id": 1, "id": 2}\n'),
        ("list.jsonl", "[1]\n[2]\n"),
        ("half.jsonl", '{"id": 1, "code": "\\ud800"}\n'),
        ("deep.jsonl", '{"id": 1, "code": ' + "[" * 3000 + "]" * 3000 + "}\n"),
        ("less_deep.jsonl", '{"id": 1, "code": ' + "[" * 900 + "]" * 900 + "}\n"),
        ("capitals.jsonl", '{"id": 1, "ID": 2}\n'),
        ("capitals.csv", CSV.replace("code", "ID")),
    ],
)
def test_a_file_that_is_broken_somewhere_is_no_source(files: Files, name: str, content: str | bytes) -> None:
    files.write(name, content)
    with pytest.raises((BrokenRead, ConfigError), match=name) as caught:
        files.app(name).run("p")
    assert "4,x" not in str(caught.value), "rows of a file may be secret"
    assert files.table.count("dst") == 3


def test_a_broken_parquet_file_is_no_source(files: Files) -> None:
    whole = files.folder / "whole.parquet"
    files.table.sql(f"COPY (SELECT range AS id, 'x' || range AS code FROM range(100000)) TO '{whole}'")
    raw = whole.read_bytes()
    files.write("cut.parquet", raw[: len(raw) // 2])
    files.write("bent.parquet", raw[: len(raw) // 3] + b"\0" * 2000 + raw[len(raw) // 3 + 2000 :])
    assert files.app("whole.parquet", target=Side(file=str(whole))).check("p").source_rows == 100_000
    for name in ("cut.parquet", "bent.parquet"):
        with pytest.raises(BrokenRead, match=name):
            files.app(name, target=Side(file=str(whole))).check("p")


@pytest.mark.parametrize("together", [False, True])
def test_a_file_that_changes_while_it_is_read(files: Files, together: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by one that has the same rows: it cannot be known."""
    path = files.write("rows.csv", CSV)
    target = Side(file=str(path)) if together else None
    app = files.app("rows.csv", target=target)
    assert app.check("p").verdict is Verdict.IN_SYNC
    execute = _results.sa.Connection.execute

    def meddling(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = execute(self, *args, **kwargs)
        if self.dialect.name == "duckdb":
            os.replace(files.write("new.csv", CSV), path)  # noqa: PTH105
        return result

    monkeypatch.setattr(_results.sa.Connection, "execute", meddling)
    with pytest.raises(BrokenRead, match="changed while"):
        app.check("p")
    monkeypatch.undo()
    assert app.check("p").verdict is Verdict.IN_SYNC


def test_options_of_csv(files: Files) -> None:
    files.write("semi.csv", 'id;code\n1;007\n2;""\n3;\\N\n')
    app = files.app("semi.csv", delimiter=";", null="\\N")
    assert app.check("p").verdict is Verdict.IN_SYNC
    files.write("tabs.txt", 'id\tcode\n1\t007\n2\t""\n3\t\n')
    assert files.app("tabs.txt", format="csv", delimiter=r"\t").check("p").verdict is Verdict.IN_SYNC
    for wrong in ("||", '"', "\n"):
        with pytest.raises(ValidationError, match="cannot be between two columns: that is one character"):
            Side(file="semi.csv", delimiter=wrong)
    files.write("bom.csv", "\ufeff" + CSV)
    assert files.app("bom.csv").check("p").verdict is Verdict.IN_SYNC
    with pytest.raises(ConfigError, match=r"no column 'cod'; did you mean 'code'\?"):
        files.app("bom.csv", types={"cod": "text"}).check("p")
    with pytest.raises(ConfigError, match="is no type of a column; known: text, integer"):
        files.app("bom.csv", types={"code": "varchar"}).check("p")


@pytest.mark.parametrize("content", ["", "id,,x\n", "id,id\n"])
def test_a_csv_file_names_its_columns(files: Files, content: str) -> None:
    files.write("a.csv", content)
    with pytest.raises(ConfigError, match=r"a\.csv: "):
        files.app("a.csv").check("p")


def test_a_file_with_a_header_only_is_an_empty_source(files: Files) -> None:
    files.write("a.csv", CSV.partition("\n")[0] + "\n")
    report = files.app("a.csv").check("p")
    assert (report.source_rows, report.extra) == (0, 3)


def test_declarations(tmp_path: Path) -> None:
    for wrong in ({"file": "a.csv", "database": "x"}, {"file": "a.csv", "table": "t"}, {"table": "t"}):
        with pytest.raises(ValidationError):
            Side(**wrong)
    with pytest.raises(ValidationError, match="is about a `file`"):
        Side(database="x", table="t", types={"a": "text"})
    (tmp_path / "data [old]").mkdir()
    path = tmp_path / "data [old]" / "trueup.toml"
    path.write_text('[projections.p]\nsource = { file = "o/*.csv" }\ntarget = { file = "x.parquet" }\nkey = "id"\n')
    side = config.load(path).projections["p"].source
    (path.parent / "o").mkdir()
    (path.parent / "o" / "1.csv").write_text(CSV)
    duckdb.sql(f"COPY (SELECT 1 id, '007' code) TO '{path.parent / 'x.parquet'}'")
    assert side.file is not None
    assert side.file.endswith("/o/*.csv")
    from trueup import load

    with load(path) as app:
        report = app.check("p")
    assert (report.source_rows, report.extra, report.missing) == (3, 0, 2)
