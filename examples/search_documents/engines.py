"""The search engines that the example can play with. Documents are whole: a number, a title, a body, and tags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from examples._kit import Database
from tests.searching import groonga_do

#: Number, title, body, tags.
Document = tuple[int, str, str, str]
FIELDS = ("title", "body", "tags")


class Engine(Protocol):
    """What an indexer and a search box need."""

    def make(self) -> None: ...
    def put(self, documents: Iterable[Document]) -> None: ...
    def drop(self, number: int) -> None: ...
    def held(self) -> set[Document]: ...
    def find(self, word: str) -> set[int]:
        """Numbers of the documents that a search for the word shows."""

    def close(self) -> None: ...


class Fts5:
    """A table in a file of its own."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)

    def make(self) -> None:
        self.db.script("CREATE VIRTUAL TABLE articles_fts USING fts5(title, body, tags)")

    def put(self, documents: Iterable[Document]) -> None:
        self.db.many(
            "INSERT OR REPLACE INTO articles_fts (rowid, title, body, tags) VALUES (?, ?, ?, ?)", list(documents)
        )

    def drop(self, number: int) -> None:
        self.db.run("DELETE FROM articles_fts WHERE rowid = ?", number)

    def held(self) -> set[Document]:
        return {(n, title, body, tags) for n, title, body, tags in self.db.run("SELECT rowid, * FROM articles_fts")}

    def find(self, word: str) -> set[int]:
        return {n for (n,) in self.db.run("SELECT rowid FROM articles_fts WHERE articles_fts MATCH ?", word)}

    def close(self) -> None:
        self.db.close()


class Groonga:
    """A server, asked over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url

    def make(self) -> None:
        do = groonga_do
        do(self.url, "table_create", name="Articles", flags="TABLE_PAT_KEY", key_type="Int64")
        words: dict[str, Any] = {
            "key_type": "ShortText",
            "default_tokenizer": "TokenBigram",
            "normalizer": "NormalizerAuto",
        }
        do(self.url, "table_create", name="Words", flags="TABLE_PAT_KEY", **words)
        for column in FIELDS:
            do(self.url, "column_create", table="Articles", name=column, flags="COLUMN_SCALAR", type="Text")
            index: dict[str, Any] = {"flags": "COLUMN_INDEX|WITH_POSITION", "type": "Articles", "source": column}
            do(self.url, "column_create", table="Words", name=f"articles_{column}", **index)

    def put(self, documents: Iterable[Document]) -> None:
        rows = [dict(zip(("_key", *FIELDS), document, strict=True)) for document in documents]
        groonga_do(self.url, "load", rows, table="Articles")

    def drop(self, number: int) -> None:
        groonga_do(self.url, "delete", table="Articles", key=number)

    def held(self) -> set[Document]:
        return {(n, title, body, tags) for n, title, body, tags in self._select("_key,title,body,tags")}

    def find(self, word: str) -> set[int]:
        return {n for (n,) in self._select("_key", match_columns="title||body||tags", query=word)}

    def _select(self, columns: str, **asked: Any) -> list[list[Any]]:
        """Rows; the answer begins with how many there are, and what the columns are called."""
        answer = groonga_do(self.url, "select", table="Articles", limit=-1, output_columns=columns, **asked)
        return list(answer[0][2:])

    def close(self) -> None:
        """Each request has a connection of its own."""


class OpenSearch:
    """A server that speaks OpenSearch's protocol."""

    def __init__(self, url: str) -> None:
        from opensearchpy import OpenSearch as Client  # the other engines do without

        self.client = Client(url.replace("opensearch://", "http://"))

    def make(self) -> None:
        mapping = {"properties": {field: {"type": "text"} for field in FIELDS}}
        self.client.indices.create(index="articles", body={"mappings": mapping})

    def put(self, documents: Iterable[Document]) -> None:
        items: list[dict[str, Any]] = []
        for number, *texts in documents:
            items += {"index": {"_id": str(number)}}, dict(zip(FIELDS, texts, strict=True))
        answer = self.client.bulk(index="articles", body=items)
        assert not answer["errors"], answer

    def drop(self, number: int) -> None:
        self.client.delete(index="articles", id=str(number), params={"ignore": 404})

    def held(self) -> set[Document]:
        hits = self._search({"match_all": {}})
        return {(int(hit["_id"]), *(hit["_source"][field] for field in FIELDS)) for hit in hits}

    def find(self, word: str) -> set[int]:
        return {int(hit["_id"]) for hit in self._search({"multi_match": {"query": word, "fields": FIELDS}})}

    def _search(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        """What was written a moment ago can be found only after a refresh."""
        self.client.indices.refresh(index="articles")
        answer = self.client.search(index="articles", body={"query": query, "size": 10_000})
        return list(answer["hits"]["hits"])

    def close(self) -> None:
        self.client.close()
