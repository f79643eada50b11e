"""What stands in documents, field by field; names of documents; what cannot be a side. Nothing is taken for what it is
not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import OpenSearch

from tests.conformance.beside import Beside
from trueup import Report, Side, Trueup, Verdict, diff
from trueup.adapters import connect
from trueup.adapters import opensearch as adapter
from trueup.adapters._opensearch_fields import found, put
from trueup.core.guarantee import Guarantee
from trueup.core.side import Database
from trueup.errors import ConfigError, TrueupError


class Search(Beside):
    name = "search"

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.client = OpenSearch(url.replace("opensearch://", "http://"))

    def index(self, properties: dict[str, Any], documents: dict[str, str] | None = None, **mapping: Any) -> None:
        self.client.indices.create(index="docs", body={"mappings": {"properties": properties, **mapping}})
        for id_, document in (documents or {}).items():  # sent as they are spelt
            self.client.transport.perform_request("PUT", f"/docs/_doc/{id_}", body=document)

    def app(self, *, side: dict[str, Any] | None = None, **declared: Any) -> Trueup:
        return self.between({"index": "docs", "id": "{id}", **(side or {})}, **declared)

    def kept(self, id_: str = "1") -> Any:
        return self.client.get(index="docs", id=id_)["_source"]


@pytest.fixture
def search(opensearch: str, tmp_path: Path) -> Iterator[Search]:
    made = Search(tmp_path, opensearch)
    yield made
    made.close()
    made.client.close()


# --- kinds ------------------------------------------------------------------------------------------------------------

#: Type of the field; column in SQLite; value there; how a document spells it. They are the same.
SAME = [
    ({"type": "long"}, "BIGINT", "9007199254740993", "9007199254740993"),
    ({"type": "long"}, "BIGINT", "5", "5.0"),
    ({"type": "long"}, "BIGINT", "NULL", "null"),
    ({"type": "double"}, "DOUBLE", "0.1", "0.1"),
    ({"type": "double"}, "DOUBLE", "0.1", "0.1000000000000000055511151231257827"),
    ({"type": "double"}, "DOUBLE", "1e300", "1E+300"),
    ({"type": "scaled_float", "scaling_factor": 100}, "DECIMAL(9,2)", "12.5", "12.50"),
    ({"type": "boolean"}, "BOOLEAN", "1", "true"),
    ({"type": "keyword"}, "TEXT", "'Straße \"x\" \\'", '"Stra\\u00dfe \\"x\\" \\\\"'),
    ({"type": "text"}, "TEXT", "'The Running Foxes'", '"The Running Foxes"'),
    ({"type": "date"}, "TIMESTAMP", "'2026-11-28 10:00:00.123456'", '"2026-11-28T11:00:00.123456+01:00"'),
    ({"type": "date"}, "TIMESTAMP", "'2026-11-28 10:00:00.123'", "1795860000123"),
    ({"type": "date", "format": "epoch_second"}, "TIMESTAMP", "'2026-11-28 10:00:00'", "1795860000"),
    ({"type": "date"}, "TIMESTAMP", "'2026-11-28 10:00:00.123'", '"1795860000123"'),
    ({"type": "date", "format": "epoch_second||epoch_millis"}, "TIMESTAMP", "'2026-11-28 10:00:00'", "1795860000"),
    ({"type": "date", "format": "yyyy-MM-dd"}, "DATE", "'2026-11-28'", '"2026-11-28"'),
    ({"type": "binary"}, "BLOB", "x'00ff10'", '"AP8Q"'),
    ({"type": "object", "enabled": False}, "JSON", """'{"a":[1,2.50]}'""", '{"a":[1,2.5]}'),
]
#: The same, but different.
OTHER = [
    ({"type": "long"}, "BIGINT", "9007199254740993", "9007199254740992"),
    ({"type": "long"}, "BIGINT", "5", '"5"'),
    ({"type": "long"}, "BIGINT", "5", "5.7"),
    ({"type": "long"}, "BIGINT", "5", "[5]"),
    ({"type": "long"}, "BIGINT", "0", "null"),
    ({"type": "double"}, "DOUBLE", "0.1", "0.10000001"),
    ({"type": "scaled_float", "scaling_factor": 100}, "DECIMAL(9,2)", "12.5", "12.501"),
    ({"type": "boolean"}, "BOOLEAN", "1", '"true"'),
    ({"type": "keyword"}, "TEXT", "'5'", "5"),
    ({"type": "keyword"}, "TEXT", "'a'", '["a"]'),
    ({"type": "keyword"}, "TEXT", "NULL", '""'),
    ({"type": "keyword"}, "TEXT", "NULL", "[]"),
    ({"type": "text"}, "TEXT", "'The Running Foxes'", '"the running foxes"'),
    ({"type": "date"}, "TIMESTAMP", "'2026-11-28 10:00:00.123456'", '"2026-11-28T10:00:00.1234567Z"'),
    ({"type": "date"}, "TIMESTAMP", "'2026-11-28 10:00:00'", '"2026-11-28T10:00:00+01:00"'),
    ({"type": "date"}, "TIMESTAMP", "'2026-11-28 00:00:00'", '"20261128"'),  # a number of milliseconds
    ({"type": "date"}, "TIMESTAMP", "'1970-01-01 00:00:02.026'", "2026"),  # a year
    ({"type": "date", "format": "epoch_second||epoch_millis"}, "TIMESTAMP", "'2026-11-28 10:00:00'", "1795860000000"),
]


@pytest.mark.parametrize(("mapping", "type_", "value", "spelt"), SAME)
def test_values_that_are_the_same(search: Search, mapping: dict[str, Any], type_: str, value: str, spelt: str) -> None:
    report = _compared(search, mapping, type_, value, spelt)
    assert (report.verdict, report.target_rows) == (Verdict.IN_SYNC, 1)


@pytest.mark.parametrize(("mapping", "type_", "value", "spelt"), OTHER)
def test_values_that_are_not(search: Search, mapping: dict[str, Any], type_: str, value: str, spelt: str) -> None:
    report = _compared(search, mapping, type_, value, spelt)
    assert (report.verdict, report.different) == (Verdict.DRIFT, 1)
    report = search.app().run("p")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 1)
    assert search.app().check("p").verdict is Verdict.IN_SYNC


def _compared(search: Search, mapping: dict[str, Any], type_: str, value: str, spelt: str) -> Report:
    search.table(f"id INTEGER PRIMARY KEY, v {type_}", f"1, {value}")
    search.index({"v": mapping}, {"1": f'{{"v": {spelt}}}'})
    return search.app().check("p")


def test_every_kind_is_written_as_it_is_read(search: Search) -> None:
    columns = [(f"v{at}", mapping, type_, value) for at, (mapping, type_, value, _) in enumerate(SAME)]
    search.table(
        "id INTEGER PRIMARY KEY, " + ", ".join(f"{name} {type_}" for name, _, type_, _ in columns),
        "1, " + ", ".join(value for _, _, _, value in columns),
    )
    search.index({name: mapping for name, mapping, _, _ in columns})
    report = search.app().run("p")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 1)
    assert search.app().check("p").verdict is Verdict.IN_SYNC
    assert search.kept()["v0"] == 9007199254740993


def test_fields_in_objects_and_under_names_with_dots(search: Search) -> None:
    search.table("id INTEGER PRIMARY KEY, name TEXT", "1, 'a'", "2, 'b'", "3, 'c'", "4, NULL", "5, 'e'")
    author = {"properties": {"name": {"type": "keyword"}, "born": {"type": "long"}}}
    documents = {
        "1": '{"author": {"name": "x", "born": 1900}}',
        "2": '{"author.name": "x"}',
        "3": '{"author": {"born": 1900}}',
        "4": '{"author": {"name": "x", "born": 1900}, "n": 1.50}',
        "5": '{"author": [{"name": "e"}]}',
    }
    search.index({"author": author}, documents)
    app = search.app(side={"columns": {"name": "author.name"}}, columns="name")
    assert app.check("p").different == 5
    report = app.run("p")
    assert (report.repaired, report.left) == (4, 1)  # a list of authors has no one name
    kept = [search.kept(str(number)) for number in (1, 2, 3, 4, 5)]
    assert kept == [
        {"author": {"name": "a", "born": 1900}},
        {"author.name": "b"},
        {"author": {"name": "c", "born": 1900}},
        {"author": {"born": 1900}, "n": 1.5},
        {"author": [{"name": "e"}]},
    ]


def test_paths() -> None:
    document: dict[str, Any] = {"a": {"b.c": 1}, "x": None, "l": [{"m": 1}]}
    assert (found(document, "a.b.c"), found(document, "x.y"), found(document, "l.m")) == (1, None, [{"m": 1}])
    put(document, "a.b.c", 2)
    put(document, "x.y", 3)
    put(document, "q.r.s", None)
    assert document == {"a": {"b.c": 2}, "x": {"y": 3}, "l": [{"m": 1}]}
    with pytest.raises(ValueError, match="holds no object"):
        put(document, "l.m", 4)


def test_a_value_that_json_or_the_field_cannot_hold_is_not_sent(search: Search) -> None:
    search.table("id INTEGER PRIMARY KEY, v BIGINT", "1, 9007199254740993", "2, 5")
    search.index({"v": {"type": "double"}})
    report = search.app().run("p")
    assert (report.repaired, report.left) == (1, 1)
    assert search.kept("2") == {"v": 5}


def test_a_json_null_is_not_sent_for_it_would_be_no_field(search: Search) -> None:
    search.table("id INTEGER PRIMARY KEY, v JSON", "1, 'null'", "2, '[null]'")
    search.index({"v": {"type": "object", "enabled": False}})
    app = search.app()
    report = app.run("p")
    assert (report.repaired, report.left, search.kept("2")) == (1, 1, {"v": [None]})
    assert "give NULL in the source" in app.drift("p")[0].reason


def test_a_key_that_no_id_can_stand_for_is_one_row_that_is_told_of(search: Search) -> None:
    search.table("id TEXT PRIMARY KEY, v BIGINT", "'', 5", f"'{'x' * 600}', 5", "'a', 5")
    search.index({"v": {"type": "long"}})
    app = search.app()
    assert app.check("p").missing == 3
    report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 1, 2)
    assert all("has no id of the form" in row.reason for row in app.drift("p"))


def test_a_document_that_was_made_for_another_row_is_not_deleted(search: Search) -> None:
    search.table("a TEXT, b TEXT, v BIGINT, PRIMARY KEY (a, b)", "'x-y', 'z', 1", "'x', 'z', 1")
    search.index({"v": {"type": "long"}}, {"x-y-z": '{"v": 1}', "q-r-s": '{"v": 1}'})
    report = search.app(side={"id": "{a}-{b}"}, key=["a", "b"]).run("p")
    assert (report.extra, report.repaired, report.left) == (2, 2, 2)
    assert search.kept("x-y-z") == {"v": 1}


def test_declared_types(search: Search) -> None:
    search.table("id INTEGER PRIMARY KEY, price DECIMAL(9,2), tags JSON", "1, '12.50', '[\"a\",\"b\"]'")
    search.index(
        {"price": {"type": "keyword"}, "tags": {"type": "keyword"}}, {"1": '{"price":"12.5","tags":["a","b"]}'}
    )
    declared = {"types": {"price": "decimal", "tags": "json"}}
    assert search.app(side=declared).check("p").verdict is Verdict.IN_SYNC
    search.db.sql("UPDATE src SET price = '13.75', tags = '[\"c\"]'")
    assert search.app(side=declared).run("p").repaired == 1
    assert search.kept() == {"price": "13.75", "tags": ["c"]}


def test_a_row_without_compared_columns_is_one_that_is_there(search: Search) -> None:
    search.table("id INTEGER PRIMARY KEY", "1", "2")
    search.index({"v": {"type": "long"}}, {"1": "{}", "9": "{}"})
    report = search.app(columns=[]).run("p")
    assert (report.missing, report.extra, report.repaired) == (1, 1, 2)


# --- versions ---------------------------------------------------------------------------------------------------------


def test_versions_alone_are_compared_without_contents(search: Search) -> None:
    search.table("id INTEGER PRIMARY KEY, version BIGINT", "1, 7", "2, 8", "3, 1")
    search.index({"v": {"type": "long"}})
    for id_, version in (("1", 7), ("2", 6), ("4", 1)):
        search.client.index(index="docs", id=id_, body={"v": 1}, version=version, version_type="external")
    report = search.app(side={"columns": {"version": "_version"}}, columns=["version"], writers="versioned").check("p")
    assert (report.missing, report.extra, report.different) == (1, 1, 1)


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["", "_shard_doc", "number"])
def test_pages(search: Search, sort: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "PAGE", 7)
    search.table("id INTEGER PRIMARY KEY, number BIGINT", *(f"{number}, {number}" for number in range(50)))
    search.index({"number": {"type": "long"}}, {str(number): f'{{"number": {number}}}' for number in range(50)})
    report = search.app(side={"sort": sort}).check("p")
    assert (report.verdict, report.target_rows) == (Verdict.IN_SYNC, 50)


def test_a_field_to_page_by_that_does_not_tell_documents_apart_is_noticed(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "PAGE", 3)
    search.table("id INTEGER PRIMARY KEY, same BIGINT", *(f"{number}, 1" for number in range(10)))
    search.index({"same": {"type": "long"}}, {str(number): '{"same": 1}' for number in range(10)})
    with pytest.raises(TrueupError, match="'same'"):
        search.app(side={"sort": "same"}).check("p")


def test_keys_of_several_columns(search: Search) -> None:
    search.table(
        "day DATE, user TEXT, n BIGINT, PRIMARY KEY (day, user)", "'2026-11-27', 'ä/b', 1", "'2026-11-28', 'c', 2"
    )
    search.index({"n": {"type": "long"}}, {"2026-11-27:%C3%A4%2Fb": '{"n": 1}'})
    app = search.app(side={"id": "{day}:{user}", "types": {"day": "date"}}, key=["day", "user"])
    assert app.run("p").repaired == 1
    assert search.kept("2026-11-28:c") == {"n": 2}
    assert app.check("p").verdict is Verdict.IN_SYNC


def test_documents_with_other_names_are_not_left_out_in_silence(search: Search) -> None:
    search.table("id INTEGER PRIMARY KEY, n BIGINT", "1, 1")
    search.index({"n": {"type": "long"}}, {"1": '{"n": 1}', "01": '{"n": 1}', "total": '{"n": 1}'})
    report = search.app().run("p")
    assert (report.verdict, report.repaired) == (Verdict.INCONCLUSIVE, 0)
    assert "2 documents of 'docs' have ids that are not of the form '{id}': '01' (" in report.reason


def test_a_source_too(search: Search) -> None:
    search.table("id INTEGER PRIMARY KEY, n BIGINT", "1, 1")
    search.index({"n": {"type": "long"}}, {"1": '{"n": 2}'})
    report = diff(f"{search.url}#docs id={{id}}", f"{search.db.url}#src", key="id")
    assert (report.different, report.source_rows) == (1, 1)


# --- what cannot be a side --------------------------------------------------------------------------------------------

UNFIT: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"index": "nothing"}, {}, "there is no index 'nothing'"),
    ({"index": "docs,other"}, {}, "is not the name of one index"),
    ({"index": "do*"}, {}, "is not the name of one index"),
    ({"index": "both"}, {}, "alias of 2 indexes"),
    ({"index": "some"}, {}, "alias with a filter"),
    ({"id": ""}, {}, "say how the documents are named"),
    ({"id": "docs"}, {}, "is one document"),
    ({"types": {"n": "number"}}, {}, "no type of a value"),
    ({"columns": {"n": "nn"}}, {}, "no column 'nn'"),
    ({}, {"_source": {"enabled": False}}, "does not keep documents whole"),
    ({}, {"_source": {"excludes": ["n"]}}, "does not keep documents whole"),
    ({}, {"_routing": {"required": True}}, "routed by something else"),
]


@pytest.mark.parametrize(("side", "mapping", "told"), UNFIT)
def test_what_cannot_be_a_side(search: Search, side: dict[str, Any], mapping: dict[str, Any], told: str) -> None:
    search.table("id INTEGER PRIMARY KEY, n BIGINT", "1, 1")
    search.index({"n": {"type": "long"}}, **mapping)
    search.client.indices.create(index="other")
    search.client.indices.put_alias(index=["docs", "other"], name="both")
    search.client.indices.put_alias(index="docs", name="some", body={"filter": {"term": {"n": 1}}})
    with pytest.raises(ConfigError, match=told):
        search.app(side=side, columns="n").check("p")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("opensearch+ftp://host", "is no scheme"),
        ("opensearch:///docs", "not of the form"),
        ("opensearch://host:9200/docs", "not of the form"),
        ("opensearch://host?verifi=false", "'verifi' is no setting"),
        ("opensearch+https://host?verify=no", "write true or false"),
    ],
)
def test_urls(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        connect("search", Database(url=url)).describe(Side(database="search", index="docs", id="{id}"))


def test_an_alias_of_one_index_is_that_index(search: Search) -> None:
    search.table("id INTEGER PRIMARY KEY, n BIGINT", "1, 1")
    search.index({"n": {"type": "long"}})
    search.client.indices.put_alias(index="docs", name="current")
    assert search.app(side={"index": "current"}).run("p").repaired == 1
    assert search.kept() == {"n": 1}


def test_what_a_repair_sends_is_said(search: Search) -> None:
    search.table("id INTEGER PRIMARY KEY, n BIGINT")
    search.index({"n": {"type": "long"}})
    told = search.app().statements("p")
    assert any('"if_seq_no": :seq_no' in statement for statement in told.values())
    assert search.app().explain("p").promise.guarantee is Guarantee.EXACT
