"""Types with rules of their own: what can be compared is compared by its own equality, the rest is refused in words."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.worlds import Pairing, Sqlite, World, places
from trueup import ConfigError, TrueupError, Verdict, diff


@pytest.fixture
def pg(together: World) -> World:
    """One PostgreSQL database."""
    if together.source.engine != "postgresql":
        pytest.skip("types of PostgreSQL")
    return together


@pytest.fixture
def apart(world: World) -> World:
    """Source and target in two databases, at least one of them PostgreSQL."""
    if world.together or "postgresql" not in (world.pairing.source, world.pairing.target):
        pytest.skip("needs two databases, one of them PostgreSQL")
    return world


#: type, two spellings of one value, another value
OWN = {
    "jsonb": (
        "jsonb",
        """'{"a": 1, "b": [1.0, 2]}'""",
        """'{"b":[1.00,2],  "a":1}'""",
        """'{"a": 1, "b": [2, 1.0]}'""",
    ),
    "array of integer": ("integer[]", "'{1,2,NULL}'", "'{1, 2, NULL}'", "'{1,2}'"),
    "array of text": ("text[]", """'{a,"b,c"}'""", """ARRAY['a','b,c']""", "'{a,b,c}'"),
    "interval": ("interval", "'1 month'", "'1 mons'", "'30 days'"),
    "inet": ("inet", "'10.0.0.1'", "'10.0.0.1/32'", "'10.0.0.1/24'"),
    "range": ("int4range", "'[1,4]'", "'[1,5)'", "'[1,5]'"),
    "timetz": ("timetz", "'12:00+00'", "'12:00+00'", "'13:00+01'"),
    "money": ("money", "'1.5'", "'1.50'", "'1.51'"),
    "bit": ("bit(3)", "B'101'", "B'101'", "B'100'"),
}


@pytest.mark.parametrize("case", OWN.values(), ids=OWN)
def test_a_type_with_its_own_equality_in_one_database(pg: World, case: tuple[str, str, str, str]) -> None:
    name, one, same, other = case
    pg.source.sql(
        f"CREATE TABLE src (id int PRIMARY KEY, v {name}); CREATE TABLE dst (id int PRIMARY KEY, v {name})",
        f"INSERT INTO src VALUES (1, {one}), (2, {one}), (3, NULL), (4, {one}), (5, {one})",
        f"INSERT INTO dst VALUES (1, {same}), (2, {other}), (3, NULL), (4, NULL)",
    )
    app = pg.app()
    report = app.check("p")
    assert sorted((row["kind"], row["key"]["id"]) for row in report.drift) == [
        *(("different", 2), ("different", 4), ("missing", 5))
    ]
    run = app.run("p")
    assert (run.verdict, run.repaired) == (Verdict.REPAIRED, 3)
    assert pg.source.sql("SELECT count(*) FROM src JOIN dst USING (id) WHERE src.v IS NOT DISTINCT FROM dst.v") == [
        (5,)
    ]
    by_key = app.check("p", keys=[{"id": n} for n in range(1, 6)])
    assert (by_key.verdict, by_key.target_rows) == (Verdict.IN_SYNC, 5)


@pytest.mark.parametrize("name", ["xml", "point"])
def test_a_type_without_equality_is_refused(pg: World, name: str) -> None:
    pg.source.sql(f"CREATE TABLE src (id int PRIMARY KEY, v {name}, w int)", "CREATE TABLE dst AS SELECT * FROM src")
    with pytest.raises(ConfigError, match=rf"column 'v' cannot be compared exactly: {name} \(which has no equality\)"):
        pg.app().check("p")
    assert pg.app(columns=["w"]).check("p").verdict is Verdict.IN_SYNC


def test_json_cast_to_text_or_jsonb_in_a_query_can_be_compared(pg: World) -> None:
    pg.source.sql(
        "CREATE TABLE src (id int PRIMARY KEY, v json); CREATE TABLE dst (id int PRIMARY KEY, v jsonb)",
        """INSERT INTO src VALUES (1, '{"a":1}'), (2, '{"a":1}')""",
        """INSERT INTO dst VALUES (1, '{"a": 1}'), (2, '{"a": 2}')""",
    )
    report = pg.app(source="SELECT id, v::jsonb AS v FROM src").run("p")
    assert (report.different, report.repaired) == (1, 1)


def test_a_user_defined_enum(pg: World) -> None:
    """As value against itself and against text; its own order plays no part."""
    pg.source.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
        "CREATE TABLE src (id int PRIMARY KEY, a mood, b mood)",
        "CREATE TABLE dst (id int PRIMARY KEY, a mood, b text)",
        "INSERT INTO src VALUES (1, 'sad', 'ok'), (2, 'ok', 'ok'), (3, 'ok', NULL), (4, 'happy', 'happy')",
        "INSERT INTO dst VALUES (1, 'sad', 'ok'), (2, 'sad', 'ok '), (3, 'ok', '')",
    )
    app = pg.app()
    report = app.check("p", rows=0)
    assert (report.different, report.missing, report.different_by_column) == (2, 1, {"a": 1, "b": 2})
    assert app.run("p").repaired == 3
    assert pg.target.rows("dst") == {(1, "sad", "ok"), (2, "ok", "ok"), (3, "ok", None), (4, "happy", "happy")}


def test_an_enum_across_databases_is_text(apart: World) -> None:
    for place, table in ((apart.source, "src"), (apart.target, "dst")):
        if place.engine == "postgresql":
            place.sql("CREATE TYPE mood AS ENUM ('sad', 'ok')", f"CREATE TABLE {table} (id int PRIMARY KEY, v mood)")
        else:
            place.table(table, "id {integer} PRIMARY KEY, v {text}")
    apart.source.insert("src", [(1, "sad"), (2, "ok"), (3, None)])
    apart.target.insert("dst", [(1, "sad"), (2, "sad"), (3, None)])
    report = apart.app().run("p")
    assert (report.different, report.repaired) == (1, 1)
    assert apart.target.rows("dst") == {(1, "sad"), (2, "ok"), (3, None)}


def test_an_enum_as_key_is_text_in_binary_order(world: World) -> None:
    if world.source.engine == world.target.engine == "sqlite":
        pytest.skip("no enums")
    for place, table in ((world.source, "src"), (world.target, "dst")):
        if place.engine == "postgresql":
            if table == "src" or not world.together:
                place.sql("CREATE TYPE mood AS ENUM ('z', 'b', 'a')")
            place.sql(f"CREATE TABLE {table} (id mood PRIMARY KEY, v bigint)")
        else:
            text = "ENUM('z', 'b', 'a')" if place.engine == "mysql" else place.types["text"]
            place.table(table, f"id {text} PRIMARY KEY NOT NULL, v {{integer}}")
    world.source.insert("src", [("z", 1), ("b", 2), ("a", 3)])
    world.target.insert("dst", [("z", 1), ("b", 9)])
    report = world.app().run("p")
    assert (report.missing, report.different, report.repaired) == (1, 1, 2)
    assert world.target.rows("dst") == {("z", 1), ("b", 2), ("a", 3)}


@pytest.mark.parametrize("name", ["inet", "int4range", "money"])
def test_a_type_without_a_rule_across_databases_is_refused_in_words(apart: World, name: str) -> None:
    for place, table in ((apart.source, "src"), (apart.target, "dst")):
        type_ = name if place.engine in ("postgresql", "sqlite") else place.types["text"]  # which know none of these
        place.sql(f"CREATE TABLE {table} (id {place.types['integer']} PRIMARY KEY, v {type_})")
    with pytest.raises(ConfigError) as caught:
        apart.app().check("p")
    words = str(caught.value)
    if "sqlite" in (apart.source.engine, apart.target.engine) and "Cast it" not in words:
        pytest.fail(words)
    assert "column 'v' cannot be compared exactly" in words
    assert name in words


@pytest.mark.parametrize("pair", [("text", "integer"), ("text", "bytes"), ("boolean", "text"), ("bytes", "integer")])
def test_pairs_without_an_exact_rule_are_refused(world: World, pair: tuple[str, str]) -> None:
    world.source.table("src", f"id {{integer}} PRIMARY KEY NOT NULL, v {{{pair[0]}}}")
    world.target.table("dst", f"id {{integer}} PRIMARY KEY NOT NULL, v {{{pair[1]}}}")
    with pytest.raises(ConfigError, match=r"column 'v' cannot be compared exactly: .* in the source, .* in the target"):
        world.app().check("p")


@pytest.mark.parametrize("kind", ["float", "number", "boolean", "time", "bytes"])
def test_a_key_without_an_order_of_its_own_is_refused(world: World, kind: str) -> None:
    if kind == "time" and "sqlite" in (world.source.engine, world.target.engine):
        pytest.skip("SQLite does not say that it is a time")
    if kind == "boolean" and "mysql" in (world.source.engine, world.target.engine):
        pytest.skip("a boolean is an integer there")
    world.tables(f"id {{{kind}}} NOT NULL, v {{integer}}")
    with pytest.raises(ConfigError, match="cannot be a key"):
        world.app().check("p")


def test_padded_text_means_the_same_in_one_database_and_in_two(world: World) -> None:
    """char(n) against text: the padding is no part of the value, wherever the sides live."""
    if world.source.engine != "postgresql":
        pytest.skip("text is never padded")
    world.source.sql("CREATE TABLE src (id bigint PRIMARY KEY, v char(5))")
    world.source.insert("src", [(1, "ab"), (2, "ab"), (3, "ab"), (4, ""), (5, None)])
    held = [(1, "ab"), (2, "ab   "), (3, "ac"), (4, ""), (5, None)]
    world.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {text}", held)
    app = world.app()
    for keys in (None, [{"id": n} for n in range(6)]):
        assert sorted(row["key"]["id"] for row in app.check("p", keys=keys).drift) == [2, 3]
    assert app.run("p").repaired == 2
    assert world.target.rows("dst") == {(1, "ab"), (2, "ab"), (3, "ab"), (4, ""), (5, None)}


def test_padded_keys(world: World) -> None:
    if world.target.engine != "postgresql":
        pytest.skip("text is never padded")
    source = [("a", 1), ("ab", 2), ("b", 3), ("", 4)]
    world.source.table("src", "id {text} PRIMARY KEY NOT NULL, v {integer}", source)
    world.target.sql("CREATE TABLE dst (id char(4) PRIMARY KEY, v bigint)")
    world.target.insert("dst", [("a", 1), ("ab", 9), ("", 4), ("zz", 5)])
    report = world.app(on_extra="delete").run("p")
    assert (report.missing, report.different, report.extra, report.repaired) == (1, 1, 1, 3)
    assert {(key.rstrip(), v) for key, v in world.target.rows("dst")} == set(source)


def test_a_key_that_an_enum_does_not_have(world: World) -> None:
    """Missing, and it cannot be inserted; looking for it is no error."""
    if world.target.engine != "postgresql":
        pytest.skip("no enums")
    world.source.table("src", "a {integer}, b {text}, v {integer}", [(1, "ok", 1), (1, "new", 2), (2, "sad", 3)])
    world.target.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'ok')", "CREATE TABLE dst (a bigint, b mood, v bigint, PRIMARY KEY (a, b))"
    )
    world.target.insert("dst", [(1, "ok", 9)])
    app = world.app(key=["a", "b"])
    assert app.check("p", keys=[{"a": 1, "b": "new"}]).missing == 1
    report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 2, 1)
    assert world.target.rows("dst") == {(1, "ok", 1), (2, "sad", 3)}


# --- documents, arrays and intervals: by meaning, inside one database and across two ----------------------------------


IN_POSTGRESQL = [Pairing(source="postgresql", target="postgresql", together=together) for together in (True, False)]


@pytest.fixture(params=IN_POSTGRESQL, ids=str)
def pg_target(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    """Both sides in PostgreSQL: one database, or two, where the rules are Python's."""
    shutil.copy(new_ledger, tmp_path)
    opened = World(request.param, *places(request.param, request), tmp_path)
    yield opened
    opened.close()


#: source type, target type -> (source, target, are they the same?)
PAIRS: dict[str, tuple[str, str, list[tuple[str | None, str | None, bool]]]] = {
    **{
        f"{source} and {target}": (
            source,
            target,
            [
                ('{"a": 1, "b": [1.0, null]}', '{"b":[1.00,null],"a":1}', True),
                ('{"n": 9007199254740993}', '{"n": 9007199254740992}', False),
                ('{"n": 12345678901234567890.123456789}', '{"n": 12345678901234567890.123456789}', True),
                ('{"n": 0.1}', '{"n": 0.10000000000000001}', False),
                ("1e400", "10e399", True),
                ("[1, 2]", "[2, 1]", False),
                ('"\\u00e9"', '"é"', True),
                ('"é"', '"e\u0301"', False),
                ("null", None, False),
                ("null", "null", True),
                ("{}", "[]", False),
                ("1", "true", False),
                (None, None, True),
            ],
        )
        for source, target in (("jsonb", "jsonb"), ("json", "json"), ("json", "jsonb"), ("text", "jsonb"))
    },
    "json with a key twice": (
        "json",
        "json",
        [('{"a":1,"a":2}', '{"a":2}', False), ('{"a":1,"a":2}', '{ "a":1, "a":2}', True)],
    ),
    "integers": (
        "integer[]",
        "bigint[]",
        [
            ("{1,2,NULL}", "{1,2,NULL}", True),
            ("{1,2,NULL}", "{1,2}", False),
            ("{1,2}", "{2,1}", False),
            ("{}", "{}", True),
            ("{}", None, False),
            ("{{1,2},{3,4}}", "{{1,2},{3,4}}", True),
            ("{{1,2},{3,4}}", "{1,2,3,4}", False),
        ],
    ),
    "numbers": (
        "numeric[]",
        "numeric[]",
        [("{1.0,NaN}", "{1.00,NaN}", True), ("{0.1}", "{0.10000000000000001}", False)],
    ),
    "texts": (
        "text[]",
        "varchar(9)[]",
        [
            ('{a,"b,c","NULL","",NULL}', '{a,"b,c","NULL","",NULL}', True),
            ('{"NULL"}', "{NULL}", False),
            ('{""}', "{}", False),
            ('{"a\\"b\\\\"}', '{"a\\"b\\\\"}', True),
            ("{A}", "{a}", False),
        ],
    ),
    "instants": ("timestamptz[]", "timestamptz[]", [('{"2026-03-01 12:00+00"}', '{"2026-03-01 13:00+01"}', True)]),
    "bytes": (
        "bytea[]",
        "bytea[]",
        [('{"\\\\x00ff"}', '{"\\\\x00ff"}', True), ('{"\\\\x00ff"}', '{"\\\\x00fe"}', False)],
    ),
    "intervals": (
        "interval",
        "interval(6)",
        [
            ("1 month", "1 mons", True),
            ("1 month", "30 days", False),
            ("1 day", "24 hours", False),
            ("1 year -2 months 3 days -04:05:06.5", "10 months 3 days -04:05:06.5", True),
            ("90 seconds", "1 minute 30 seconds", True),
            ("0", "1 microsecond", False),
            ("0", None, False),
        ],
    ),
    "uuid and bytes": (
        "uuid",
        "bytea",
        [
            ("6f1c2d3e-0000-4000-8000-00000000abcd", "\\x6f1c2d3e00004000800000000000abcd", True),
            ("6f1c2d3e-0000-4000-8000-00000000abcd", "\\x6f1c2d3e00004000800000000000abce", False),
            ("6f1c2d3e-0000-4000-8000-00000000abcd", "\\x6f1c2d3e0000400080000000000000", False),
        ],
    ),
    "timestamps of two precisions": (
        "timestamp",
        "timestamp(0)",
        [
            ("2026-03-01 12:00:00", "2026-03-01 12:00:00", True),
            ("2026-03-01 12:00:00.25", "2026-03-01 12:00:00", False),
        ],
    ),
    "single and double": ("real", "double precision", [("0.1", "0.1", True), ("0.1", "0.10000000149011612", False)]),
    "a large float": (
        "bigint",
        "double precision",
        [("1152921504606846976", "1152921504606846976", True), ("1152921504606846977", "1152921504606846976", False)],
    ),
}
#: Differences that a repair cannot write: the target has no such value.
UNWRITABLE = {"timestamps of two precisions", "a large float"}


@pytest.mark.parametrize("name", PAIRS)
def test_by_meaning_inside_a_database_and_across_two(pg_target: World, name: str) -> None:
    source, target, pairs = PAIRS[name]
    world = pg_target
    world.source.sql(f"CREATE TABLE src (id bigint PRIMARY KEY, v {source})")
    world.target.sql(f"CREATE TABLE dst (id bigint PRIMARY KEY, v {target})")
    world.source.insert("src", [(at, pair[0]) for at, pair in enumerate(pairs)])
    world.target.insert("dst", [(at, pair[1]) for at, pair in enumerate(pairs)])
    different = [at for at, pair in enumerate(pairs) if not pair[2]]
    app = world.app()
    assert sorted(row["key"]["id"] for row in app.check("p").drift) == different
    by_key = app.check("p", keys=[{"id": at} for at in range(len(pairs))])
    assert sorted(row["key"]["id"] for row in by_key.drift) == different
    if name not in UNWRITABLE and different:
        assert app.run("p").repaired == len(different)
    if name not in UNWRITABLE:
        assert app.check("p").verdict is Verdict.IN_SYNC


def test_a_document_is_written_as_the_source_spells_it(pg_target: World) -> None:
    pg_target.source.sql("CREATE TABLE src (id int PRIMARY KEY, v json)")
    pg_target.target.sql("CREATE TABLE dst (id int PRIMARY KEY, v json)")
    pg_target.source.sql("""INSERT INTO src VALUES (1, '{"b": 1.50, "a": [ ]}')""")
    assert pg_target.app().run("p").repaired == 1
    assert pg_target.target.sql("SELECT v::text FROM dst") == [('{"b": 1.50, "a": [ ]}',)]


def test_a_document_in_a_text_column_elsewhere(apart: World) -> None:
    """By meaning too; what is no JSON is different, and no error."""
    if "postgresql" not in (apart.source.engine,):
        pytest.skip("the source is the one with documents")
    apart.source.sql("CREATE TABLE src (id bigint PRIMARY KEY, v jsonb)")
    apart.source.insert("src", [(1, '{"a": 1, "b": 2}'), (2, "[1]"), (3, "1.0"), (4, None)])
    held = [(1, '{"b":2,"a":1.0}'), (2, "[1"), (3, "1"), (4, None)]
    apart.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {text}", held)
    app = apart.app()
    assert [row["key"]["id"] for row in app.check("p").drift] == [2]
    assert app.run("p").repaired == 1
    assert (2, "[1]") in apart.target.rows("dst")


def test_text_that_spells_a_number_is_that_number_in_one_file_and_across_two(tmp_path: Path) -> None:
    """SQLite has no decimals: a query that rounds gives text, and `1.50` is 1.5 to whoever reads it."""
    urls = [f"sqlite:///{tmp_path / name}" for name in ("one.db", "other.db")]
    for url in urls:
        place = Sqlite(url)
        place.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, v DECIMAL(9,2))")
        place.sql("INSERT INTO t VALUES (1, 1.5), (2, 2), (3, 0.25), (4, 'x'), (5, NULL), (6, 6)")
    spelt = """SELECT id, CASE id WHEN 3 THEN '0.50' WHEN 4 THEN 'x' WHEN 6 THEN NULL ELSE printf('%.2f', v) END AS v
               FROM t WHERE v IS NOT NULL UNION ALL SELECT 5, NULL"""
    for target in urls:
        for sides in ((f"{urls[0]}#{spelt}", f"{target}#t"), (f"{urls[0]}#t", f"{target}#{spelt}")):
            report = diff(*sides, key="id")
            assert [(row["kind"], row["key"]["id"]) for row in report.drift] == [("different", 3), ("different", 6)]


def test_arrays_of_elements_without_a_rule_are_refused(pg_target: World) -> None:
    pg_target.source.sql("CREATE TABLE src (id int PRIMARY KEY, v int[])")
    pg_target.target.sql("CREATE TABLE dst (id int PRIMARY KEY, v text[])")
    with pytest.raises(
        ConfigError, match=r"cannot be compared exactly: integer\[\] in the source, text\[\] in the target"
    ):
        pg_target.app().check("p")


def test_with_a_zone_and_without_one_is_refused_and_says_why(pg_target: World) -> None:
    pg_target.source.sql("CREATE TABLE src (id int PRIMARY KEY, v timestamp)")
    pg_target.target.sql("CREATE TABLE dst (id int PRIMARY KEY, v timestamptz)")
    with pytest.raises(ConfigError, match="the other does not say in which it is"):
        pg_target.app().check("p")
    named = pg_target.app(source="SELECT id, v AT TIME ZONE 'Europe/Berlin' AS v FROM src")
    assert named.check("p").verdict is Verdict.IN_SYNC


# --- SQLite: a column holds what it was given -------------------------------------------------------------------------


def test_a_value_of_another_type_than_its_column_is_different(world: World) -> None:
    """SQLite keeps text in an integer column. It is neither 5 nor an error."""
    if world.target.engine != "sqlite":
        pytest.skip("columns have types")
    world.source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(1, 5), (2, 6)])
    world.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(1, "five"), (2, 6)])
    app = world.app()
    assert [row["observed"] for row in app.check("p").drift] == [{"v": "five"}]
    assert app.run("p").verdict is Verdict.REPAIRED
    assert world.target.rows("dst") == {(1, 5), (2, 6)}


@pytest.mark.parametrize("spelling", ["2026-03-0{} 12:00:00", "2026-03-0{}T12:00:00"])
def test_a_timestamp_key_is_looked_up_in_the_spelling_of_its_column(world: World, spelling: str) -> None:
    if world.target.engine != "sqlite":
        pytest.skip("timestamps have a type")
    world.source.table("src", "at {timestamp} PRIMARY KEY NOT NULL, v {integer}")
    if world.source.engine == "sqlite":
        world.source.insert("src", [(spelling.format(n), n) for n in range(1, 9)])
    else:
        world.source.insert("src", [(f"2026-03-0{n} 12:00:00", n) for n in range(1, 9)])
    world.target.table("dst", "at {timestamp} PRIMARY KEY NOT NULL, v {integer}")
    world.target.insert("dst", [(spelling.format(n), n + (n == 4)) for n in range(1, 8)])
    report = world.app(key=["at"]).run("p")
    assert (report.different, report.missing, report.extra, report.repaired) == (1, 1, 0, 2)
    assert world.target.rows("dst") == {(spelling.format(n), n) for n in range(1, 9)}


@pytest.mark.parametrize(
    "held", [["2026-03-01 12:00:00", "2026-03-02T12:00:00"], ["2026-03-01T12:00:00", "2026-03-02 12:00:00"]]
)
def test_a_key_column_of_two_spellings_is_refused(apart: World, held: list[str]) -> None:
    """A look-up would miss the other spelling, and call the row missing."""
    if apart.target.engine != "sqlite":
        pytest.skip("timestamps have a type")
    apart.source.table("src", "at {timestamp} PRIMARY KEY NOT NULL, v {integer}")
    apart.source.insert("src", [("2026-03-01 12:00:00", 1), ("2026-03-02 12:00:00", 2)])
    apart.target.table("dst", "at {timestamp} PRIMARY KEY NOT NULL, v {integer}", [(at, 0) for at in held])
    with pytest.raises(TrueupError, match="one spelling"):
        apart.app(key=["at"]).run("p")
    assert apart.target.rows("dst") == {(at, 0) for at in held}


SPELT = {
    "uuid": [f"6f1c2d3e-0000-4000-8000-00000000abc{n}" for n in range(4)],
    "date": [f"2026-03-0{n}" for n in range(1, 5)],
    "timestamp": [f"2026-03-0{n} 12:00:00" for n in range(1, 5)],
}


@pytest.mark.parametrize("kind", SPELT)
@pytest.mark.parametrize("typed", ["source", "target"])
def test_a_key_that_a_text_column_spells(apart: World, kind: str, typed: str) -> None:
    """Found by its key, and found in one spelling only: another one is refused before it is called missing."""
    types = {place: f"{{{kind if place == typed else 'text'}}}" for place in ("source", "target")}
    if typed == "target" and "sqlite" in (apart.source.engine, apart.target.engine):
        pytest.skip("SQLite has no such types")
    keys = SPELT[kind]
    apart.source.table("src", f"id {types['source']} PRIMARY KEY NOT NULL, v {{integer}}")
    apart.target.table("dst", f"id {types['target']} PRIMARY KEY NOT NULL, v {{integer}}")
    apart.source.insert("src", [(key, n) for n, key in enumerate(keys)])
    apart.target.insert("dst", [(key, n + (n == 1)) for n, key in enumerate(keys[:3])])
    report = apart.app().run("p")
    assert (report.verdict, report.different, report.missing, report.repaired) == (Verdict.REPAIRED, 1, 1, 2)
    assert {(str(key), v) for key, v in apart.target.rows("dst")} == {(key, n) for n, key in enumerate(keys)}
    place, table = (apart.target, "dst") if typed == "source" else (apart.source, "src")
    if kind != "date" and place.engine != "duckdb":
        place.sql(f"UPDATE {table} SET id = replace(upper(id), ' ', 'T') WHERE v = 2")
        with pytest.raises(TrueupError, match="one spelling"):
            apart.app().check("p")


def test_an_instant_in_another_zone_is_the_same_instant(apart: World) -> None:
    if "mysql" in (apart.source.engine, apart.target.engine):
        pytest.skip("no zones are written there")
    zones = [(1, "2026-03-01 12:00:00+00:00"), (2, "2026-03-01 13:00:00+01:00"), (3, "2026-03-01 12:00:00+01:00")]
    apart.source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {instant}")
    apart.source.insert("src", [(n, "2026-03-01 12:00:00+00:00") for n in (1, 2, 3)])
    apart.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {instant}", zones)
    report = apart.app().check("p")
    assert [row["key"]["id"] for row in report.drift] == [3]


def test_a_uuid_in_capitals_is_the_same_uuid(apart: World) -> None:
    key = "6f1c2d3e-0000-4000-8000-00000000abcd"
    apart.source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {uuid}", [(1, key), (2, key)])
    apart.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {uuid}", [(1, key.upper()), (2, key[:-1] + "e")])
    report = apart.app().check("p")
    assert [row["key"]["id"] for row in report.drift] == [2]
