"""MariaDB's own ways: collations, trailing blanks, wide integers, dates that no calendar has, what a session needs."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.conformance.conftest import _open
from tests.conformance.hashed import HashedWorld, open_hashed
from tests.conformance.worlds import Mysql, Pairing, Postgresql, World
from tests.live.harness import until
from tests.servers import Pair, mariadb_connection
from trueup import ConfigError, Database, Outcome, Projection, Side, TrueupError, Verdict, by_digest, diff
from trueup.adapters import _mysql_survey, _results, connect, mysql
from trueup.adapters import _mysql_values as values
from trueup.adapters._steps import UnitTransaction
from trueup.adapters.mysql import MysqlAdapter
from trueup.core.binding import Binding, Column, bind
from trueup.core.digest import agree, rows_in
from trueup.core.kinds import Kind
from trueup.core.plan import Everything, Keys, Range
from trueup.errors import BrokenRead, Busy, ConnectionFailed, DataProblem, DesignProblem, StatementTimeout, Transient

ID = "id bigint PRIMARY KEY"
ALONE = Pairing(source="mysql", target="mysql", together=True)
OTHERS = ("postgresql", "sqlite")


@pytest.fixture
def alone(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    """One MariaDB database."""
    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    yield from _open(ALONE, request, tmp_path)


@pytest.fixture(params=[ALONE, *(Pairing(source=other, target="mysql") for other in OTHERS)], ids=str)
def into(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    """The target is MariaDB."""
    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    yield from _open(request.param, request, tmp_path)


@pytest.fixture(params=[Pairing(source="mysql", target=other) for other in OTHERS], ids=str)
def out_of(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    """The source is MariaDB, the target is not."""
    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    yield from _open(request.param, request, tmp_path)


@pytest.fixture(params=[ALONE, Pairing(source="mysql", target="mysql")], ids=str)
def maria(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    """One MariaDB database, and two."""
    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    yield from _open(request.param, request, tmp_path)


@pytest.fixture
def adapter(mariadb: str) -> Iterator[MysqlAdapter]:
    made = MysqlAdapter("a", Database(url=mariadb))
    yield made
    made.close()


def found(report: Any) -> set[tuple[str, Any]]:
    return {(row["kind"], row["key"]["id"]) for row in report.drift}


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "collation", ["utf8mb4_general_ci", "utf8mb4_unicode_520_ci", "utf8mb4_bin", "latin1_swedish_ci"]
)
def test_keys_of_a_loose_collation_are_told_apart_by_their_bytes(into: World, collation: str) -> None:
    """Case, accents and trailing blanks mean nothing to the target's index; its row is never taken for another."""
    into.source.table("src", "id {text} PRIMARY KEY NOT NULL, v {integer}", [("ann", 1), ("bob", 2), ("eva", 3)])
    charset = collation.partition("_")[0]
    into.target.sql(
        f"CREATE TABLE dst (id varchar(40) CHARACTER SET {charset} COLLATE {collation} PRIMARY KEY, v bigint)"
    )
    into.target.insert("dst", [("ANN", 1), ("bob ", 9), ("\u00e9va", 3)])
    app = into.app(on_extra="report")
    report = app.check("p", rows=0)
    assert found(report) == {
        *(("missing", name) for name in ("ann", "bob", "eva")),
        *(("extra", name) for name in ("ANN", "bob ", "\u00e9va")),
    }
    looked = app.check("p", keys=[{"id": "bob"}], rows=0)
    assert found(looked) == {("missing", "bob")}
    app.run("p")
    held = set(into.target.rows("dst"))
    assert {("ANN", 1), ("bob ", 9), ("\u00e9va", 3)} <= held, "somebody else's row was written"


def test_trailing_blanks_and_case_are_values(alone: World) -> None:
    alone.source.sql(f"CREATE TABLE src ({ID}, v varchar(20))", f"CREATE TABLE dst ({ID}, v varchar(20))")
    alone.source.insert("src", [(1, "x"), (2, "x"), (3, "x"), (4, ""), (5, "e")])
    alone.target.insert("dst", [(1, "x "), (2, "X"), (3, "x"), (4, None), (5, "\u00e9")])
    app = alone.app()
    assert app.check("p").different == 4
    assert app.run("p").repaired == 4
    assert alone.target.rows("dst") == {(1, "x"), (2, "x"), (3, "x"), (4, ""), (5, "e")}


def test_an_entity_in_a_key_is_another_key(into: World) -> None:
    into.source.table("src", "id {text} PRIMARY KEY NOT NULL, v {integer}", [("O'Neil & 5%", 1)])
    into.target.table("dst", "id {text} PRIMARY KEY NOT NULL, v {integer}", [("O&#39;Neil &amp; 5%", 1)])
    app = into.app(on_extra="delete")
    assert found(app.check("p")) == {("missing", "O'Neil & 5%"), ("extra", "O&#39;Neil &amp; 5%")}
    assert app.run("p").verdict is Verdict.REPAIRED
    assert into.target.rows("dst") == {("O'Neil & 5%", 1)}


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "cp1251", "sjis", "ucs2"])
def test_keys_that_the_columns_character_set_cannot_hold_are_missing_and_no_error(into: World, charset: str) -> None:
    into.source.table("src", "id {text} PRIMARY KEY NOT NULL, v {integer}", [("a", 1), ("\U0001f44d", 2), ("z", 3)])
    into.target.sql(f"CREATE TABLE dst (id varchar(40) CHARACTER SET {charset} PRIMARY KEY, v bigint)")
    into.target.insert("dst", [("a", 1), ("z", 9)])
    app = into.app()
    assert app.check("p", keys=[{"id": "\U0001f44d"}]).missing == 1
    report = app.run("p")
    assert (report.missing, report.different, report.repaired, report.left) == (1, 1, 1, 1)
    assert into.target.rows("dst") == {("a", 1), ("z", 3)}


@pytest.mark.parametrize(
    ("charset", "odd"),
    [
        ("latin1", "\x81\x8d\x8f\x90\x9d"),
        ("greek", "\u02bc\u02bd"),
        ("hebrew", "\u203e"),
        ("big5", "\u58bb\u88cf"),
        ("ujis", "\ue000"),
    ],
)
def test_keys_that_only_the_server_knows_to_be_of_a_character_set_are_found(
    mariadb_pair: Pair, charset: str, odd: str
) -> None:
    """Python's codecs lack these letters. Taken to be nowhere, rows that differ were right at the second look."""
    for url, v in zip(mariadb_pair, (1, 2), strict=True):
        Mysql(url).sql(f"CREATE TABLE t (id varchar(9) CHARACTER SET {charset} PRIMARY KEY, v int)")
        Mysql(url).insert("t", [(f"a{letter}", v) for letter in odd])
    report = diff(f"{mariadb_pair.source}#t", f"{mariadb_pair.target}#t", settle=0.001)
    assert (report.source_rows, report.different) == (len(odd), len(odd))


@pytest.mark.parametrize("settle", [0, 0.001], ids=["one look", "two"])
def test_a_year_is_no_number_of_two_digits(mariadb_pair: Pair, settle: float) -> None:
    """MariaDB takes 70 for 1970 where it stands beside a year, and found the row of another key."""
    source, target = map(Mysql, mariadb_pair)
    source.sql("CREATE TABLE t (id year PRIMARY KEY, v int)", "INSERT INTO t VALUES (0, 1), (1970, 1), (2001, 1)")
    target.sql("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (0, 1), (70, 1), (1970, 1), (1, 1)")
    assert source.sql("SELECT 1 FROM t WHERE id = 70") == [(1,)], "the control"
    there = diff(f"{source.url}#t", f"{target.url}#t", settle=settle)
    assert found(there) == {("missing", 2001), ("extra", 70), ("extra", 1)}
    back = diff(f"{target.url}#t", f"{source.url}#t", settle=settle)
    assert found(back) == {("extra", 2001), ("missing", 70), ("missing", 1)}


def test_long_keys_that_begin_alike_are_not_mixed_up(alone: World) -> None:
    """The server sorts by the first kilobyte unless it is told otherwise; groups would then fall apart."""
    keys = [("k" * 3000) + ending for ending in ("c", "a", "d", "b")]
    alone.source.sql("CREATE TABLE src (id longtext, v int)", "CREATE TABLE dst (id longtext, v int)")
    alone.source.insert("src", [(key, 1) for key in keys * 1])
    alone.target.insert("dst", [(key, 1 + key.endswith("d")) for key in reversed(keys)])
    report = alone.app().check("p", rows=0)
    assert (report.source_rows, report.different, report.missing, report.extra) == (4, 1, 0, 0)


def test_enums_sets_years_bits_and_booleans(alone: World) -> None:
    columns = "a enum('z','b'), b set('q','p'), c year, d bit(9), e boolean, f tinyint unsigned"
    alone.source.sql(f"CREATE TABLE src ({ID}, {columns})", f"CREATE TABLE dst ({ID}, {columns})")
    held = ("z", "q,p", 2026, 257, 1, 255)
    alone.source.insert("src", [(n, *held) for n in range(7)])
    other = ("b", "p", 2025, 256, 2, 254)
    alone.target.insert(
        "dst", [(n, *(other[at] if at == n else value for at, value in enumerate(held))) for n in range(6)]
    )
    app = alone.app()
    report = app.check("p")
    assert report.different_by_column == dict.fromkeys("abcdef", 1)
    assert (report.different, report.missing) == (6, 1)
    assert app.run("p").repaired == 7
    assert alone.source.sql("SELECT * FROM src") == alone.target.sql("SELECT * FROM dst")


def test_an_enum_and_text_in_a_query(alone: World) -> None:
    """A query's columns are described by the protocol alone: kinds, bytes or text, character set."""
    alone.source.sql(
        "CREATE TABLE src (id varchar(9) CHARACTER SET latin1, a enum('z','b'), b varbinary(9), c json, d float,"
        " e bit(3))",
        "CREATE TABLE dst (id varchar(9) COLLATE utf8mb4_bin PRIMARY KEY, a text, b blob, c longtext, d float, e int)",
        "INSERT INTO src VALUES ('\u00e9', 'z', x'00ff', '{}', 0.1, 5), ('e', 'b', x'41', '[1]', 16777217, 1)",
        "INSERT INTO dst VALUES ('\u00e9', 'z', x'00ff', '{}', 0.1, 5)",
    )
    app = alone.app(source="SELECT * FROM src")
    assert found(app.check("p")) == {("missing", "e")}
    assert app.check("p", keys=[{"id": "\u00e9"}]).verdict is Verdict.IN_SYNC
    report = app.run("p")
    assert report.verdict is Verdict.REPAIRED, (report.drift, app.outcomes(report.run))


# --- documents -------------------------------------------------------------------------------------------------------

#: Source, target, and whether they mean the same.
DOCUMENTS = [
    ('{"a": 1, "b": [1, 2]}', '{"b":[1.0,2],"a":1}', True),
    ("1", "1.0", True),
    ("[1]", "[ 1 ]", True),
    ("[1, 2]", "[2, 1]", False),
    ('"1"', "1", False),
    ('{"a":"A"}', '{"a":"a"}', False),
    ("null", None, False),
    (None, None, True),
]


def test_a_json_column_is_compared_by_meaning(into: World) -> None:
    """To MariaDB it is a text with a condition; one without it is a text."""
    json = {"postgresql": "jsonb", "duckdb": "JSON", "sqlite": "JSON"}.get(into.source.engine, "json")
    into.source.sql(f"CREATE TABLE src (id bigint PRIMARY KEY, v {json})")
    into.source.insert("src", [(at, one) for at, (one, _, _) in enumerate(DOCUMENTS)])
    into.target.sql("CREATE TABLE dst (id bigint PRIMARY KEY, v json)")
    into.target.insert("dst", [(at, other) for at, (_, other, _) in enumerate(DOCUMENTS)])
    app = into.app()
    different = {("different", at) for at, (*_, same) in enumerate(DOCUMENTS) if not same}
    assert found(app.check("p")) == different
    assert found(app.check("p", keys=[{"id": at} for at in range(len(DOCUMENTS))])) == different
    assert app.run("p").repaired == len(different)
    assert app.check("p").verdict is Verdict.IN_SYNC


#: Queries of documents `v` and texts `w` by `id`, as people write them.
QUERIES = [
    "SELECT id, v, w FROM {}",
    "SELECT id, max(v) AS v, max(w) AS w FROM {} GROUP BY id",
    "SELECT id, v, w FROM {0} UNION SELECT id, v, w FROM {0} WHERE id > 1",
    "WITH a AS (SELECT DISTINCT * FROM {}) SELECT a.id, a.v, a.w FROM a LEFT JOIN a AS b ON b.id = a.id ORDER BY 1",
    "SELECT id, json_extract(v, '$') AS v, concat(v, '') AS w FROM {}",
]


@pytest.mark.parametrize("query", [*QUERIES, "a view"])
def test_documents_of_a_query_or_a_view_are_documents(alone: World, query: str) -> None:
    """The client is told that they are texts; a text beside them is one."""
    for table, document in (("src", '{"a": 1, "b": [2]}'), ("dst", '{"b":[2.0],"a":1}')):
        alone.source.sql(f"CREATE TABLE {table} (id bigint PRIMARY KEY, v json, w longtext, `o``:{{}}d` json)")
        alone.source.insert(table, [(1, document, document, document), (2, "[1]", "[1]", "[1]")])
        alone.source.sql(f"CREATE VIEW seen_{table} AS SELECT * FROM {table}")
    if query == "a view":
        sides = [f"{alone.source.url}#seen_{table}" for table in ("src", "dst")]
        odd = ["o`:{}d"]
    else:
        sides = [f"{alone.source.url}#{query.format(table)}" for table in ("src", "dst")]
        odd = []
    report = diff(*sides, key="id", columns=["v", "w", *odd])
    assert (report.different, report.different_by_column) == (1, {"w": 1})


def test_columns_that_are_not_for_us_to_read_are_not_asked_about(alone: World) -> None:
    alone.source.sql(
        *(f"CREATE TABLE {table} (id bigint PRIMARY KEY, v json, secret longtext)" for table in ("src", "dst")),
        "INSERT INTO src VALUES (1, '[1]', 'a')",
        "INSERT INTO dst VALUES (1, '[1.0]', 'b')",
    )
    at = sa.make_url(alone.source.url)
    name = f"trueup_{secrets.token_hex(4)}"
    tables = [f"{at.database}.{table}" for table in ("src", "dst")]
    alone.source.sql(f"CREATE USER {name}@'%'", *(f"GRANT SELECT (id, v) ON {table} TO {name}@'%'" for table in tables))
    try:
        url = at.set(username=name, password=None).render_as_string()
        assert diff(f"{url}#src", f"{url}#dst", key="id").verdict is Verdict.IN_SYNC
        with pytest.raises(TrueupError, match="no column 'secret'"):  # the control
            diff(f"{url}#src", f"{url}#dst", key="id", columns=["secret"])
        adapter = MysqlAdapter("a", Database(url=url))
        for statement in ("UPDATE dst SET id = 2", "SELECT secret FROM src"):  # of a table, and of a column
            with pytest.raises(DesignProblem, match="; grant it to the user"), adapter.writing() as c:
                c.exec_driver_sql(statement)
        adapter.close()
    finally:
        alone.source.sql(f"DROP USER {name}@'%'")


def test_a_view_whose_tables_are_not_for_us_to_read(alone: World) -> None:
    """The optimizer tells nothing of it; its rows can be read."""
    alone.source.sql(
        "CREATE TABLE src (id bigint PRIMARY KEY, v bigint)", "CREATE TABLE dst (id bigint PRIMARY KEY, v bigint)"
    )
    alone.source.insert("src", [(1, 1), (2, 2)])
    alone.source.insert("dst", [(1, 1), (2, 3)])
    alone.source.sql("CREATE VIEW seen AS SELECT id, v FROM src")
    at = sa.make_url(alone.source.url)
    name = f"trueup_{secrets.token_hex(4)}"
    alone.source.sql(
        f"CREATE USER {name}@'%'", *(f"GRANT SELECT ON {at.database}.{one} TO {name}@'%'" for one in ("seen", "dst"))
    )
    try:
        url = at.set(username=name, password=None).render_as_string()
        report = diff(f"{url}#seen", f"{url}#dst", key="id")
        assert (report.source_rows, report.different_by_column) == (2, {"v": 1})
        with pytest.raises(TrueupError, match="no table 'src'"):  # the control
            diff(f"{url}#src", f"{url}#dst", key="id")
    finally:
        alone.source.sql(f"DROP USER {name}@'%'")


def test_a_text_is_no_document_though_it_looks_like_one(alone: World) -> None:
    """Nor is one with a condition that says more, or nothing of this column."""
    held = "v longtext CHECK (json_valid(v) OR v = ''), w longtext, `o``d` json, CHECK (json_valid(w) IS NOT NULL)"
    alone.source.sql(
        f"CREATE TABLE src (id bigint PRIMARY KEY, {held})", f"CREATE TABLE dst (id bigint PRIMARY KEY, {held})"
    )
    alone.source.insert("src", [(1, "[1]", "[1]", "[1]")])
    alone.target.insert("dst", [(1, "[1.0]", "[1.0]", "[1.0]")])
    assert alone.app().check("p").different_by_column == {"v": 1, "w": 1}


def test_documents_that_are_spelt_alike_are_not_read(hashed: HashedWorld) -> None:
    columns = "id {integer} PRIMARY KEY NOT NULL, v json"
    rows = [(at, document) for at, (document, *_) in enumerate(DOCUMENTS)]
    hashed.again(columns, rows, rows)
    assert hashed.found()[1] == set()
    assert hashed.steps() == {"digests"}
    hashed.again(columns, rows, [(at, document) for at, (_, document, _) in enumerate(DOCUMENTS)])
    assert hashed.found()[1] == {("different", at) for at, (*_, same) in enumerate(DOCUMENTS) if not same}


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_unsigned_integers_beyond_the_signed_ones(alone: World) -> None:
    rows = [(2**63 - 1, 0), (2**63, 2**63 + 1), (2**64 - 1, 2**64 - 1)]
    for table in ("src", "dst"):
        alone.source.sql(f"CREATE TABLE {table} (id bigint unsigned PRIMARY KEY, v bigint unsigned)")
    alone.source.insert("src", rows)
    alone.target.insert("dst", [(key, value - (key > 2**63)) for key, value in rows[1:]])
    app = alone.app()
    assert found(app.check("p")) == {("missing", str(2**63 - 1)), ("different", str(2**64 - 1))}
    assert app.check("p", keys=[{"id": 2**64 - 1}]).different == 1
    assert app.run("p").repaired == 2
    assert alone.target.rows("dst") == set(rows)


def test_unsigned_keys_that_the_other_side_cannot_hold_are_missing_there(out_of: World) -> None:
    out_of.source.sql("CREATE TABLE src (id bigint unsigned PRIMARY KEY, v bigint)")
    out_of.source.insert("src", [(1, 1), (2**63, 2), (2**64 - 1, 3)])
    out_of.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(1, 9)])
    app = out_of.app()
    report = app.check("p")
    assert (report.missing, report.different, report.source_rows, report.target_rows) == (2, 1, 3, 1)
    assert app.check("p", keys=[{"id": 2**64 - 1}]).missing == 1
    run = app.run("p")
    assert (run.verdict, run.repaired, run.left) == (Verdict.DRIFT, 1, 2)
    assert out_of.target.rows("dst") == {(1, 1)}


@pytest.mark.parametrize("settle", [0, 0.001], ids=["one look", "two"])
@pytest.mark.parametrize("other", ["int", "tinyint", "bigint", "year", "bit(12)", "bigint unsigned"])
def test_keys_of_two_types_of_integers_are_found_again(mariadb_pair: Pair, other: str, settle: float) -> None:
    """A union of a type with a sign and one without has decimals for them, which no look-up by integers finds."""
    with closing(mariadb_connection(mariadb_pair.source)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE one (id int unsigned PRIMARY KEY, v int)")
        cursor.execute("INSERT INTO one VALUES (2001, 1), (2002, 2), (2003, 3), (120, 5)")
        cursor.execute(f"CREATE TABLE two (id {other} PRIMARY KEY, v int)")
        rows = [(120, 6)] if other == "tinyint" else [(2001, 1), (2002, 99), (2004, 4)]
        cursor.executemany("INSERT INTO two VALUES (%s, %s)", rows)
        connection.commit()
    expected = {("missing", 120), ("different", 2002), ("missing", 2003), ("extra", 2004)}
    if other == "tinyint":
        expected = {("missing", 2001), ("missing", 2002), ("missing", 2003), ("different", 120)}
    report = diff(f"{mariadb_pair.source}#one", f"{mariadb_pair.source}#two", settle=settle)
    assert found(report) == expected
    assert all(type(row["key"]["id"]) is int for row in report.drift)


@pytest.mark.parametrize("found_again", [True, False])
def test_a_refused_row_that_is_not_found_again_is_not_repaired(
    alone: World, monkeypatch: pytest.MonkeyPatch, found_again: bool
) -> None:
    """Where a key is looked for in a spelling that no row has, nothing differs any more, and nothing was written."""
    if not found_again:
        monkeypatch.setattr(_results, "_integers", lambda _, column: column)
    alone.source.sql("CREATE TABLE src (id int unsigned PRIMARY KEY, v int)")
    alone.target.sql("CREATE TABLE dst (id int PRIMARY KEY, v int)")
    alone.source.insert("src", [(1, 1), (2, 2)])
    alone.target.insert("dst", [(2, 99)])
    run = alone.app().run("p")
    if found_again:
        assert (run.verdict, run.repaired, alone.target.rows("dst")) == (Verdict.REPAIRED, 2, {(1, 1), (2, 2)})
    else:
        assert (run.verdict, run.repaired, alone.target.rows("dst")) == (Verdict.DRIFT, 0, {(2, 99)})


def test_single_floats_are_what_others_show_of_them(alone: World) -> None:
    """Sent as they are, they have six digits: 16777217 and 16777200 would be one."""
    alone.source.sql(f"CREATE TABLE src ({ID}, v float, w float)", f"CREATE TABLE dst ({ID}, v float, w double)")
    rows = [(1, 0.1, 0.1), (2, 16777216, 16777216), (3, 1e-40, 0.5), (4, -0.0, 0.0)]
    alone.source.insert("src", rows)
    alone.target.insert("dst", [(1, 0.1, 0.1), (2, 16777200, 16777216), (3, 1e-40, 0.25), (4, 0.0, -0.0)])
    app = alone.app()
    report = app.check("p")
    assert report.different_by_column == {"v": 1, "w": 1}
    assert [row["expected"] for row in report.drift] == [{"v": 16777216.0, "w": 16777216.0}, {"v": 1e-40, "w": 0.5}]
    assert app.run("p").verdict is Verdict.REPAIRED


def test_single_floats_against_postgresql(postgres: str, mariadb: str, tmp_path: Path, new_ledger: Path) -> None:
    from tests.conformance.worlds import Postgresql

    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    world = World(Pairing(source="postgresql", target="mysql"), Postgresql(postgres), Mysql(mariadb), tmp_path)
    world.source.sql("CREATE TABLE src (id bigint PRIMARY KEY, v real)")
    world.target.sql(f"CREATE TABLE dst ({ID}, v float)")
    world.source.insert("src", [(n, n / 7) for n in range(50)])
    world.target.insert("dst", [(n, n / 7 if n != 9 else 1.25) for n in range(50)])
    assert found(world.app().check("p")) == {("different", 9)}
    world.close()


def test_a_float_and_a_decimal_are_not_compared_as_floats(alone: World) -> None:
    alone.source.sql(f"CREATE TABLE src ({ID}, v decimal(30,2))", f"CREATE TABLE dst ({ID}, v double)")
    alone.source.insert("src", [(1, Decimal(2**53 + 1)), (2, Decimal("0.5"))])
    alone.target.insert("dst", [(1, 2.0**53), (2, 0.5)])
    assert alone.source.sql("SELECT count(*) FROM src JOIN dst USING (id) WHERE src.v = dst.v") == [(2,)], "no trap"
    assert found(alone.app().check("p")) == {("different", 1)}


def test_a_value_that_the_column_would_round_is_refused(into: World) -> None:
    into.source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {number}", [(1, "1.005"), (2, "1.5")])
    into.target.sql(f"CREATE TABLE dst ({ID}, v decimal(10,2))")
    app = into.app()
    report = app.run("p")
    assert (report.repaired, report.left) == (1, 1)
    (failed,) = [o for o in app.outcomes(report.run) if o.outcome is Outcome.FAILED]
    assert (failed.key, "did not keep what was written" in failed.evidence) == ((1,), True)
    assert into.target.rows("dst") == {(2, Decimal("1.50"))}


def test_text_that_is_too_long_is_refused_whatever_the_servers_mode(into: World) -> None:
    into.source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {text}", [(1, "abcdef"), (2, "abc")])
    into.target.sql(f"CREATE TABLE dst ({ID}, v varchar(3))")
    app = into.app()
    assert app.run("p").left == 1
    assert into.target.rows("dst") == {(2, "abc")}


# --- dates and times -------------------------------------------------------------------------------------------------


def test_dates_that_no_calendar_has(alone: World) -> None:
    alone.source.sql(
        f"CREATE TABLE src ({ID}, d date, t datetime(3))",
        f"CREATE TABLE dst ({ID}, d date, t datetime(6))",
        "SET sql_mode = ''",
    )
    with mariadb_connection(alone.source.url) as c, c.cursor() as cursor:
        cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES'")
        cursor.execute(
            "INSERT INTO src VALUES (1, '0000-00-00', '0000-00-00'), (2, '2026-02-00', NULL), (3, NULL, NULL)"
        )
        cursor.execute(
            "INSERT INTO dst VALUES (1, '0000-00-00', '0000-00-00'), (2, '2026-03-00', NULL), (3, '0000-00-00', NULL)"
        )
    app = alone.app()
    assert found(app.check("p")) == {("different", 2), ("different", 3)}
    assert app.run("p").verdict is Verdict.REPAIRED
    assert alone.source.sql("SELECT cast(d AS char) FROM dst ORDER BY id") == [
        ("0000-00-00",),
        ("2026-02-00",),
        (None,),
    ]


def test_a_day_that_no_calendar_has_is_its_midnight(maria: World) -> None:
    """One database takes them for the same, and two did not."""
    days = {1: "0000-00-00", 2: "2026-02-00", 3: "0000-00-00", 4: "2026-02-00", 5: "2026-02-28"}
    moments = days | {3: None, 4: "2026-02-00 01:00:00"}
    for place, name, kind, rows in ((maria.source, "src", "date", days), (maria.target, "dst", "datetime", moments)):
        place.sql(f"CREATE TABLE {name} ({ID}, v {kind})")
        with mariadb_connection(place.url) as c, c.cursor() as cursor:
            cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES'")
            cursor.executemany(f"INSERT INTO {name} VALUES (%s, %s)", list(rows.items()))
    assert found(maria.app().check("p")) == {("different", 3), ("different", 4)}


@pytest.mark.parametrize("kind", ["date", "datetime"])
def test_days_that_no_calendar_has_are_told_apart(alone: World, kind: str) -> None:
    """What joins both sides made 0000-00-00 of each."""
    with mariadb_connection(alone.source.url) as c, c.cursor() as cursor:
        cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES'")
        for name, first, second in (
            ("src", "2026-02-30", "2026-02-31"),
            ("dst", "0000-00-00", "2026-02-31"),
        ):
            cursor.execute(f"CREATE TABLE {name} ({ID}, v {kind})")
            cursor.execute(f"INSERT INTO {name} VALUES (1, '{first}'), (2, '{second}')")
    assert found(alone.app().check("p")) == {("different", 1)}


@pytest.mark.parametrize("kind", ["date", "datetime"])
def test_a_day_that_no_calendar_has_is_not_the_day_that_it_would_be(mariadb_pair: Pair, kind: str) -> None:
    """Counted, 30 February is 2 March."""
    odd = ["2026-02-28", "2026-04-31", "2026-00-10", "0000-00-00", "2026-02-00"]
    days = (["2026-02-30", "2026-01-00", *odd], ["2026-03-02", None, *odd])
    for url, held in zip(mariadb_pair, days, strict=True):
        with closing(mariadb_connection(url)) as c, c.cursor() as cursor:
            cursor.execute("SET sql_mode = 'ALLOW_INVALID_DATES'")
            cursor.execute(f"CREATE TABLE t ({ID}, v {kind} NULL)")
            cursor.executemany("INSERT INTO t VALUES (%s, %s)", [*enumerate(held), (9, None)])
            cursor.execute("SELECT timestampdiff(DAY, '2026-03-02', v) FROM t WHERE id < 2 ORDER BY id")
            assert cursor.fetchall() == ((0,), (None,)), "the control: on both sides they are counted alike"
            c.commit()
    report = diff(f"{mariadb_pair.source}#t", f"{mariadb_pair.target}#t")
    assert "digests" in report.strategy
    assert found(report) == {("different", 0), ("different", 1)}


@pytest.mark.parametrize(
    ("charset", "one", "other"), [("cp1250", "4181", "4183"), ("cp1251", "98", "3f"), ("ascii", "e9", "e8")]
)
def test_bytes_that_a_character_set_does_not_map_are_no_question_marks(
    alone: World, charset: str, one: str, other: str
) -> None:
    """Each was read as one, and so they were the same."""
    for name, held in (("src", one), ("dst", other)):
        alone.source.sql(f"CREATE TABLE {name} ({ID}, v varchar(9) character set {charset})")
        with mariadb_connection(alone.source.url) as c, c.cursor() as cursor:
            cursor.execute("SET sql_mode = ''")
            cursor.execute(f"INSERT INTO {name} VALUES (1, x'{held}')")
    report = alone.app().check("p")
    assert report.verdict is Verdict.INCONCLUSIVE, report
    assert "coerced" in report.to_json_text()


def test_a_date_that_no_calendar_has_is_in_no_bucket_of_time(alone: World) -> None:
    """It was compared with the times of other rows, which ended the run with a traceback."""
    alone.source.sql(*(f"CREATE TABLE {name} ({ID}, at datetime)" for name in ("src", "dst")))
    alone.source.insert("src", [(1, "2016-03-01"), (2, "2016-03-02")])
    app = alone.app(source="SELECT id, at FROM src", partition={"by": "time", "column": "at", "bucket": "1d"})
    assert app.check("p").missing == 2, "the control"
    with mariadb_connection(alone.source.url) as c, c.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        cursor.execute("INSERT INTO dst VALUES (3, '0000-00-00')")
    with pytest.raises(DataProblem, match="'at' holds '0000-00-00 00:00:00', which no calendar has"):
        app.check("p")


def test_a_zero_date_elsewhere_is_a_difference_and_cannot_be_written(out_of: World) -> None:
    out_of.source.sql(f"CREATE TABLE src ({ID}, v date)", "INSERT INTO src VALUES (1, '0000-00-00'), (2, '2026-02-28')")
    out_of.target.table(
        "dst", "id {integer} PRIMARY KEY NOT NULL, v {date}", [(1, date(2026, 1, 1)), (2, date(2026, 1, 1))]
    )
    app = out_of.app()
    assert found(app.check("p")) == {("different", 1), ("different", 2)}
    run = app.run("p")
    if out_of.target.engine == "postgresql":
        assert (run.repaired, run.left) == (1, 1)
    else:  # a column of SQLite holds any spelling
        assert run.verdict is Verdict.REPAIRED


def test_times_beyond_a_day(alone: World) -> None:
    alone.source.sql(f"CREATE TABLE src ({ID}, v time(1))", f"CREATE TABLE dst ({ID}, v time(6))")
    spans = ["838:59:59", "-00:00:01", "24:00:00", "23:59:59.5", "00:00:00"]
    alone.source.insert("src", list(enumerate(spans)))
    alone.target.insert("dst", [(n, span if n else "837:00:00") for n, span in enumerate(spans)])
    app = alone.app()
    assert found(app.check("p")) == {("different", 0)}
    assert app.run("p").verdict is Verdict.REPAIRED
    assert alone.source.sql("SELECT count(*) FROM src JOIN dst USING (id, v)") == [(5,)]


def test_what_the_driver_reads() -> None:
    read = values.CONVERSIONS
    assert read[values.FIELD_TYPE.TIME]("23:59:59.5") == time(23, 59, 59, 500_000)
    assert read[values.FIELD_TYPE.TIME]("-01:30:00.000000") == "-01:30:00"
    assert read[values.FIELD_TYPE.TIME]("25:00:00.100000") == "25:00:00.1"
    assert read[values.FIELD_TYPE.DATETIME]("0000-00-00 00:00:00.000000") == "0000-00-00 00:00:00"
    assert read[values.FIELD_TYPE.DATE]("2026-02-00") == "2026-02-00"


def test_an_instant_is_read_at_utc_whatever_the_session_is_at(alone: World) -> None:
    with mariadb_connection(alone.source.url) as c, c.cursor() as cursor:
        cursor.execute(f"CREATE TABLE src ({ID}, v timestamp(6) NULL)")
        cursor.execute(f"CREATE TABLE dst ({ID}, v timestamp(6) NULL)")
        cursor.execute("SET time_zone = '+05:30'")
        cursor.execute("INSERT INTO src VALUES (1, '2026-03-01 12:00:00'), (2, '2026-03-01 12:00:00')")
        cursor.execute("SET time_zone = '+00:00'")
        cursor.execute("INSERT INTO dst VALUES (1, '2026-03-01 06:30:00'), (2, '2026-03-01 12:00:00')")
    report = alone.app().check("p")
    assert found(report) == {("different", 2)}
    assert report.drift[0]["expected"] == {"v": "2026-03-01 06:30:00+00:00"}


# --- hashes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def hashed(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[HashedWorld]:
    """Two MariaDB databases, compared by MD5."""
    yield from open_hashed((Pairing(source="mysql", target="mysql"), "md5"), request, new_ledger, tmp_path)


@pytest.mark.parametrize("listed", [mysql.WARNINGS_MAX, 64], ids=["the one warning is listed", "it is not"])
def test_a_leaf_that_was_cut_off_among_many_warnings(
    hashed: HashedWorld, monkeypatch: pytest.MonkeyPatch, listed: int
) -> None:
    """Both sides divide by zero once a row, and the warning that a text was cut off comes last: where the server does
    not list it, nothing is believed.
    """
    monkeypatch.setattr(mysql, "JOINED_MAX", 4000)
    monkeypatch.setattr(mysql, "WARNINGS_MAX", listed)
    monkeypatch.setattr(by_digest, "LEAVES_OF_ALL", 1)
    dividing = "v varchar(120) AS (concat(coalesce(1 / (id - id), 'none'), w)) VIRTUAL"
    for place, table, last in ((hashed.source, "src", "x"), (hashed.target, "dst", "y")):
        place.sql(
            f"CREATE TABLE {table} ({ID}, w varchar(100), {dividing})",
            f"INSERT INTO {table} (id, w) SELECT seq, repeat('x', 100) FROM seq_1_to_100",
            f"UPDATE {table} SET w = '{last}' WHERE id = 100",
        )
    if listed < 100:
        with pytest.raises(BrokenRead, match="lists only 64, the first of them: Division by 0"):
            hashed.found(columns=["v"])
        return
    _, differing = hashed.found(columns=["v"])
    assert "digests" in hashed.steps()
    assert differing == {("different", 100)}


def test_numbers_that_are_shown_with_zeros_in_front_are_hashed_as_others_are(hashed: HashedWorld) -> None:
    rows = [(1, 42, Decimal("1.50")), (2, 0, Decimal("0.00")), (3, 99999, None)]
    hashed.source.sql("CREATE TABLE src (id int zerofill PRIMARY KEY, v bigint(8) zerofill, w decimal(9,2) zerofill)")
    hashed.target.table("dst", "id int PRIMARY KEY, v int, w decimal(9,2)", rows)
    hashed.source.insert("src", rows)
    assert hashed.source.sql("SELECT CAST(v AS CHAR) FROM src WHERE id = 1") == [("00000042",)], "no trap"
    assert hashed.found()[1] == set()
    assert hashed.steps() == {"digests"}, "the digests alone did not tell that they are equal"
    hashed.target.sql("UPDATE dst SET w = 1.51 WHERE id = 1")
    assert hashed.found()[1] == {("different", 1)}


# --- access paths ----------------------------------------------------------------------------------------------------


def bound(adapter: MysqlAdapter, key: tuple[str, ...]) -> Binding:
    side = Side(database="a", table="big")
    projection = Projection(name="p", source=side, target=side, key=key, columns=["v"])
    shape = adapter.describe(side)
    return bind(projection, shape, shape, writing=False)


@pytest.fixture
def big(mariadb: str) -> Mysql:
    place = Mysql(mariadb)
    place.sql(
        "CREATE TABLE big (a int, b int, t varchar(20) COLLATE utf8mb4_general_ci, v int,"
        " PRIMARY KEY (a, b), UNIQUE (t))",
        "INSERT INTO big SELECT seq DIV 100, seq MOD 100, concat('t', seq), seq FROM seq_1_to_20000",
        "ANALYZE TABLE big",
    )
    return place


def plan(adapter: MysqlAdapter, binding: Binding, part: Any) -> Any:
    with adapter.reading() as connection:
        statement = adapter.relations.rows(binding.target, part, tokens=True, order=True)
        (step,) = adapter.explain(connection, "EXPLAIN", statement)
    return step


@pytest.mark.usefixtures("big")
def test_a_range_of_a_composite_key_is_served_by_its_index(adapter: MysqlAdapter) -> None:
    binding = bound(adapter, ("a", "b"))
    step = plan(adapter, binding, Range(lower=(50, 3), upper=(60, 7)))
    assert (step.type, step.key, "filesort" in step.Extra) == ("range", "PRIMARY", False)
    assert 900 < int(step.rows) < 1100
    with adapter.reading() as connection:  # what rendering it as a comparison of rows would have cost
        naive = connection.exec_driver_sql(
            "EXPLAIN SELECT * FROM big WHERE (a, b) >= (50, 3) AND (a, b) < (60, 7)"
        ).one()
    assert naive.type == "ALL"


@pytest.mark.usefixtures("big")
@pytest.mark.parametrize(
    ("key", "keys"), [(("a", "b"), [(1, 2), (3, 4), (5, 6)]), (("t",), [("t1",), ("t5",), ("T7",)])]
)
def test_keys_are_looked_up_by_an_index_whatever_its_collation(
    adapter: MysqlAdapter, key: tuple[str, ...], keys: list[tuple[Any, ...]]
) -> None:
    step = plan(adapter, bound(adapter, key), Keys(keys=tuple(keys)))
    assert (step.type, int(step.rows)) == ("range", 3)


@pytest.mark.usefixtures("big")
def test_a_survey_cuts_where_an_index_serves_and_says_so(
    adapter: MysqlAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_mysql_survey, "SEGMENT_ROWS", 1000)
    by_index = bound(adapter, ("a", "b"))
    survey = adapter.survey(by_index, (by_index.target,), ordered=True)
    assert survey.seekable
    assert len(survey.cuts) == 19
    assert all(500 < work < 2500 for work in survey.work), survey.work
    by_text = bound(adapter, ("t",))
    survey = adapter.survey(by_text, (by_text.target,), ordered=True)
    assert (survey.seekable, survey.cuts) == (False, [])
    assert "without an index in key order" in survey.reason


@pytest.mark.parametrize(("last", "walks"), [(20_000, 0), (10**12, 1)], ids=["even", "uneven"])
def test_the_index_is_walked_only_where_keys_are_uneven(
    adapter: MysqlAdapter, mariadb: str, monkeypatch: pytest.MonkeyPatch, last: int, walks: int
) -> None:
    Mysql(mariadb).sql(
        "CREATE TABLE big (id bigint PRIMARY KEY, v int)",
        "INSERT INTO big SELECT seq, 1 FROM seq_1_to_19999",
        f"INSERT INTO big VALUES ({last}, 1)",
        "ANALYZE TABLE big",
    )
    monkeypatch.setattr(_mysql_survey, "SEGMENT_ROWS", 1000)
    walked, real = list[int](), _mysql_survey.MysqlSurveying._cuts

    def walking(*given: Any) -> Any:
        walked.append(1)
        return real(*given)

    monkeypatch.setattr(_mysql_survey.MysqlSurveying, "_cuts", walking)
    binding = bound(adapter, ("id",))
    survey = adapter.survey(binding, (binding.target,), ordered=True)
    assert (survey.seekable, len(walked)) == (True, walks)
    assert 17 <= len(survey.cuts) <= 21
    assert all(300 < work < 3000 for work in survey.work), survey.work


# --- streams ---------------------------------------------------------------------------------------------------------


def stream(adapter: MysqlAdapter, query: str) -> Any:
    side = Side(database="a", query=query)
    projection = Projection(name="p", source=side, target=side, key=["id"])
    shape = adapter.describe(side)
    binding = bind(projection, shape, shape, writing=False)
    return adapter.stream(binding, binding.source, Everything(), tokens=False)


def sessions(url: str, words: str) -> list[int]:
    """Sessions in this database, and not in those of other tests, whose statement holds these words."""
    with mariadb_connection(url) as c, c.cursor() as cursor:
        cursor.execute(
            "SELECT ID FROM information_schema.PROCESSLIST"
            " WHERE INFO LIKE %s AND DB = database() AND ID <> connection_id()",
            (f"%{words}%",),
        )
        return [session for (session,) in cursor.fetchall()]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_results, "BATCH_ROWS", 100)


def many() -> sa.Select[Any]:
    """Thirty million rows that the server need not store first."""
    seq = sa.column("seq")
    return sa.select(seq, seq.label("v")).select_from(sa.table("seq_1_to_30000000"))


@pytest.mark.usefixtures("small")
def test_a_stream_that_is_left_lets_go_at_once(
    adapter: MysqlAdapter, mariadb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver would read the thirty million rows that remain; here the connection goes, and the server stops."""
    monkeypatch.setattr(adapter.relations, "rows", lambda *_, **__: many())
    reading = stream(adapter, "SELECT 1 AS id, 1 AS v")
    batches = iter(reading)
    assert len(next(batches)) == 100
    assert sessions(mariadb, "seq_1_to_30000000")
    batches.close()
    assert not reading.ended
    until(lambda: not sessions(mariadb, "seq_1_to_30000000"), "the statement's end")
    with adapter.reading() as connection:
        assert connection.execute(sa.select(sa.literal(1))).scalar() == 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("how", "error"), [("KILL QUERY", Transient), ("KILL", Transient)])
def test_a_stream_that_is_cut_is_not_at_its_end(
    adapter: MysqlAdapter, mariadb: str, how: str, error: type[TrueupError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter.relations, "rows", lambda *_, **__: many())
    reading = stream(adapter, "SELECT 1 AS id, 1 AS v")
    batches = iter(reading)
    next(batches)
    with mariadb_connection(mariadb) as c, c.cursor() as cursor:
        (session,) = sessions(mariadb, "seq_1_to_30000000")
        cursor.execute(f"{how} {session}")
    with pytest.raises(error):
        for _ in batches:
            pass
    assert not reading.ended


@pytest.mark.usefixtures("small")
def test_the_time_limit_holds_for_a_stream_as_a_whole(mariadb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = MysqlAdapter("a", Database(url=mariadb, statement_timeout="0.3s"))
    monkeypatch.setattr(adapter.relations, "rows", lambda *_, **__: many())
    reading = stream(adapter, "SELECT 1 AS id, 1 AS v")
    with closing(adapter), pytest.raises(StatementTimeout):
        for _ in reading:
            pass
    assert not reading.ended


# --- sessions, markers, errors ---------------------------------------------------------------------------------------


def test_what_a_session_is_set_to(mariadb: str) -> None:
    adapter = MysqlAdapter("a", Database(url=mariadb, lock_timeout="0.2s", statement_timeout="90s"))
    asked = "SELECT @@sql_mode, @@time_zone, @@max_statement_time, @@tx_isolation, @@innodb_lock_wait_timeout"
    with closing(adapter):
        with adapter.writing() as connection:
            mode, zone, limit, isolation, wait = connection.exec_driver_sql(asked).one()
        assert ("STRICT_ALL_TABLES" in mode, zone, float(limit)) == (True, "+00:00", 90.0)
        assert (isolation, wait) == ("READ-COMMITTED", 1), "lock waits are whole seconds, and 0 is none"
        Mysql(mariadb).sql("CREATE TABLE t (id int)")
        with adapter.reading() as connection, pytest.raises(sa.exc.DBAPIError, match="READ ONLY"):
            connection.exec_driver_sql("DELETE FROM t")


def test_no_limit_of_the_server_ends_an_answer_early(mariadb_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise both sides would end after their first rows, in silence, and be equal."""
    for url, last in zip(mariadb_pair, (0, 1), strict=True):
        rows = [*((n, n) for n in range(1, 21)), (99, last)]
        Mysql(url).table("t", "id {integer} PRIMARY KEY NOT NULL, v {integer}", rows)
    # As where the server's own limit is lower: this is what sessions begin with.
    monkeypatch.setattr(mysql, "SQL_MODE", f"', sql_select_limit = 5, sql_mode = '{mysql.SQL_MODE}")
    report = diff(f"{mariadb_pair.source}#SELECT id, v FROM t", f"{mariadb_pair.target}#t", key="id")
    assert (report.source_rows, report.different) == (21, 1)


#: A chain of a few more rows than MariaDB follows by default (1,000).
CHAIN = 1_010
_FOLLOWED = """
    WITH RECURSIVE c (id, depth) AS (
        SELECT id, 1 FROM chain WHERE parent IS NULL
        UNION ALL SELECT chain.id, c.depth + 1 FROM chain JOIN c ON chain.parent = c.id)
    SELECT id, depth FROM c"""


@pytest.fixture
def chain(mariadb_pair: Pair) -> Pair:
    """Rows that follow each other; what has a depth is a table beside them and in the other database."""
    for url in mariadb_pair:
        Mysql(url).table("chain", "id {integer} PRIMARY KEY NOT NULL, parent {integer}")
        Mysql(url).insert("chain", [(n, n - 1 or None) for n in range(1, CHAIN + 1)])
        Mysql(url).table("depths", "id {integer} PRIMARY KEY NOT NULL, depth {integer}")
        Mysql(url).insert("depths", [(n, n) for n in range(1, 1_002)])
    return mariadb_pair


@pytest.mark.parametrize("query", [_FOLLOWED, f"SELECT id, max(depth) AS depth FROM ({_FOLLOWED}) f GROUP BY id"])
def test_a_query_that_recurses_deeply_is_read_to_its_end(chain: Pair, query: str) -> None:
    """With the server's own limit 1,001 rows come, in silence, and these are all in the target."""
    control = Mysql(chain.source).sql(f"SELECT count(*) FROM ({_FOLLOWED}) f")
    assert control in ([(1_001,)], [(CHAIN,)]), "the control: of MySQL it is an error"
    for target in chain:
        report = diff(f"{chain.source}#{query}", f"{target}#depths", key="id")
        assert (report.source_rows, report.missing) == (CHAIN, CHAIN - 1_001)


@pytest.mark.parametrize("target", [0, 1], ids=["one database", "two"])
def test_a_query_that_a_limit_ends_early_is_no_answer(chain: Pair, target: int) -> None:
    query = "SELECT id, parent FROM chain LIMIT ROWS EXAMINED 100"
    with pytest.raises(BrokenRead, match="LIMIT ROWS EXAMINED"):
        diff(f"{chain.source}#{query}", f"{chain[target]}#chain", key="id")


@pytest.mark.parametrize("listed", [mysql.WARNINGS_MAX, 5])
def test_a_limit_that_is_said_behind_many_warnings(chain: Pair, monkeypatch: pytest.MonkeyPatch, listed: int) -> None:
    """The server lists the first ones, and says last that it did not read to the end."""
    monkeypatch.setattr(mysql, "WARNINGS_MAX", listed)
    query = "SELECT id, coalesce(1 / (id - id), parent) AS parent FROM chain"
    for url in chain:
        Mysql(url).sql("DELETE FROM chain WHERE id > 50")
    if listed > 50:  # the control: that a row warns is no matter
        diff(f"{chain.source}#{query}", f"{chain.target}#chain", key="id")
    with pytest.raises(BrokenRead, match="did not read to the end" if listed > 50 else "lists only 5"):
        diff(f"{chain.source}#{query} LIMIT ROWS EXAMINED 20", f"{chain.target}#chain", key="id")


def test_what_is_asked_of_a_query_that_was_cut_short_is_no_answer(chain: Pair) -> None:
    """Its greatest key, its partitions, its rows by day: each would be of its first rows only."""
    grouped = f"SELECT id, max(depth) AS depth, id DIV 100 AS tenant FROM ({_FOLLOWED}) f GROUP BY id"
    read = Side(database="a", query=grouped)
    cut = {"by": "column", "column": "tenant"}
    reader = MysqlAdapter("a", Database(url=chain.source))
    projection = Projection(name="p", source=read, target=read, key=["id"], partition=cut)
    shape = reader.describe(read)
    binding = bind(projection, shape, shape, writing=False)
    side = binding.source
    asked: dict[str, Callable[[], Any]] = {
        "greatest": lambda: reader.greatest(side),
        "partitions": lambda: len(reader.partitions(binding, side)),
        "tally": lambda: reader.tally(side, Range(), []),
    }
    control = {name: ask() for name, ask in asked.items()}
    assert control == {"greatest": CHAIN, "partitions": CHAIN // 100 + 1, "tally": [CHAIN]}
    reader.close()
    sa.event.listen(reader.engine, "connect", lambda driver, _: _limit_recursion(driver))
    for name, ask in asked.items():
        with pytest.raises(BrokenRead, match="max_recursive_iterations"):
            pytest.fail(f"{name}: {ask()}")
    reader.close()


def test_digests_of_a_query_that_was_cut_short_are_none(chain: Pair, adapter: MysqlAdapter) -> None:
    grouped = f"SELECT id, max(depth) AS depth FROM ({_FOLLOWED}) f GROUP BY id"
    reader = MysqlAdapter("a", Database(url=chain.source))
    sides = Side(database="a", query=grouped), Side(database="a", table="depths")
    projection = Projection(name="p", source=sides[0], target=sides[1], key=["id"])
    binding = bind(projection, *map(reader.describe, sides), writing=False)
    offers = reader.hashes()
    hashing, _ = agree(binding, offers, offers)
    assert hashing is not None
    assert rows_in(reader.digests(binding.source, Range(), hashing)) == CHAIN, "the control"
    reader.close()
    sa.event.listen(reader.engine, "connect", lambda driver, _: _limit_recursion(driver))
    for asked in (reader.digests, reader.prints):
        with pytest.raises(BrokenRead, match="max_recursive_iterations"):
            asked(binding.source, Range(), hashing)
    unit: Any = None
    with reader.writing() as connection, pytest.raises(BrokenRead, match="max_recursive_iterations"):
        UnitTransaction(reader, connection, binding, unit).read_source_here([(1,)])
    reader.close()


def _limit_recursion(driver: Any) -> None:
    with driver.cursor() as cursor:
        cursor.execute("SET SESSION max_recursive_iterations = 1000")


def test_both_statements_of_a_comparison_see_one_snapshot(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Totals first, rows that differ second: a commit in between is in neither."""
    alone.tables("id {integer} PRIMARY KEY NOT NULL, v {integer}", [(1, 1), (2, 2)], [(1, 9), (2, 2)])
    original = MysqlAdapter.compared

    def compared(self: MysqlAdapter, connection: sa.Connection, *rest: Any) -> Any:
        execute = connection.execute
        calls: list[int] = []

        def execute_and_commit_elsewhere(*args: Any, **more: Any) -> Any:
            result = execute(*args, **more)
            calls.append(1)
            if len(calls) == 1:
                alone.target.sql("UPDATE dst SET v = 77")
            return result

        monkeypatch.setattr(connection, "execute", execute_and_commit_elsewhere)
        rows = original(self, connection, *rest)
        assert len(calls) == 2
        return rows

    app = alone.app()
    monkeypatch.setattr(MysqlAdapter, "compared", compared)
    report = app.check("p")
    assert (report.different, [row["observed"] for row in report.drift]) == (1, [{"v": 9}])


def test_a_marker_holds_the_images_of_a_large_unit(into: World) -> None:
    """Five hundred rows of long text are more than a TEXT column holds."""
    rows = [(n, f"{n}" * 200) for n in range(100, 500)]
    into.source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {text}", rows)
    into.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {text}", [(n, "x" * 300) for n, _ in rows])
    assert into.app().run("p").repaired == 400
    assert into.target.sql("SELECT max(length(images)) > 65535 FROM trueup_applied") == [(1,)]


def test_markers_are_told_apart_by_their_bytes(adapter: MysqlAdapter, mariadb: str) -> None:
    assert [adapter.raise_fence(name) for name in ("p", "P", "p")] == [1, 1, 2]
    engines = "SELECT DISTINCT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
    assert Mysql(mariadb).sql(engines) == [("InnoDB",)]


def test_a_uuid_that_the_type_refuses_is_not_there(postgres: str, mariadb: str) -> None:
    """Looked for once more, it was NULL, and its row no difference any more."""
    refused = "123e4567-e89b-f2d3-0456-426655440000"
    held = [(refused, 1), (refused.replace("f2d3", "72d3"), 2), (refused.replace("-0456", "-8456"), 3)]
    Postgresql(postgres).sql("CREATE TABLE t (id uuid PRIMARY KEY, v bigint)")
    Postgresql(postgres).insert("t", held)
    Mysql(mariadb).sql("CREATE TABLE t (id uuid PRIMARY KEY, v bigint)")
    Mysql(mariadb).insert("t", held[1:])
    assert Mysql(mariadb).sql(f"SELECT cast('{refused}' AS uuid)") == [(None,)], "the control"
    for settle in (0, 0.01):
        assert found(diff(f"{postgres}#t", f"{mariadb}#t", settle=settle)) == {("missing", refused)}


def test_a_uuid_in_a_query_is_one(alone: World) -> None:
    """The protocol calls it a text. Positive control: a text is none, nor is any other type that a text is read as."""
    one = "abcdef01-2345-4789-abcd-ef0123456789"
    alone.source.sql("CREATE TABLE src (id int PRIMARY KEY, u uuid, t text, c char(36), i inet6)")
    alone.source.sql(f"INSERT INTO src VALUES (1, '{one}', '{one}', '{one}', '::1')")
    adapter = MysqlAdapter("a", Database(url=alone.source.url))
    query = "SELECT id, u, t, c, i, max(u) AS m FROM src GROUP BY 1, 2, 3, 4, 5"
    kinds = {name: column.kind for name, column in adapter.describe(Side(database="a", query=query)).columns.items()}
    adapter.close()
    assert {name for name, kind in kinds.items() if kind is Kind.UUID} == {"u", "m"}
    sides = f"{alone.source.url}#SELECT id, u FROM src", f"{alone.source.url}#src"
    assert diff(*sides, key="id", columns=["u"]).verdict is Verdict.IN_SYNC
    assert diff(*reversed(sides), key="u", columns=["id"]).verdict is Verdict.IN_SYNC


def test_a_table_without_row_locks_is_checked_and_not_repaired(into: World) -> None:
    into.source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(1, 1)])
    into.target.sql(f"CREATE TABLE dst ({ID}, v bigint) ENGINE = Aria")
    app = into.app()
    assert app.check("p").missing == 1
    with pytest.raises(ConfigError, match="Aria has no row locks and no rollback"):
        app.run("p")


def test_a_unique_index_over_the_beginning_of_a_column_is_none(into: World) -> None:
    into.source.table("src", "id {text} PRIMARY KEY NOT NULL, v {integer}", [("a", 1)])
    into.target.sql("CREATE TABLE dst (id varchar(40) NOT NULL, v bigint, UNIQUE (id(3)))")
    with pytest.raises(ConfigError, match="no unique index on exactly its key"):
        into.app().run("p")


def test_a_table_that_keeps_its_history_has_the_key_that_was_declared(into: World) -> None:
    """MariaDB puts the end of a row's period into each unique index."""
    into.source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(1, 1), (2, 2), (3, 3)])
    into.target.sql(
        f"CREATE TABLE dst ({ID}, v bigint, since timestamp(6) GENERATED ALWAYS AS ROW START, until"
        " timestamp(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (since, until)) WITH SYSTEM VERSIONING",
        "INSERT INTO dst (id, v) VALUES (2, 0), (3, 3), (4, 4)",
        "UPDATE dst SET v = 5 WHERE id = 2",
    )
    assert into.app(columns=["v"], on_extra="delete").run("p").verdict is Verdict.REPAIRED
    assert set(into.target.sql("SELECT id, v FROM dst")) == {(1, 1), (2, 2), (3, 3)}


def test_keys_of_a_merge_table_are_not_believed(mariadb_pair: Pair) -> None:
    """Each of the tables that it reads holds its own key, and nobody the whole one."""
    merged = "(id bigint PRIMARY KEY, v bigint)"
    for url in mariadb_pair:
        Mysql(url).sql(f"CREATE TABLE a {merged} ENGINE = MyISAM", f"CREATE TABLE b {merged} ENGINE = MyISAM")
        Mysql(url).sql(f"CREATE TABLE t {merged} ENGINE = MERGE UNION = (a, b)")
        Mysql(url).insert("a", [(1, 1), (2, 2)])
    Mysql(mariadb_pair.source).insert("b", [(2, 2), (3, 3)])
    Mysql(mariadb_pair.target).insert("b", [(3, 3)])
    report = diff(f"{mariadb_pair.source}#t", f"{mariadb_pair.target}#t", key=["id"])
    assert (found(report), report.duplicate_keys["source"]) == ({("different", 2)}, 1)


def test_only_the_tables_of_this_database_are_listed(adapter: MysqlAdapter, mariadb: str) -> None:
    Mysql(mariadb).sql("CREATE TABLE mine (id int PRIMARY KEY, v int)")
    adapter.raise_fence("p")
    assert [(table.name, table.columns, table.key) for table in adapter.tables()] == [("mine", ("id", "v"), ("id",))]


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("INSERT INTO t VALUES (1, 1)", DataProblem),
        ("INSERT INTO t VALUES (2, 1000)", DataProblem),
        ("INSERT INTO t VALUES (2, 'x')", DataProblem),
        ("INSERT INTO t (v) VALUES (1)", DataProblem),
        ("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'", DataProblem),
        ("SELECT nothing FROM t", DesignProblem),
        ("SELECT sleep(9)", StatementTimeout),
        ("SELECT * FROM t WHERE id = 1 FOR UPDATE", Busy),
    ],
)
def test_errors_are_what_the_engine_must_do(mariadb: str, statement: str, error: type[TrueupError]) -> None:
    Mysql(mariadb).sql("CREATE TABLE t (id int PRIMARY KEY, v tinyint NOT NULL)", "INSERT INTO t VALUES (1, 1)")
    limit = "0.2s" if error is StatementTimeout else "60s"
    adapter = MysqlAdapter("a", Database(url=mariadb, statement_timeout=limit))
    held = "UPDATE t SET v = 2" if error is Busy else "SELECT 1"
    with closing(adapter), Mysql(mariadb).holding(held):
        with pytest.raises(TrueupError) as caught, adapter.writing() as connection:
            connection.exec_driver_sql(statement)
        assert type(caught.value) is error, caught.value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("/trueup_test", "/nowhere_trueup_test"), r"Unknown database '\w+' \(1049\)$"),
        (lambda url: url.replace("root@", "nobody_at_all@"), r"a: Access denied for user .* \(\d+\)$"),
        (lambda url: re.sub(r":\d+/", ":1/", url), "Can't connect"),
    ],
)
def test_a_database_that_is_not_to_be_had(mariadb: str, change: Callable[[str], str], words: str) -> None:
    url = change(mariadb)
    assert url != mariadb
    adapter = connect("a", Database(url=url))
    with pytest.raises(ConnectionFailed, match=words), closing(adapter):
        adapter.tables()


def test_a_lost_connection_is_another_try(adapter: MysqlAdapter, mariadb: str) -> None:
    def killed() -> None:
        with adapter.writing() as connection:
            mine = connection.exec_driver_sql("SELECT connection_id()").scalar()
            Mysql(mariadb).sql(f"KILL {mine}")
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(Transient):
        killed()


def test_both_schemes_and_no_database(mariadb: str) -> None:
    for scheme in ("mariadb", "mysql", "mysql+pymysql"):
        adapter = connect("a", Database(url=mariadb.replace("mariadb", scheme)))
        with closing(adapter):
            assert adapter.tables() == []
    with pytest.raises(ConfigError, match="name the database"):
        connect("a", Database(url="mysql://root@127.0.0.1"))
    with pytest.raises(
        ConfigError, match=r"databases\.a\.url: PyMySQL has no option 'read_timeuot'; did you mean 'read_timeout'"
    ):
        connect("a", Database(url="mysql://root@127.0.0.1/app?read_timeuot=3"))


@pytest.mark.parametrize(
    ("server", "version"),
    [
        ("5.5.5-10.11.19-MariaDB-0+deb12u1", (True, (10, 11, 19))),
        ("11.4.2-MariaDB", (True, (11, 4, 2))),
        ("8.0.36", (False, (8, 0, 36))),
        ("8.4.0-log", (False, (8, 4, 0))),
    ],
)
def test_a_server_is_known_by_its_version(server: str, version: object) -> None:
    assert values.version_of(server) == version


def test_a_server_that_is_too_old_is_refused(mariadb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "MARIADB_MIN", (99, 0))
    with pytest.raises(ConfigError, match=r"MariaDB 1\d\..* is too old"):
        connect("a", Database(url=mariadb)).tables()


def test_a_column_may_be_asked_only_for_what_its_character_set_can_hold() -> None:
    def text(collation: str) -> Column:
        return Column(name="c", kind=Kind.TEXT, type_name=values.text_type("varchar(9)", collation))

    assert [values.can_hold(text("latin1_swedish_ci"), word) for word in ("\u00e9", "\u65e5")] == [True, False]
    assert [values.can_hold(text("utf8mb3_bin"), word) for word in ("\u65e5", "\U0001f44d")] == [True, False]
    assert not values.may_be_asked(text("swe7_swedish_ci"))
