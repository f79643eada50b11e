"""What is known of a user's query without running it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from trueup.core.query import Index, bare, groups_by, index_for, problem

DIALECTS = ["postgres", "sqlite"]

GOOD = [
    "SELECT 1",
    "  select id, n from t  ",
    "SELECT id FROM t;",
    "SELECT id FROM t ; \n ",
    "SELECT id FROM t;;",
    "-- what it is\nSELECT id FROM t",
    "/* a; b */ SELECT id FROM t -- DELETE FROM t",
    "SELECT id FROM t; -- the end",
    "SELECT id FROM t; /* the end */",
    "(SELECT id FROM t)",
    "SELECT id FROM a UNION ALL SELECT id FROM b",
    "SELECT id FROM a EXCEPT SELECT id FROM b",
    "WITH x AS (SELECT id FROM t) SELECT id FROM x",
    "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 9) SELECT n FROM x",
    "SELECT 'DELETE FROM t; DROP TABLE t' AS text, \"update\" FROM t",
    "SELECT delete_at, updated, into_it FROM inserts",
    "SELECT id, count(*) FILTER (WHERE active) AS n FROM t GROUP BY id",
    "SELECT data->>'name' AS name, data->'a' AS a FROM t",
    "SELECT id, row_number() OVER (PARTITION BY a ORDER BY b) AS n FROM t",
]
POSTGRES_ONLY = [
    "SELECT id::text, at::date FROM t",
    "SELECT DISTINCT ON (id) id, n FROM t ORDER BY id, at DESC",
    "SELECT data #>> '{a,b}' AS ab FROM t WHERE data @> '{}'::jsonb AND tags && ARRAY['x']",
    "SELECT id, extract(epoch FROM at) AS s, at AT TIME ZONE 'UTC' AS at FROM t",
    "SELECT t.id, l.n FROM t CROSS JOIN LATERAL (SELECT count(*) AS n FROM u WHERE u.t = t.id) AS l",
    "SELECT id, string_agg(name, ',' ORDER BY name) WITHIN_GROUP FROM t GROUP BY id",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n) AS median FROM t",
    "SELECT E'a\\nb' AS x, $$it's$$ AS y",
]
SQLITE_ONLY = [
    "SELECT id, group_concat(name, ',') AS names FROM t GROUP BY id",
    "SELECT strftime('%Y-%m-%d', at, 'unixepoch') AS day FROM t",
    "SELECT rowid, `a b`, [c d] FROM t WHERE a GLOB 'x*'",
    "SELECT iif(a IS b, 1, 0) AS x, json_extract(d, '$.a') AS y FROM t",
]


@pytest.mark.parametrize("query", [*GOOD, *POSTGRES_ONLY])
def test_postgres_queries_are_let_through(query: str) -> None:
    assert problem(query, "postgres") == ""


@pytest.mark.parametrize("query", [*GOOD, *SQLITE_ONLY])
def test_sqlite_queries_are_let_through(query: str) -> None:
    assert problem(query, "sqlite") == ""


BAD = [
    ("", "empty"),
    (" \n\t", "empty"),
    ("-- only a comment", "0 statements"),
    (";", "0 statements"),
    ("SELECT 1; SELECT 2", "2 statements"),
    ("SELECT 1; DELETE FROM t", "2 statements"),
    ("SELECT 1; SELECT 2; -- end", "2 statements"),
    ("DELETE FROM t", "DELETE"),
    ("UPDATE t SET a = 1", "UPDATE"),
    ("INSERT INTO t VALUES (1)", "INSERT"),
    ("DROP TABLE t", "DROP"),
    ("CREATE TABLE x AS SELECT 1", "CREATE"),
    ("SELECT * INTO x FROM t", "INTO"),
    ("WITH d AS (DELETE FROM t RETURNING id) SELECT id FROM d", "DELETE"),
    ("WITH d AS (UPDATE t SET a = 1 RETURNING id) SELECT id FROM d", "UPDATE"),
    ("WITH d AS (INSERT INTO t VALUES (1) RETURNING id) SELECT id FROM d", "INSERT"),
    ("WITH a AS (SELECT 1), d AS (DELETE FROM t RETURNING id) SELECT id FROM d UNION SELECT 1", "DELETE"),
    ("SELECT id FROM (WITH d AS (DELETE FROM t RETURNING id) SELECT id FROM d) AS x", "DELETE"),
    ("WITH d AS (MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE RETURNING t.a) SELECT a FROM d", "MERGE"),
    ("SELECT id FROM t FOR UPDATE", "lock"),
    ("EXPLAIN SELECT 1", "give one SELECT"),
    ("COPY t TO '/tmp/x'", "give one SELECT"),
    ("CALL p()", "give one SELECT"),
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(("query", "words"), BAD)
def test_what_is_not_one_select_that_only_reads(query: str, words: str, dialect: str) -> None:
    assert words in problem(query, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_cannot_be_parsed_is_left_to_the_database(dialect: str) -> None:
    assert problem("SELECT ((( FROM", dialect) == ""


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("SELECT 1", "SELECT 1"),
        (" SELECT 1 ; ", "SELECT 1"),
        ("SELECT 1;;\n;", "SELECT 1"),
        ("SELECT 1; -- end", "SELECT 1"),
        ("SELECT 1 /* a */; /* b */", "SELECT 1 /* a */"),
        ("SELECT ';' AS x", "SELECT ';' AS x"),
        ("SELECT '; -- x' AS x", "SELECT '; -- x' AS x"),
        ("SELECT 1 -- a;", "SELECT 1 -- a;"),
        ("SELECT 'unended;", "SELECT 'unended"),
    ],
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_sent_ends_before_its_semicolon(query: str, sent: str, dialect: str) -> None:
    assert bare(query, dialect) == sent


# --- groups_by: does GROUP BY make the key unique? A wrong yes would hide duplicate keys; a wrong no only costs a scan.

YES = [
    ("SELECT id, count(*) AS n FROM t GROUP BY id", ("id",)),
    ("SELECT id, count(*) AS n FROM t GROUP BY 1", ("id",)),
    ("SELECT a, b, sum(x) AS s FROM t GROUP BY a, b", ("a", "b")),
    ("SELECT a, b, sum(x) AS s FROM t GROUP BY 2, 1", ("b", "a")),
    ("SELECT a AS k, count(*) AS n FROM t GROUP BY a", ("k",)),
    ("SELECT lower(a) AS k, count(*) AS n FROM t GROUP BY lower(a)", ("k",)),
    ("SELECT lower(a) AS k, count(*) AS n FROM t GROUP BY 1", ("k",)),
    ("SELECT a + 1 AS k, count(*) AS n FROM t GROUP BY a + 1", ("k",)),
    ("SELECT t.id, count(*) AS n FROM t JOIN u ON u.t = t.id GROUP BY id", ("id",)),
    ("SELECT t.id AS k, count(*) AS n FROM t GROUP BY id", ("k",)),
    ("SELECT a AS b, b AS a, count(*) AS n FROM t GROUP BY a", ("b",)),
    ("SELECT t.a AS k, count(*) AS n FROM t JOIN u ON u.t = t.a GROUP BY t.a", ("k",)),
    # More key parts than groups: still unique.
    ("SELECT a, max(b) AS b FROM t GROUP BY a", ("a", "b")),
    ("WITH x AS (SELECT id FROM t) SELECT id, count(*) AS n FROM x GROUP BY id", ("id",)),
    ("SELECT id, count(*) AS n FROM t GROUP BY id HAVING count(*) > 1 ORDER BY n LIMIT 5", ("id",)),
    ("SELECT DISTINCT id, count(*) AS n FROM t GROUP BY id", ("id",)),
    ("SELECT id, count(*) AS n, row_number() OVER (ORDER BY count(*)) AS r FROM t GROUP BY id", ("id",)),
    ("SELECT id, sum(n)::bigint AS n, coalesce(max(at), now()) AS at FROM t GROUP BY id", ("id",)),
]
NO = [
    ("SELECT id, n FROM t", ("id",)),
    ("SELECT DISTINCT id, n FROM t", ("id",)),
    # Grouped by more than the key.
    ("SELECT id, b, count(*) AS n FROM t GROUP BY id, b", ("id",)),
    ("SELECT id, count(*) AS n FROM t GROUP BY id, b", ("id",)),
    ("SELECT id, count(*) AS n FROM t GROUP BY 1, b", ("id",)),
    # Grouped by something that is not in the result.
    ("SELECT max(id) AS id, count(*) AS n FROM t GROUP BY b", ("id",)),
    ("SELECT lower(a) AS k, count(*) AS n FROM t GROUP BY a", ("k",)),
    # The name means the input column before it means the alias: a and A are two groups of one key.
    ("SELECT lower(id) AS id, count(*) AS n FROM t GROUP BY id", ("id",)),
    ("SELECT id / 10 AS id, count(*) AS n FROM t GROUP BY id", ("id",)),
    ("SELECT other AS id, count(*) AS n FROM t GROUP BY id", ("id",)),
    ("SELECT a AS b, b AS a, count(*) AS n FROM t GROUP BY a", ("a",)),
    ("SELECT 'id' AS k, count(*) AS n FROM t GROUP BY id", ("k",)),
    # More than one row for each group.
    ("SELECT id, count(*) AS n FROM t GROUP BY ROLLUP (id)", ("id",)),
    ("SELECT id, b, count(*) AS n FROM t GROUP BY CUBE (id, b)", ("id", "b")),
    ("SELECT id, b, count(*) AS n FROM t GROUP BY GROUPING SETS ((id), (b))", ("id", "b")),
    ("SELECT id, b, count(*) AS n FROM t GROUP BY id, ROLLUP (b)", ("id", "b")),
    ("SELECT id, count(*) AS n FROM a GROUP BY id UNION ALL SELECT id, count(*) FROM b GROUP BY id", ("id",)),
    ("SELECT id, unnest(array_agg(x)) AS x FROM t GROUP BY id", ("id",)),
    ("SELECT id, generate_series(1, count(*)) AS x FROM t GROUP BY id", ("id",)),
    ("SELECT id, jsonb_array_elements(jsonb_agg(x)) AS x FROM t GROUP BY id", ("id",)),
    ("SELECT id, regexp_split_to_table(max(a), ',') AS x FROM t GROUP BY id", ("id",)),
    # The group is inside; outside each of its rows comes once for each row of u.
    ("SELECT x.id, u.n FROM (SELECT id, count(*) AS n FROM t GROUP BY id) AS x JOIN u ON u.id = x.id", ("id",)),
    ("SELECT ((( FROM", ("id",)),
    ("", ("id",)),
]


@pytest.mark.parametrize(("query", "key"), YES)
def test_the_key_is_unique(query: str, key: tuple[str, ...]) -> None:
    assert groups_by(query, "postgres", key)


@pytest.mark.parametrize(("query", "key"), NO)
def test_the_key_may_repeat(query: str, key: tuple[str, ...]) -> None:
    assert not groups_by(query, "postgres", key)


@pytest.mark.parametrize("semicolon", ["", ";", "; -- the end"])
def test_a_semicolon_does_not_hide_the_group(semicolon: str) -> None:
    assert groups_by(f"SELECT id, count(*) AS n FROM t GROUP BY id{semicolon}", "sqlite", ("id",))


# --- indexes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "dialect", "statement"),
    [
        (
            'SELECT "User Id", sum(N) AS n FROM "Big Table" b WHERE "order" > 1 GROUP BY 1',
            "postgres",
            'CREATE INDEX ON "Big Table" ("User Id") INCLUDE ("n", "order"); VACUUM "Big Table"',
        ),
        (
            "SELECT u AS `User Id`, sum(n) AS n FROM `Big` GROUP BY u",
            "mysql",
            "CREATE INDEX trueup_big_u ON `Big` (`u`, `n`)",
        ),
    ],
)
def test_the_index_for_a_query_is_written_as_it_can_be_made(query: str, dialect: str, statement: str) -> None:
    index = index_for(query, dialect, ("User Id",))
    assert index is not None
    assert index.statement(dialect) == statement


def test_an_index_that_is_there_is_known() -> None:
    index = Index(table="t", key=("a", "b"), others=("c", "d"))
    assert index.is_one_of([("a",), ("a", "b", "d", "e", "c")])
    assert index.is_one_of([("A", "B", "C", "D")])
    assert not index.is_one_of([("b", "a", "c", "d"), ("a", "b", "c"), ()])


@pytest.mark.parametrize("name", ["plain", "Mixed", "two words", "order", "user", 'a"b', "1st"])
def test_a_name_means_what_it_is(name: str) -> None:
    statement = Index(table="t", key=(name,)).statement("sqlite")
    with closing(sqlite3.connect(":memory:")) as db:
        quoted = name.replace('"', '""')
        db.execute(f'CREATE TABLE t ("{quoted}" integer)')
        db.execute(statement)
        ((found,),) = db.execute("SELECT name FROM pragma_index_info((SELECT name FROM pragma_index_list('t')))")
    assert found == name


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, count(*) AS n FROM my_func(1) GROUP BY id",
        "SELECT id, v FROM generate_series(1, 10) g(id, v)",
        "SELECT id FROM a JOIN b USING (id)",
    ],
)
def test_what_is_no_one_table_needs_no_index(query: str) -> None:
    assert index_for(query, "postgres", ("id",)) is None


def test_an_index_of_an_attached_file_is_made_in_it() -> None:
    statement = Index(table="other.t", key=("a",)).statement("sqlite")
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("ATTACH ':memory:' AS other")
        db.execute("CREATE TABLE other.t (a integer)")
        db.execute(statement)
        assert db.execute("SELECT count(*) FROM pragma_index_list('t', 'other')").fetchone() == (1,)
