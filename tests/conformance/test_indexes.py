"""The index that `explain` and `doctor` name: made as it is written, it does what was said of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.worlds import Mysql, Place, Postgresql
from tests.conftest import Pair as Databases
from trueup import Database, Projection, Side, Trueup, Verdict
from trueup.access import surveys_of
from trueup.adapters import _mysql_survey, _postgresql_survey
from trueup.indexes import that_pay

ROWS = 20_000
COUNTED = "SELECT post_id, count(*) AS likes FROM likes WHERE state = 'on' GROUP BY post_id"


@pytest.fixture(autouse=True)
def _long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is long enough to be cut is much less here."""
    monkeypatch.setattr(_postgresql_survey, "SEGMENT_ROWS", 2_000)
    monkeypatch.setattr(_postgresql_survey, "COST_PER_SEGMENT", 200.0)
    monkeypatch.setattr(_mysql_survey, "SEGMENT_ROWS", 2_000)


class Sides:
    """Two databases, or one, with a table of many rows in each."""

    def __init__(self, source: Place, target: Place, folder: Path) -> None:
        self.source, self.target, self.folder = source, target, folder
        self.opened: list[Trueup] = []

    def tables(self, columns: str) -> None:
        rows = [(n * 7919 % ROWS, f"name {n}", n % 13) for n in range(ROWS)]
        for place, table in ((self.source, "src"), (self.target, "dst")):
            place.table(table, columns, rows)
            place.analyze(table)

    def app(self, **declared: Any) -> Trueup:
        one = self.source is self.target
        values: dict[str, Any] = {
            "source": Side(database="a", table="src"),
            "target": Side(database="a" if one else "b", table="dst"),
            "key": ["id"],
            "settle": 0,
        }
        databases = {"a": Database(url=self.source.url)} | ({} if one else {"b": Database(url=self.target.url)})
        ledger = f"sqlite:///{self.folder / f'ledger{len(self.opened)}.db'}"
        projection = Projection(name="p", **(values | declared))
        self.opened.append(Trueup(databases=databases, projections=[projection], ledger=ledger))
        return self.opened[-1]

    def told(self, **declared: Any) -> list[str]:
        """What `explain` says of indexes, and `doctor` as well."""
        app = self.app(**declared)
        told = [why for why in app.explain("p").route.reasons if "CREATE" in why]
        (diagnosis,) = app.doctor("p").diagnoses
        assert [finding.remedy for finding in diagnosis.findings if finding.check == "index"] == told
        return told


def make(place: Place, sentence: str) -> None:
    """Carry out what a sentence ends with."""
    for statement in ("CREATE" + sentence.partition("CREATE")[2]).split("; "):
        place.sql(statement)


@pytest.fixture
def sides(request: pytest.FixtureRequest, postgres_pair: Databases, tmp_path: Path) -> Iterator[Sides]:
    kind = getattr(request, "param", "two")
    source: Place = Postgresql(postgres_pair.source)
    target: Place = source if kind == "one" else Postgresql(postgres_pair.target)
    if kind == "mysql":
        target = Mysql(request.getfixturevalue("mariadb"))
    made = Sides(source, target, tmp_path)
    yield made
    for app in made.opened:
        app.close()


@pytest.mark.parametrize("sides", ["one"], indirect=True)
def test_one_that_covers_a_query_lets_key_ranges_be_read(sides: Sides) -> None:
    likes = [(n, n * 7919 % 500, "on" if n % 9 else "off", "x" * 90) for n in range(ROWS)]
    sides.source.table("likes", "id {integer} PRIMARY KEY, post_id {integer}, state {text}, pad {text}", likes)
    sides.source.table("dst", "post_id {integer} PRIMARY KEY NOT NULL, likes {integer}")
    sides.source.sql(f"INSERT INTO dst {COUNTED}")
    for table in ("likes", "dst"):
        sides.source.analyze(table)
    declared = {"source": Side(database="a", query=COUNTED), "key": ["post_id"]}
    (sentence,) = sides.told(**declared)
    assert sentence.startswith("an index that covers the query lets key ranges be read, in about half the time: ")
    before = sides.app(**declared).explain("p").route.segments
    make(sides.source, sentence)
    assert sides.told(**declared) == []
    assert len(sides.app(**declared).explain("p").route.segments) > len(before)
    assert sides.app(**declared).check("p").verdict is Verdict.IN_SYNC


def counted(sides: Sides) -> dict[str, Any]:
    """Likes, and what they come to in a table beside them: what is declared of both."""
    sides.source.table(
        "likes", "id {integer} PRIMARY KEY, post_id {integer}, state {text}", [(n, n % 500, "on") for n in range(ROWS)]
    )
    sides.source.table("dst", "post_id {integer} PRIMARY KEY NOT NULL, likes {integer}")
    sides.source.sql(f"INSERT INTO dst {COUNTED}")
    for table in ("likes", "dst"):
        sides.source.analyze(table)
    return {"source": Side(database="a", query=COUNTED), "key": ["post_id"]}


@pytest.mark.parametrize("sides", ["one"], indirect=True)
def test_one_that_is_there_and_not_taken_is_not_named(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    declared = counted(sides)
    monkeypatch.setattr(_postgresql_survey, "RANGES_PAY_BELOW", 0.0)  # the planner takes none
    (sentence,) = sides.told(**declared)
    make(sides.source, sentence)
    assert sides.told(**declared) == []


@pytest.mark.parametrize("sides", ["one"], indirect=True)
def test_none_for_ranges_where_keys_are_not_cut(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """A little more than one segment is one pass, with the index or without; and of a query no keys are known."""
    declared = counted(sides)
    assert len(sides.told(**declared)) == 1
    assert sides.told(**declared, target=Side(database="a", query="SELECT * FROM dst")) == []
    app = sides.app(**declared)
    (survey,) = surveys_of(app.pair(app.binding("p", writing=False)))
    monkeypatch.setattr(_postgresql_survey, "COST_PER_SEGMENT", survey.whole / 1.2)
    assert sides.told(**declared) == []


@pytest.mark.parametrize(
    ("cut", "again", "told"),
    [("id", "", 2), ("v", "", 0), ("(id + 1)", "", 0), ("id", "PARTITION BY RANGE (v)", 0)],
)
def test_a_unique_one_that_partitions_do_not_allow_is_not_named(sides: Sides, cut: str, again: str, told: int) -> None:
    sides.tables("id {integer} NOT NULL, name {text}, v {integer}")
    sides.source.sql("ALTER TABLE src RENAME TO plain")
    sides.source.sql(f"CREATE TABLE src (LIKE plain) PARTITION BY RANGE ({cut})")
    sides.source.sql(f"CREATE TABLE part PARTITION OF src DEFAULT {again}")
    if again:
        sides.source.sql("CREATE TABLE part_of_it PARTITION OF part DEFAULT")
    sides.source.sql("INSERT INTO src SELECT * FROM plain")
    sides.source.analyze("src")
    sentences = sides.told()
    assert len(sentences) == told
    for place, sentence in zip((sides.source, sides.target), sentences, strict=False):
        make(place, sentence)


@pytest.mark.parametrize("sides", ["mysql"], indirect=True)
def test_a_unique_one_is_not_named_for_partitions_of_mysql(sides: Sides) -> None:
    sides.tables("id {integer} NOT NULL, name {text}, v {integer}")
    assert len(sides.told()) == 2
    sides.target.sql("ALTER TABLE dst PARTITION BY HASH (v) PARTITIONS 2")
    assert sides.told() == []


@pytest.mark.parametrize("sides", ["one"], indirect=True)
def test_none_where_texts_are_put_in_order(sides: Sides) -> None:
    """Keys are compared byte by byte, and the database sorts them otherwise."""
    named = [(n, f"name {n % 500}", "on") for n in range(ROWS)]
    sides.source.table("likes", "id {integer} PRIMARY KEY, post_id {text}, state {text}", named)
    sides.source.table("dst", "post_id {text} PRIMARY KEY NOT NULL, likes {integer}")
    sides.source.analyze("likes")
    assert sides.told(source=Side(database="a", query=COUNTED), key=["post_id"]) == []


def test_none_for_a_table_of_a_few_rows(sides: Sides) -> None:
    """Though its key may be NULL, so that one range is less than everything."""
    for place, table in ((sides.source, "src"), (sides.target, "dst")):
        place.table(table, "id {integer}, v {integer}", [(1, 1), (2, 2)])
        place.analyze(table)
    assert sides.told() == []


@pytest.mark.parametrize("sides", ["one"], indirect=True)
def test_a_unique_one_spares_a_look_for_repeats(sides: Sides) -> None:
    sides.tables("id {integer}, name {text}, v {integer}")
    told = sides.told()
    assert [why.partition(": ")[2] for why in told] == [
        'CREATE UNIQUE INDEX ON "src" ("id")',
        'CREATE UNIQUE INDEX ON "dst" ("id")',
    ]
    for sentence in told:
        make(sides.source, sentence)
    assert sides.told() == []


@pytest.mark.parametrize(("sides", "share"), [("two", "a tenth"), ("mysql", "a third")], indirect=["sides"])
def test_a_unique_one_lets_two_databases_be_digested(sides: Sides, share: str) -> None:
    sides.tables("id {integer} NOT NULL, name {text}, v {integer}")
    told = sides.told()
    assert [why.partition(":")[0] for why in told] == ["source", "target"]
    assert all(f"in about {share} of the time" in why for why in told)
    assert "side by side" in sides.app().explain("p").route.strategy
    for place, sentence in zip((sides.source, sides.target), told, strict=True):
        make(place, sentence)
    assert "digests" in sides.app().explain("p").route.strategy
    assert sides.told() == []


@pytest.mark.parametrize(
    "declared",
    [
        {"tolerance": {"v": "1"}},
        {"nulls": {"v": "unknown"}},
        {"exact": True},
        {"target": Side(database="b", query="SELECT * FROM dst")},
        {"partition": {"by": "column", "column": "v"}},
    ],
    ids=str,
)
def test_none_that_would_not_pay(sides: Sides, declared: dict[str, Any]) -> None:
    """Positive control: it is named for the same tables without that."""
    sides.tables("id {integer} NOT NULL, name {text}, v {integer}")
    assert len(sides.told()) == 2
    assert sides.told(**declared) == []


@pytest.mark.parametrize(("step", "how"), [(1, "key ranges"), (7919, "one pass a side")], ids=["in order", "scattered"])
def test_digests_need_no_order(sides: Sides, step: int, how: str) -> None:
    """Ranges of keys that lie scattered read the same pages again and again, and one pass has nothing to sort."""
    for place, table in ((sides.source, "src"), (sides.target, "dst")):
        place.table(
            table, "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(n * step % ROWS, n) for n in range(ROWS)]
        )
        place.analyze(table)
    app = sides.app()
    assert how in app.explain("p").route.strategy
    binding = app.binding("p", writing=False)
    for side, name in ((binding.source, "a"), (binding.target, "b")):
        wholes = [app._adapter(name).survey(binding, (side,), ordered=ordered).whole for ordered in (False, True)]
        assert wholes[0] < 0.6 * wholes[1], "what order costs counts only where it is wanted"
    assert app.check("p").verdict is Verdict.IN_SYNC


@pytest.mark.parametrize("sides", ["one"], indirect=True)
@pytest.mark.parametrize(("most", "how"), [(ROWS, "one pass"), (ROWS // 2, "key ranges")])
def test_many_rows_in_key_order_are_compared_by_range(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, most: int, how: str
) -> None:
    monkeypatch.setattr(_postgresql_survey, "DIGESTED_IN_ORDER_ROWS", most)
    monkeypatch.setattr(_postgresql_survey, "IN_ORDER_BELOW", 3.0)  # to begin a range counts for more where it is small
    for table in ("src", "dst"):
        sides.source.table(table, "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(n, n) for n in range(ROWS)])
        sides.source.analyze(table)
    assert how in sides.app().explain("p").route.strategy
    assert sides.app().check("p").verdict is Verdict.IN_SYNC


def test_none_for_a_small_table(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_postgresql_survey, "SEGMENT_ROWS", 2 * ROWS)
    sides.tables("id {integer} NOT NULL, name {text}, v {integer}")
    app = sides.app()
    assert that_pay(app.pair(app.binding("p", writing=False))) == []
