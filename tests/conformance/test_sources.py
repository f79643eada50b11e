"""What a side may be: tables with awkward names, queries in the database's own words, views."""

from __future__ import annotations

import pytest

from tests.conformance.worlds import World
from trueup import ConfigError, Side, Verdict

COUNTS = "id {integer} PRIMARY KEY NOT NULL, n {integer} NOT NULL"

#: Counts the active likes of each post, written the way people write such things.
SELECT = "SELECT post AS id, count(*) AS n FROM likes WHERE active = 1"
QUERIES = {
    "plain": f"{SELECT} GROUP BY post",
    "lower case, semicolon": f"\n  {SELECT.lower()} group by 1 ; \n",
    "trailing comment": f"{SELECT} GROUP BY post -- it's done; really",
    "leading comment": f"/* who's there? :x %s */ {SELECT} GROUP BY post",
    "colons and percent": f"{SELECT} AND note LIKE '%:x%' GROUP BY post",
    "percent sign alone": f"{SELECT} AND post % 1000 >= 0 GROUP BY post",
    "format words": f"{SELECT} AND note <> '%s %(a)s %%' GROUP BY post",
    "backslash": rf"{SELECT} AND note <> 'C:\new \: ?' GROUP BY post",
    "json literal": SELECT + """ AND note <> '{"a": 1, "b":[2]}' GROUP BY post""",
    "common table expression": f"WITH w AS ({SELECT} GROUP BY post) SELECT id, n FROM w",
    "union": f"{SELECT} AND post < 5 GROUP BY post UNION ALL {SELECT} AND post >= 5 GROUP BY post",
    "window, order, limit": f"SELECT id, n FROM (SELECT id, n, row_number() OVER (ORDER BY id) AS r FROM "
    f"({SELECT} GROUP BY post) t) u ORDER BY n DESC LIMIT 1000",
    "question mark": f"{SELECT} AND note <> 'really?' GROUP BY post",
}
POSTGRESQL = {
    "cast": "SELECT post::bigint AS id, count(*)::int8 AS n FROM likes WHERE active::int = 1 GROUP BY post::bigint",
    "json operators": SELECT
    + """ AND jsonb_build_object('k:v', 1) ? 'k:v' AND ('{"a":{"b":1}}'::jsonb #>> '{a,b}')::int = 1 GROUP BY post""",
    "dollar quotes": f"{SELECT} AND note <> $x$it's :a %s$x$ GROUP BY post",
    "array slice": f"SELECT id, ((array_agg(n))[1:2])[1] AS n FROM ({SELECT} GROUP BY post) t GROUP BY id",
}


def likes(world: World) -> None:
    """Post n has n likes that count and one that does not; the target is wrong for 3 and 7, lacks 5, and has 99."""
    rows = [(post, 1, f"a :x {post}") for post in range(1, 10) for _ in range(post)]
    world.source.table("likes", "post {integer}, active {integer}, note {text}", rows)
    world.source.insert("likes", [(post, 0, "none") for post in range(1, 12)])
    held = [(post, post + (post in (3, 7))) for post in range(1, 10) if post != 5]
    world.target.table("dst", COUNTS, [*held, (99, 1)])


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_is_the_source(together: World, query: str) -> None:
    likes(together)
    assert_query(together, query)


@pytest.mark.parametrize("name", ["plain", "colons and percent", "trailing comment"])
def test_a_query_is_the_source_of_another_database(world: World, name: str) -> None:
    likes(world)
    assert_query(world, QUERIES[name])


@pytest.mark.parametrize("query", POSTGRESQL.values(), ids=POSTGRESQL)
def test_a_query_in_the_words_of_postgresql(together: World, query: str) -> None:
    if together.source.engine != "postgresql":
        pytest.skip("not its words")
    likes(together)
    assert_query(together, query)


def assert_query(world: World, query: str) -> None:
    app = world.app(source=query, on_extra="delete")
    report = app.check("p", rows=0)
    assert {(row["kind"], row["key"]["id"]) for row in report.drift} == {
        *(("different", 3), ("different", 7), ("missing", 5), ("extra", 99))
    }
    assert (report.source_rows, report.target_rows) == (9, 9)
    run = app.run("p")
    assert (run.verdict, run.repaired) == (Verdict.REPAIRED, 4)
    assert world.target.rows("dst") == {(post, post) for post in range(1, 10)}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT 1 AS id, 2 AS n; SELECT 3", "2 statements|refused"),
        ("WITH x AS (SELECT 1) DELETE FROM dst", "DELETE"),
        ("SELECT id FROM nowhere", "refused"),
        ("SELECT 1 AS id", "no column 'n'"),
    ],
    ids=["two statements", "a write", "no such table", "no such column"],
)
def test_what_is_no_source_is_refused_before_anything_is_read(together: World, query: str, words: str) -> None:
    together.target.table("dst", COUNTS, [(1, 1)])
    with pytest.raises(ConfigError, match=words):
        together.app(source=query, columns=["n"]).run("p")
    assert together.target.rows("dst") == {(1, 1)}


def test_awkward_names_and_mapped_columns(world: World) -> None:
    """Spaces, quotes, reserved words, percent signs, upper case, dots apart: an identifier is only quoted."""
    world.source.table(
        '"my ""Orders"" %s"', '"group" {integer} PRIMARY KEY NOT NULL, "sum :x %(y)s" {integer}, "a?" {text}'
    )
    world.target.table('"select"', '"the KEY" {integer} PRIMARY KEY NOT NULL, "Order" {integer}, "from" {text}')
    world.source.insert('"my ""Orders"" %s"', [(n, n * 2, f"t{n}") for n in range(6)])
    world.target.insert('"select"', [(n, n * 2 + (n == 4), f"t{n}") for n in range(1, 7)])
    app = world.app(
        source=Side(database="a", table='my "Orders" %s', columns={"k": "group", "n": "sum :x %(y)s", "t": "a?"}),
        target=Side(database="a", table="select", columns={"k": "the KEY", "n": "Order", "t": "from"}),
        key=["k"],
        columns=["n", "t"],
        on_extra="delete",
    )
    report = app.run("p")
    assert (report.missing, report.extra, report.different, report.repaired) == (1, 1, 1, 3)
    assert report.different_by_column == {"n": 1}
    assert world.target.rows('"select"') == {(n, n * 2, f"t{n}") for n in range(6)}
    assert set(app.statements("p").values()) != {""}


def test_default_columns_are_those_both_sides_have(world: World) -> None:
    world.source.table(
        "src", "id {integer} PRIMARY KEY NOT NULL, a {integer}, b {integer}, only_here {text}", [(1, 1, 1, "x")]
    )
    world.target.table(
        "dst", "b {integer}, extra {text}, a {integer}, id {integer} PRIMARY KEY NOT NULL", [(2, "y", 1, 1)]
    )
    report = world.app().check("p")
    assert (report.different, report.different_by_column) == (1, {"b": 1})


def test_a_schema_qualified_table(together: World) -> None:
    if together.source.engine == "postgresql":
        together.source.sql('CREATE SCHEMA "Read Model"')
        schema = "Read Model"
    elif together.source.engine == "mysql":
        schema = together.source.sql("SELECT DATABASE()")[0][0]
    else:
        schema = "main"
    together.source.table("src", COUNTS, [(1, 1), (2, 2)])
    together.target.table(f'"{schema}".dst', COUNTS, [(1, 1), (2, 3)])
    report = together.app(target=f"{schema}.dst").run("p")
    assert (report.different, report.repaired) == (1, 1)
    assert together.target.rows(f'"{schema}".dst') == {(1, 1), (2, 2)}


def test_views_are_checked_and_never_written(world: World) -> None:
    world.tables(COUNTS, [(1, 1), (2, 2)], [(1, 1), (2, 3)])
    world.source.sql("CREATE VIEW vsrc AS SELECT * FROM src")
    world.target.sql("CREATE VIEW vdst AS SELECT * FROM dst")
    app = world.app(source="vsrc", target="vdst")
    assert (app.check("p").different, app.check("p").target_rows) == (1, 2)
    assert app.check("p", keys=[{"id": 1}]).verdict is Verdict.IN_SYNC
    with pytest.raises(ConfigError, match="only a table can be repaired"):
        app.run("p")
    assert world.app(source="vsrc").run("p").verdict is Verdict.REPAIRED


def test_a_table_that_is_not_there_is_named(world: World) -> None:
    world.tables(COUNTS)
    with pytest.raises(ConfigError, match=r"there is no table 'dts'.*did you mean 'dst'"):
        world.app(target="dts").check("p")
