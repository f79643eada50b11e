"""Stores without tables as the conformance tests reach them: past the engine, through the driver.

An adapter of such a store joins by an entry in `STORES`; one without an entry fails `test_discovery`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import redis
from opensearchpy import OpenSearch

from tests.conformance import pythonic
from tests.searching import groonga_do
from trueup import Side
from trueup.core.guarantee import Guarantee


class Store:
    """Rows `(id, n)` in one store."""

    #: Name of the adapter.
    engine: str
    #: What a repair of it promises at best.
    guarantee = Guarantee.EXACT

    def __init__(self, url: str) -> None:
        self.url = url

    def side(self, database: str, **declared: Any) -> Side:
        """Where the rows are."""
        raise NotImplementedError

    def put(self, rows: Iterable[tuple[int, int]]) -> None:
        """What an application does: set rows."""
        raise NotImplementedError

    def drop(self, *ids: int) -> None:
        raise NotImplementedError

    def rows(self) -> dict[int, int]:
        raise NotImplementedError


class RedisStrings(Store):
    engine = "redis"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = redis.Redis.from_url(url)

    def side(self, database: str, **declared: Any) -> Side:
        return Side(database=database, pattern="row:{id}", **declared)

    def put(self, rows: Iterable[tuple[int, int]]) -> None:
        for id_, n in rows:
            self.client.set(f"row:{id_}", n)

    def drop(self, *ids: int) -> None:
        self.client.delete(*(f"row:{id_}" for id_ in ids))

    def rows(self) -> dict[int, int]:
        return {int(name[4:]): int(self.client.get(name) or 0) for name in self.client.keys("row:*")}


class Index(Store):
    engine = "opensearch"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = OpenSearch(url.replace("opensearch://", "http://"))
        self.client.indices.create(index="rows", body={"mappings": {"properties": {"n": {"type": "long"}}}})

    def side(self, database: str, **declared: Any) -> Side:
        return Side(database=database, index="rows", id="{id}", **declared)

    def put(self, rows: Iterable[tuple[int, int]]) -> None:
        lines = [part for id_, n in rows for part in ({"index": {"_id": str(id_)}}, {"n": n})]
        if lines:
            assert not self.client.bulk(body=lines, index="rows")["errors"]

    def drop(self, *ids: int) -> None:
        self.client.bulk(body=[{"delete": {"_id": str(id_)}} for id_ in ids], index="rows")

    def rows(self) -> dict[int, int]:
        self.client.indices.refresh(index="rows")
        found = self.client.search(index="rows", body={"size": 10_000})["hits"]["hits"]
        return {int(hit["_id"]): hit["_source"]["n"] for hit in found}


class Records(Store):
    engine = "groonga"
    guarantee = Guarantee.CONVERGENT

    def __init__(self, url: str) -> None:
        super().__init__(url)
        groonga_do(url, "table_create", name="Rows", flags="TABLE_PAT_KEY", key_type="Int64")
        groonga_do(url, "column_create", table="Rows", name="n", flags="COLUMN_SCALAR", type="Int64")

    def side(self, database: str, **declared: Any) -> Side:
        return Side(database=database, table="Rows", columns={"id": "_key"}, **declared)

    def put(self, rows: Iterable[tuple[int, int]]) -> None:
        groonga_do(self.url, "load", [{"_key": id_, "n": n} for id_, n in rows], table="Rows")

    def drop(self, *ids: int) -> None:
        for id_ in ids:
            groonga_do(self.url, "delete", table="Rows", key=id_)

    def rows(self) -> dict[int, int]:
        found = groonga_do(self.url, "select", table="Rows", output_columns="_key,n", limit=-1)[0][2:]
        return dict(found)


class Functions(Store):
    engine = "python"
    guarantee = Guarantee.CONVERGENT

    def side(self, database: str, **declared: Any) -> Side:
        return Side(python="tests.conformance.pythonic:rows", **declared)

    def put(self, rows: Iterable[tuple[int, int]]) -> None:
        pythonic.HELD.update(rows)

    def drop(self, *ids: int) -> None:
        for id_ in ids:
            del pythonic.HELD[id_]

    def rows(self) -> dict[int, int]:
        return dict(pythonic.HELD)


#: Adapter -> how the tests reach its store, and the fixture that gives the URL of an empty one.
STORES: Mapping[str, tuple[Callable[[str], Store], str]] = {
    "redis": (RedisStrings, "redis"),
    "opensearch": (Index, "opensearch"),
    "groonga": (Records, "groonga"),
    "python": (Functions, "python_rows"),
}
