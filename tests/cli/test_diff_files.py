"""`trueup diff` with files and DuckDB databases as sides."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import duckdb
import pytest

from tests.cli.shop import Ran, Shop
from trueup import Projection, Report, Side, Trueup
from trueup.errors import ConfigError

SOURCE = [(1, 10), (2, 20), (3, 30)]
TARGET = [(1, 10), (2, 99), (4, 40)]
TABLE = "sqlite:///app.db#src"


@pytest.fixture
def files(shop: Shop) -> Shop:
    """The source as a table; the target as files of each kind, whole and in parts, and in a DuckDB database."""
    shop.fill(SOURCE, TARGET)
    (shop.folder / "trueup.toml").unlink()
    (shop.folder / "parts").mkdir()
    with duckdb.connect(str(shop.folder / "tgt.duckdb")) as connection:
        connection.execute("CREATE TABLE tgt (id BIGINT PRIMARY KEY, n BIGINT, email VARCHAR)")
        connection.executemany("INSERT INTO tgt VALUES (?, ?, NULL)", TARGET)
        for name, form in (("tgt.parquet", "parquet"), ("tgt.csv", "csv, header"), ("tgt.json", "json")):
            connection.execute(f"COPY tgt TO '{shop.folder / name}' (FORMAT {form})")
        for part in (1, 2):
            name = shop.folder / "parts" / f"{part}.csv"
            connection.execute(f"COPY (SELECT * FROM tgt WHERE id % 2 = {part % 2}) TO '{name}' (FORMAT csv, HEADER)")
    return shop


SIDES = ["tgt.parquet", "tgt.csv", "tgt.json", "parts/*.csv", "duckdb:///tgt.duckdb#tgt"]


def found(ran: Ran) -> list[tuple[str, int]]:
    return sorted((row["kind"], row["key"]["id"]) for row in ran.report["drift"])


@pytest.mark.parametrize("side", SIDES)
def test_a_table_against_a_file_and_back(files: Shop, side: str) -> None:
    there = files.run("diff", TABLE, side, "--key", "id", "--json")
    assert (there.code, found(there)) == (1, [("different", 2), ("extra", 4), ("missing", 3)])
    assert there.report["different_by_column"] == {"n": 1}
    back = files.run("diff", side, TABLE, "--key", "id", "--json")
    assert (back.code, found(back)) == (1, [("different", 2), ("extra", 3), ("missing", 4)])


@pytest.mark.parametrize("side", SIDES[1:])
def test_files_of_different_kinds_agree(files: Shop, side: str) -> None:
    ran = files.run("diff", "tgt.parquet", side, "--key", "id")
    assert (ran.code, "in sync" in ran.out) == (0, True), ran.err


def test_the_key_is_that_of_the_table_if_there_is_one(files: Shop) -> None:
    assert "by id (the source's primary key)" in files.run("diff", TABLE, "tgt.csv").out
    assert "by id (the target's primary key)" in files.run("diff", "tgt.csv", TABLE).out
    ran = files.run("diff", "tgt.csv", "tgt.parquet")
    assert (ran.code, "both sides have id, n, email" in ran.err) == (2, True)


def test_what_a_file_does_not_say_of_itself_is_said_behind_its_name(files: Shop) -> None:
    (files.folder / "odd.dat").write_text("id;n;email\n1;true;NA\n")
    files.sql("CREATE TABLE odd (id INTEGER PRIMARY KEY, n INTEGER, email TEXT)", "INSERT INTO odd VALUES (1, 1, NULL)")
    table = "sqlite:///app.db#odd"
    bare = files.run("diff", "odd.dat", table)
    assert (bare.code, "write format=csv, format=json or format=parquet behind it" in bare.err) == (2, True)
    untyped = files.run("diff", "odd.dat format=csv delimiter=; null=NA", table)
    assert "say its type behind the file's name, as in types.n=boolean, or types.n=float where whole" in untyped.err
    asked = "odd.dat format=csv delimiter=; null=NA types.n=boolean"
    assert files.run("diff", asked, table, "--save", "odd").code == 0
    assert files.run("check", "odd").code == 0
    for key in ((), ("--key", "id")):
        wrong = files.run("diff", "odd.dat typ=csv", table, *key)
        assert (wrong.code, "source.typ: unknown key 'typ'" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("side", "code", "words"),
    [
        ("nowhere.csv", 2, "target: there is no file nowhere.csv"),
        ("nowhere/*.csv", 2, "target: "),
        ("tgt.*", 2, "target: the names of tgt.* do not say one format"),
        ("broken.parquet", 3, "broken.parquet"),
        ("wide.csv", 3, "trueup: wide.csv: line 3 is broken: columns: 3, values in it: 4\n"),
        ("text.csv", 3, "trueup: text.csv: column 'n' holds a value that is no integer"),
        ("duckdb:///nowhere.duckdb#tgt", 2, "target: "),
    ],
)
def test_a_file_that_cannot_be_read(files: Shop, side: str, code: int, words: str) -> None:
    """What is asked for wrongly is 2; a file that is there and cannot be read was not compared, which is 3."""
    (files.folder / "broken.parquet").write_text("not a Parquet file")
    (files.folder / "wide.csv").write_text("id,n,email\n1,1,a\n2,2,b,c\n")
    (files.folder / "text.csv").write_text("id,n,email\n1,one,a\n")
    for key in ((), ("--key", "id")):
        ran = files.run("diff", TABLE, side, *key)
        assert (ran.code, ran.out) == (code, "")
        assert words in ran.err
        assert "<files>" not in ran.err


def test_two_sides_that_share_nothing_but_the_key_are_not_equal(files: Shop) -> None:
    """A blank in a header, or other capitals, and nothing was compared: that is no answer."""
    (files.folder / "a.csv").write_text("id, n\n1,2\n")
    (files.folder / "b.csv").write_text("id,n\n1,3\n")
    ran = files.run("diff", "a.csv", "b.csv", "--key", "id")
    assert (ran.code, ran.out) == (2, "")
    assert "nothing would be compared:  n only in the source; n only in the target. Say what" in ran.err
    assert "--map A=B" in ran.err
    (files.folder / "keys.csv").write_text("id\n1\n")
    assert files.run("diff", "keys.csv", "b.csv", "--key", "id").code == 0, "who has keys alone compares keys"


def test_nor_are_they_for_a_projection(files: Shop) -> None:
    """`check` says so too; and of what was compared, which columns only one side has."""
    for name, header in (("a", "id, n"), ("b", "id,n"), ("c", "id,n,more"), ("d", "id")):
        row = ",".join("123"[: header.count(",") + 1])
        (files.folder / f"{name}.csv").write_text(f"{header}\n{row}\n")

    def checked(source: str, target: str) -> Report:
        sides = {"source": Side(file=str(files.folder / source)), "target": Side(file=str(files.folder / target))}
        declared = Projection(name="p", key=["id"], settle=0, **sides)
        with Trueup(databases={}, projections=[declared], ledger=f"sqlite:///{files.folder / 'ledger.db'}") as app:
            return app.check("p")

    with pytest.raises(ConfigError, match=r"projections\.p: nothing but the key .*:  n only in the source; n only"):
        checked("a.csv", "b.csv")
    assert checked("b.csv", "c.csv").to_dict()["one_sided"] == {"target": ["more"]}
    assert checked("d.csv", "b.csv").one_sided == {"target": ["n"]}, "who has keys alone compares keys"
    assert "one_sided" not in checked("b.csv", "b.csv").to_dict()


@pytest.mark.parametrize(
    ("side", "words"),
    [
        ("shop.db#tgt", "there is no file shop.db#tgt; a table is named behind the URL of its database"),
        ("shop.db", "a database is named by its URL, as in sqlite:///file.db#table"),
        ("sqlite://shop.db#tgt", "a file has three slashes: sqlite:///shop.db"),
    ],
)
def test_a_database_that_is_named_as_a_file_is_not(files: Shop, side: str, words: str) -> None:
    (files.folder / "shop.db").touch()
    ran = files.run("diff", TABLE, side, "--key", "id")
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


def test_nothing_is_said_of_what_is_left_at_the_end(files: Shop) -> None:
    """Objects of DuckDB that Python does not look through at its end are called leaked by its binding."""
    command = [sys.executable, "-m", "trueup", "diff", "src.csv", "src.csv", "--key", "id", "--json"]
    (files.folder / "src.csv").write_text("id,n\n1,2\n")
    ran = subprocess.run(command, cwd=files.folder, env=files.environment(), capture_output=True, text=True, check=True)
    assert ran.stderr == ""


def test_files_without_an_ending(files: Shop) -> None:
    """As Spark and Hadoop name them."""
    (files.folder / "lake").mkdir()
    (files.folder / "lake" / "part-0").write_bytes((files.folder / "tgt.csv").read_bytes())
    ran = files.run("diff", "tgt.csv", "lake/* format=csv", "--key", "id")
    assert ran.code == 0, ran.err


def test_a_column_that_a_file_has_not(files: Shop) -> None:
    ran = files.run("diff", TABLE, "tgt.csv", "--key", "idd")
    assert (ran.code, "<files>" in ran.err) == (2, False)
    assert "did you mean 'id'?" in ran.err


def test_what_diff_writes_diff_reads(files: Shop) -> None:
    """The differences as a table of their own, compared with themselves in another format."""
    for name in ("d.csv", "d.parquet"):
        assert files.run("diff", TABLE, "tgt.csv", "--key", "id", "--output", name).code == 1
    ran = files.run("diff", "d.csv", "d.parquet", "--key", "key_id", "--json")
    assert (ran.code, ran.report["source_rows"]) == (0, 3), ran.out + ran.err


@pytest.mark.parametrize("side", ["tgt.csv", "parts/*.csv", "duckdb:///tgt.duckdb#tgt"])
def test_a_saved_file_is_found_from_the_configuration(files: Shop, side: str) -> None:
    (files.folder / "conf").mkdir()
    asked = ("--key", "id", "--settle", "10ms", "--save", "copy", "--config", "conf/t.toml", "--json")
    ran = files.run("diff", TABLE, side, *asked)
    assert ran.code == 1, ran.err
    again = files.run("check", "--config", "conf/t.toml", "--json")
    assert (again.code, found(again)) == (1, found(ran)), again.err
    declared = tomllib.loads((files.folder / "conf/t.toml").read_text())
    assert "../" in json.dumps(declared["projections"]["copy"]["target"] | declared["databases"])
