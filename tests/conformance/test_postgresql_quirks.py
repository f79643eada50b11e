"""PostgreSQL's own ways: domains, types with loose parts, settings of a role, and constraints that do not hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa

from tests.conformance.worlds import Postgresql, World
from tests.servers import Pair, mariadb_connection, run_sql
from trueup import Database, Projection, Report, Side, diff
from trueup.adapters import Look, _postgresql_survey, postgresql
from trueup.adapters.postgresql import PostgresqlAdapter
from trueup.core.binding import bind
from trueup.core.plan import Range
from trueup.errors import TrueupError, UsageError

LOOSE_COLLATION = "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"


def version(url: str) -> int:
    return int(run_sql(url, "SELECT current_setting('server_version_num')")[0][0]) // 10_000


def needs_icu(url: str, *made: str) -> None:
    if LOOSE_COLLATION in "".join(made) and not run_sql(url, "SELECT 1 FROM pg_collation WHERE collname = 'en-x-icu'"):
        pytest.skip("this PostgreSQL was built without ICU")


def drift(report: Report) -> set[tuple[str, Any]]:
    return {(row["kind"], row["key"]["id"]) for row in report.drift}


_HIDDEN = (
    "CREATE TABLE secret (id int)",
    "CREATE TABLE kept (id int)",
    "CREATE POLICY one ON kept USING (id > 1)",
    "ALTER TABLE kept ENABLE ROW LEVEL SECURITY",
    "GRANT USAGE ON SCHEMA public TO pg_monitor",
    "GRANT SELECT ON kept TO pg_monitor",
)


@pytest.mark.parametrize(
    ("statement", "words", "remedy"),
    [
        ("SELECT * FROM secret", "keine Berechtigung", True),
        ("SELECT * FROM kept", "row-level security", False),
        ("DO $$ BEGIN RAISE EXCEPTION 'permission denied by a trigger'; END $$", "by a trigger", False),
    ],
)
def test_a_grant_helps_where_the_server_refuses_whatever_its_language(
    postgres: str, statement: str, words: str, remedy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = postgresql.message
    monkeypatch.setattr(
        postgresql, "message", lambda error: told(error).replace("permission denied for", "keine Berechtigung für")
    )
    run_sql(postgres, *_HIDDEN)
    with (
        closing(PostgresqlAdapter("app", Database(url=postgres))) as adapter,
        pytest.raises(TrueupError, match=words) as refused,
        adapter.reading() as connection,
    ):
        connection.exec_driver_sql(f"SET LOCAL ROLE pg_monitor; {statement}")
    assert ("; grant it to the user" in str(refused.value)) is remedy


# --- types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "type_", "one", "other", "control"),
    [
        ("CREATE DOMAIN span AS interval", "span", "1 month", "30 days", True),
        (f"{LOOSE_COLLATION}; CREATE DOMAIN name_ AS text COLLATE loose", "name_", "Ann", "ANN", True),
        ("CREATE DOMAIN one AS int; CREATE DOMAIN two AS one", "two", "1", "2", False),
        (LOOSE_COLLATION, "text[] COLLATE loose", "{Ann}", "{ANN}", True),
        ("", "tsquery", "cat:A", "cat:*", True),
        ("", "tsquery[]", "{cat:A}", "{cat:B}", True),
    ],
    ids=[
        "domain of intervals",
        "domain of texts",
        "domain of a domain",
        "array of texts",
        "search",
        "array of searches",
    ],
)
def test_a_domain_or_an_array_is_compared_as_what_it_is_made_of(
    postgres: str, made: str, type_: str, one: str, other: str, control: bool
) -> None:
    needs_icu(postgres, made)
    run_sql(postgres, made, *(f"CREATE TABLE {name} (id int PRIMARY KEY, v {type_})" for name in ("src", "dst")))
    run_sql(postgres, f"INSERT INTO src VALUES (1, '{one}'), (2, '{one}'), (3, NULL)")
    run_sql(postgres, f"INSERT INTO dst VALUES (1, '{other}'), (2, '{one}'), (3, NULL)")
    same = run_sql(postgres, "SELECT src.v = dst.v FROM src JOIN dst USING (id) WHERE id = 1")
    assert same == [(control,)], "the control: PostgreSQL takes one for the other"
    assert drift(diff(f"{postgres}#src", f"{postgres}#dst")) == {("different", 1)}


def test_domains_are_compared_across_databases(postgres_pair: Pair) -> None:
    """Also as a key, and hashed."""
    source, target = postgres_pair
    run_sql(source, "CREATE DOMAIN number AS bigint", "CREATE DOMAIN day AS date", "CREATE DOMAIN pad AS char(5)")
    run_sql(source, "CREATE TABLE src (id number PRIMARY KEY, d day, p pad)")
    run_sql(target, "CREATE TABLE dst (id bigint PRIMARY KEY, d date, p text)")
    run_sql(source, "INSERT INTO src SELECT n, date '2026-01-01' + n, 'a' FROM generate_series(1, 9) n")
    run_sql(target, "INSERT INTO dst SELECT n, date '2026-01-01' + n, 'a' FROM generate_series(1, 9) n")
    assert drift(diff(f"{source}#src", f"{target}#dst")) == set()
    run_sql(target, "UPDATE dst SET d = NULL WHERE id = 4", "UPDATE dst SET p = 'a ' WHERE id = 5")
    report = diff(f"{source}#src", f"{target}#dst")
    assert drift(report) == {("different", 4), ("different", 5)}
    assert "digests" in report.strategy


@pytest.mark.parametrize("part", ["interval", "text COLLATE loose", "interval[]", "tsquery"])
def test_a_type_with_a_loose_part_is_refused(postgres: str, part: str) -> None:
    """Two rows of a composite type are equal to PostgreSQL where their fields are: '1 month' is '30 days'."""
    made = [LOOSE_COLLATION] if "COLLATE" in part else []
    needs_icu(postgres, *made)
    run_sql(postgres, *made, f"CREATE TYPE loose_one AS (v {part})", "CREATE TYPE fine AS (v text)")
    run_sql(postgres, "CREATE TABLE t (id int PRIMARY KEY, a loose_one, b loose_one[], c fine)")
    for column in "ab":
        with pytest.raises(UsageError, match=rf"{column}.*loose_one.*equality takes different values for one"):
            diff(f"{postgres}#t", f"{postgres}#t", key="id", columns=[column])
    with pytest.raises(UsageError, match="equality takes different values for one"):
        diff(f"{postgres}#SELECT id, a FROM t", f"{postgres}#t", key="id")
    assert not drift(diff(f"{postgres}#t", f"{postgres}#t", key="id", columns=["c"]))


@pytest.mark.parametrize(("of", "ends"), [("interval", ("1 month", "30 days")), ("text", ("Ann", "ANN"))])
def test_a_range_or_multirange_with_loose_ends_is_refused(postgres: str, of: str, ends: tuple[str, str]) -> None:
    made = [LOOSE_COLLATION] if of == "text" else []
    needs_icu(postgres, *made)
    if version(postgres) < 14:
        pytest.skip("multiranges came with PostgreSQL 14")
    collated = ", collation = loose" if made else ""
    run_sql(postgres, *made, f"CREATE TYPE span AS RANGE (subtype = {of}{collated})")
    columns = "a span, b span_multirange, c span_multirange[], d int4multirange"
    run_sql(postgres, f"CREATE TABLE t (id int PRIMARY KEY, {columns})")
    one, other = (f"'{{[{end},]}}'::span_multirange" for end in ends)
    assert run_sql(postgres, f"SELECT {one} = {other}") == [(True,)], "the control: PostgreSQL takes one for the other"
    for column in "abc":
        with pytest.raises(UsageError, match=rf"{column}.*span.*equality takes different values for one"):
            diff(f"{postgres}#t", f"{postgres}#t", columns=[column])
    assert not drift(diff(f"{postgres}#t", f"{postgres}#t", columns=["d"]))


@pytest.mark.parametrize("type_", ["jsonpath", "refcursor", "pg_snapshot", "json[]", "point[]", "box", "circle", "xml"])
def test_a_type_without_equality_is_refused_before_a_row_is_read(postgres: str, type_: str) -> None:
    run_sql(postgres, f"CREATE TABLE t (id int PRIMARY KEY, v {type_})")
    with pytest.raises(UsageError, match=f"'v' cannot be compared exactly: {re.escape(type_)} .which has no equality"):
        diff(f"{postgres}#t", f"{postgres}#t")


def test_fields_that_have_no_equality(postgres: str) -> None:
    run_sql(postgres, "CREATE TYPE odd AS (a int, b json)", "CREATE TABLE t (id int PRIMARY KEY, v odd)")
    with pytest.raises(UsageError, match=r"'v' cannot be compared exactly: odd .which has no equality"):
        diff(f"{postgres}#t", f"{postgres}#t")


@pytest.mark.parametrize(
    "type_",
    [
        *("cidr", "inet", "macaddr", "money", "bit(3)", "varbit", "tsvector", "int4range", "tid", "pg_lsn", "xid"),
        *('"char"', "regclass", "int2vector", "name[]", "varchar[]", "char(3)[]", "date[]", "uuid[]", "citext"),
    ],
)
def test_types_with_an_equality_of_their_own(postgres: str, type_: str) -> None:
    if type_ == "citext":
        run_sql(postgres, "CREATE EXTENSION IF NOT EXISTS citext")
    run_sql(postgres, *(f"CREATE TABLE {name} (id int PRIMARY KEY, v {type_})" for name in ("src", "dst")))
    run_sql(postgres, "INSERT INTO src VALUES (1, NULL)")
    assert drift(diff(f"{postgres}#src", f"{postgres}#dst")) == {("missing", 1)}


def test_a_record_does_not_say_what_is_in_it(postgres: str) -> None:
    rows = "SELECT id, row(v) AS v FROM"
    run_sql(postgres, *(f"CREATE TABLE {name} (id int PRIMARY KEY, v interval)" for name in ("src", "dst")))
    run_sql(postgres, "INSERT INTO src VALUES (1, '1 month')", "INSERT INTO dst VALUES (1, '30 days')")
    assert run_sql(postgres, "SELECT row(src.v) = row(dst.v) FROM src, dst") == [(True,)], "the control"
    with pytest.raises(UsageError, match=r"'v' cannot be compared exactly: record .which does not say"):
        diff(f"{postgres}#{rows} src", f"{postgres}#{rows} dst", key="id")


def test_a_row_with_a_null_in_it_is_no_null(together: World) -> None:
    """PostgreSQL says of it neither that it is NULL nor that it is not: it was taken for unknown."""
    if together.source.engine != "postgresql":
        pytest.skip("composite types of PostgreSQL")
    together.source.sql("CREATE TYPE pair AS (a int, b int)")
    together.source.sql("CREATE TABLE src (id bigint PRIMARY KEY, v pair)", "CREATE TABLE dst (LIKE src INCLUDING ALL)")
    together.source.sql("INSERT INTO src VALUES (1, '(1,)'), (2, '(1,)'), (3, NULL), (4, '(,)'), (5, NULL)")
    together.source.sql("INSERT INTO dst VALUES (1, '(2,)'), (2, '(1,)'), (3, '(1,)'), (4, '(1,1)'), (5, '(,)')")
    report = together.app(nulls={"v": "unknown"}).check("p", rows=0)
    assert (drift(report), report.not_compared) == ({("different", 1), ("different", 4)}, {"v": 2})


def test_an_oid_beyond_an_integer_is_no_negative_one(together: World) -> None:
    if together.source.engine != "postgresql":
        pytest.skip("PostgreSQL has oids")
    postgres = together.source.url
    run_sql(postgres, "CREATE TABLE src (id oid PRIMARY KEY, v oid)", "CREATE TABLE dst (id int PRIMARY KEY, v int)")
    run_sql(postgres, "INSERT INTO src VALUES (1, 4294967295), (4294967295, 1), (2, 2)")
    run_sql(postgres, "INSERT INTO dst VALUES (1, -1), (-1, 1), (2, 2)")
    assert run_sql(postgres, "SELECT oid '4294967295' = int '-1'") == [(True,)], "the control"
    found = {("different", 1), ("missing", 4294967295), ("extra", -1)}
    assert drift(diff(f"{postgres}#src", f"{postgres}#dst")) == found
    assert drift(diff(f"{postgres}#dst", f"{postgres}#src")) == {
        ("different", 1),
        ("extra", 4294967295),
        ("missing", -1),
    }
    run_sql(postgres, "ALTER TABLE src RENAME TO t", "ALTER TABLE dst RENAME TO src", "ALTER TABLE t RENAME TO dst")
    assert together.app().check("p", keys=[{"id": -1}]).missing == 1


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.fixture
def few_digits(postgres_pair: Pair) -> Iterator[Pair]:
    """Databases in which a session shows floats with few digits, and types in quotes."""
    names = [run_sql(url, "SELECT current_database()")[0][0] for url in postgres_pair]
    settings = "extra_float_digits", "quote_all_identifiers"
    for url, name in zip(postgres_pair, names, strict=True):
        run_sql(
            url, f"ALTER DATABASE {name} SET extra_float_digits = -8", f"ALTER DATABASE {name} SET {settings[1]} = on"
        )
    yield postgres_pair
    for url, name in zip(postgres_pair, names, strict=True):
        run_sql(url, *(f"ALTER DATABASE {name} RESET {setting}" for setting in settings))


def test_no_setting_of_a_database_leaves_rows_of_an_index_out(postgres_pair: Pair) -> None:
    """With such a limit an index gives about as many rows as that, any of them, and no word of it."""
    source, target = postgres_pair
    (name,) = run_sql(source, "SELECT current_database()")[0]
    run_sql(source, "CREATE TABLE src (id int PRIMARY KEY, tags int[])", "CREATE INDEX ON src USING gin (tags)")
    run_sql(source, "INSERT INTO src SELECT n, ARRAY[1, n] FROM generate_series(1, 20000) n", "VACUUM ANALYZE src")
    run_sql(target, "CREATE TABLE dst (id int PRIMARY KEY)", "INSERT INTO dst SELECT generate_series(1, 20000)")
    limits = {"gin_fuzzy_search_limit": "100", "enable_seqscan": "off"}
    run_sql(source, *(f"ALTER DATABASE {name} SET {limit} = {value}" for limit, value in limits.items()))
    tagged = "SELECT id FROM src WHERE tags @> ARRAY[1]"
    try:
        assert run_sql(source, f"SELECT count(*) < 20000 FROM ({tagged}) t") == [(True,)], "the control"
        report = diff(f"{source}#{tagged}", f"{target}#dst", key="id")
    finally:
        run_sql(source, *(f"ALTER DATABASE {name} RESET {limit}" for limit in limits))
    assert (report.source_rows, report.extra) == (20_000, 0)


def test_no_setting_of_a_database_takes_digits_off(few_digits: Pair) -> None:
    source, target = few_digits
    run_sql(
        source, "CREATE TABLE src (id int PRIMARY KEY, v float8)", "INSERT INTO src VALUES (1, 0.123456789), (2, 5)"
    )
    run_sql(
        source, "CREATE TABLE near (id int PRIMARY KEY, v numeric)", "INSERT INTO near VALUES (1, 0.1234568), (2, 5)"
    )
    run_sql(
        target, "CREATE TABLE dst (id int PRIMARY KEY, v float8)", "INSERT INTO dst VALUES (1, 0.123456799), (2, 5)"
    )
    assert run_sql(source, "SELECT v::text FROM src WHERE id = 1") == [("0.1234568",)], "the control"
    assert drift(diff(f"{source}#src", f"{target}#dst")) == {("different", 1)}
    assert drift(diff(f"{source}#src", f"{source}#near")) == {("different", 1)}


@pytest.mark.parametrize("kind", ["float8", "numeric"])
def test_no_share_of_what_is_not_finite_covers_anything(kind: str, together: World) -> None:
    if together.source.engine != "postgresql":
        pytest.skip("numbers of PostgreSQL")
    odd = ("NaN", "Infinity", "-Infinity")
    rows = [(n, one, other) for n, (one, other) in enumerate(product((*odd, "5"), repeat=2))]
    expected, observed = ([(row[0], row[at]) for row in rows] for at in (1, 2))
    together.source.table("src", f"id {{integer}} PRIMARY KEY NOT NULL, v {kind}", expected)
    together.target.table("dst", f"id {{integer}} PRIMARY KEY NOT NULL, v {kind}", observed)
    control = "SELECT count(*) FROM src JOIN dst USING (id) WHERE abs(src.v - dst.v) > abs(src.v) * 0.01"
    assert together.source.sql(control) != [(12,)], "the control has to take some of these for tolerable"
    report = together.app(tolerance={"v": "1%"}).check("p", rows=0)
    assert {row["key"]["id"] for row in report.drift} == {n for n, one, other in rows if one != other}


# --- constraints that do not hold for all rows -----------------------------------------------------------------------


def test_a_unique_index_of_a_parent_says_nothing_of_its_children(postgres_pair: Pair) -> None:
    source, target = postgres_pair
    for url in postgres_pair:
        run_sql(url, "CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    run_sql(source, "CREATE TABLE u AS TABLE t", "ALTER TABLE u ADD PRIMARY KEY (id)")
    run_sql(source, "CREATE TABLE child () INHERITS (t)", "INSERT INTO child VALUES (2, 'b')")
    for other in (f"{target}#t", f"{source}#u"):
        report = diff(f"{source}#t", other)
        assert (drift(report), report.source_rows, report.duplicate_keys["source"]) == ({("different", 2)}, 3, 1)


def test_a_key_that_is_null_in_a_child(postgres_pair: Pair) -> None:
    source, target = postgres_pair
    if version(source) >= 18:
        pytest.skip("PostgreSQL 18 keeps the NOT NULL of a parent in its children")
    run_sql(source, "CREATE TABLE t (id bigint PRIMARY KEY, v text)", "CREATE TABLE child () INHERITS (t)")
    run_sql(source, "ALTER TABLE child ALTER id DROP NOT NULL", "INSERT INTO child VALUES (NULL, 'a'), (1, 'b')")
    run_sql(target, "CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'b')")
    report = diff(f"{source}#t", f"{target}#t")
    assert (drift(report), report.null_keys["source"]) == ({("missing", None)}, 1)


def test_a_not_null_that_was_not_validated(postgres_pair: Pair, mariadb: str) -> None:
    """A NULL where none is expected would take its whole row out of what a leaf is made of."""
    source, _ = postgres_pair
    if version(source) < 18:
        pytest.skip("NOT NULL ... NOT VALID came with PostgreSQL 18")
    rows = ", ".join(f"({n}, {n}, {n if n != 3 else 'NULL'})" for n in range(1, 9))
    run_sql(source, "CREATE TABLE t (id bigint PRIMARY KEY, w bigint, v bigint)", f"INSERT INTO t VALUES {rows}")
    run_sql(source, "ALTER TABLE t ADD CONSTRAINT later NOT NULL v NOT VALID")
    other = rows.replace("(3, 3, NULL)", "(3, 99, NULL)")
    with closing(mariadb_connection(mariadb)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (id bigint PRIMARY KEY, w bigint, v bigint)")
        cursor.execute(f"INSERT INTO t VALUES {other}")
    report = diff(f"{source}#t", f"{mariadb}#t")
    assert "digests" in report.strategy
    assert drift(report) == {("different", 3)}


@pytest.mark.parametrize("lots", [False, True], ids=["rows", "lots"])
def test_a_key_that_is_repeated_just_before_it_is_compared(
    postgres: str, monkeypatch: pytest.MonkeyPatch, lots: bool
) -> None:
    """Whether a key repeats was asked by a statement of its own: a copy that came after it was equal to the one row."""
    place = Postgresql(postgres)
    place.sql("CREATE TABLE src (id bigint, v bigint)", "CREATE TABLE dst (id bigint PRIMARY KEY, v bigint)")
    for table in ("src", "dst"):
        place.insert(table, [(n, n) for n in range(3)])
    adapter = PostgresqlAdapter("a", Database(url=postgres))
    sides = [Side(database="a", table=table) for table in ("src", "dst")]
    projection = Projection(name="p", source=sides[0], target=sides[1], key="id", settle=0)
    binding = bind(projection, *map(adapter.describe, sides), writing=False)

    def look() -> Look | None:
        return adapter.packer.compared(binding, Range()) if lots else adapter.differences(binding, Range())

    found = look()
    assert found is not None, "the positive control"
    assert found.counts.source_rows == 3
    execute = adapter.answered

    def answered(connection: sa.Connection, statement: Any, *given: Any, **named: Any) -> Any:
        if "FULL OUTER JOIN" in str(statement.compile(dialect=adapter.engine.dialect)):
            place.sql("INSERT INTO src VALUES (1, 1)")
        return execute(connection, statement, *given, **named)

    monkeypatch.setattr(adapter, "answered", answered)
    assert look() is None
    assert place.sql("SELECT count(*) FROM src") == [(4,)]
    adapter.close()


# --- wide tables and tables elsewhere --------------------------------------------------------------------------------


def test_several_hundred_columns_in_two_databases(postgres_pair: Pair) -> None:
    """The hash of such a row was too deep an expression to be rendered."""
    names = [f"c{n}" for n in range(600)]
    for url, last in zip(postgres_pair, (0, 1), strict=True):
        run_sql(url, f"CREATE TABLE t (id bigint PRIMARY KEY, {', '.join(f'{name} int' for name in names)})")
        row = f"INSERT INTO t SELECT n, {', '.join('n' for _ in names)} FROM generate_series(1, 20) n"
        run_sql(url, row, f"UPDATE t SET c599 = {last} WHERE id = 7")
    report = diff(f"{postgres_pair.source}#t", f"{postgres_pair.target}#t")
    assert drift(report) == {("different", 7)}
    assert "digests" in report.strategy


def test_a_large_foreign_table_is_cut_without_a_sample_of_its_pages(
    postgres_pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = postgres_pair
    if not run_sql(source, "SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'"):
        pytest.skip("this PostgreSQL came without postgres_fdw")
    monkeypatch.setattr(_postgresql_survey, "SEGMENT_ROWS", 100)
    monkeypatch.setattr(_postgresql_survey, "SAMPLE_PAGES_MIN", 1)
    monkeypatch.setattr(_postgresql_survey, "PAGES_PER_CUT", 0)
    for url in postgres_pair:
        run_sql(url, "CREATE TABLE t (id bigint PRIMARY KEY, v bigint)")
        run_sql(url, "INSERT INTO t SELECT n, n FROM generate_series(1, 2000) n", "ANALYZE t")
    run_sql(target, "UPDATE t SET v = 0 WHERE id = 1234")
    run_sql(source, *_foreign(source), "ANALYZE far")
    assert run_sql(source, "SELECT relpages > 2 FROM pg_class WHERE relname = 'far'") == [(True,)]
    assert drift(diff(f"{source}#far", f"{target}#t", key="id")) == {("different", 1234)}


def _foreign(url: str) -> list[str]:
    """A table `far` that reads `t` of the same database over a connection of the server's own."""
    at = sa.make_url(url)
    given = {"host": at.host or at.query.get("host"), "port": at.port or 5432, "dbname": at.database}
    options = ", ".join(f"{name} '{value}'" for name, value in given.items() if value)
    return [
        "CREATE EXTENSION postgres_fdw",
        f"CREATE SERVER me FOREIGN DATA WRAPPER postgres_fdw OPTIONS ({options})",
        f"CREATE USER MAPPING FOR CURRENT_USER SERVER me OPTIONS (user '{at.username}', password '{at.password or 0}')",
        "CREATE FOREIGN TABLE far (id bigint, v bigint) SERVER me OPTIONS (table_name 't')",
    ]
