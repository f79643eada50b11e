"""Databases of other encodings than UTF-8: the same texts are the same, in the same order, or it is said that not."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

import trueup
from tests.live.harness import WIDE
from tests.servers import Pair, Postgres, run_sql, with_database
from trueup import Database, Projection, Side, Verdict, diff
from trueup.adapters import _postgresql_survey, connect
from trueup.adapters._postgresql_relations import _CODECS
from trueup.adapters.postgresql import PostgresqlAdapter
from trueup.core.binding import bind
from trueup.core.plan import Range
from trueup.errors import BrokenRead, DataProblem

#: Encoding -> words that it has; ordered by its own bytes most of them would stand elsewhere.
WORDS = {
    "LATIN1": ["a", "z", "é", "ß", "À", "ÿ"],
    "WIN1252": ["a", "z", "é", "€", "Œ", "ÿ", "™", "ž"],
    "LATIN2": ["a", "z", "ą", "Ł", "ž", "é", "˝"],
    "EUC_JP": ["a", "z", "日本", "ア", "ー", "漢"],
    "SQL_ASCII": ["a", "z", "é", "日本"],
}
#: Words that a database in UTF-8 has besides, as keys; LATIN1, WIN1252 and LATIN2 have no such letters.
BEYOND = ["Ω", "漢", "zΩ"]
#: Not UTF-8; a database in SQL_ASCII holds them.
BROKEN = b"\xe9t\xe9"


def made(server: Postgres, encoding: str) -> Iterator[str]:
    name = f"trueup_test_{encoding.lower()}_{secrets.token_hex(4)}"
    run_sql(server.admin_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    yield with_database(server.admin_url, name)
    run_sql(server.admin_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=WORDS)
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(encoding: str, postgres: str, postgres_server: Postgres) -> Iterator[Pair]:
    """The same words in a database of an encoding, and in UTF-8."""
    for url in made(postgres_server, encoding):
        for each in (url, postgres):
            fill(each, [(word, f"{word}!") for word in WORDS[encoding]])
        yield Pair(source=url, target=postgres)


@pytest.fixture
def ascii_(postgres_server: Postgres) -> Iterator[str]:
    yield from made(postgres_server, "SQL_ASCII")


def fill(url: str, rows: list[tuple[str, str]]) -> None:
    with psycopg.connect(url, client_encoding="UTF8") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS t (id text PRIMARY KEY, v text)")
        cursor.executemany("INSERT INTO t VALUES (%s, %s)", rows)


def found(source: str, target: str, **more: Any) -> dict[str, str]:
    return {row["key"]["id"]: row["kind"] for row in diff(f"{source}#t", f"{target}#t", key="id", **more).drift}


@pytest.mark.parametrize("exact", [False, True], ids=["as it likes", "values"])
def test_the_same_words_are_the_same(pair: Pair, exact: bool) -> None:
    assert found(*pair, exact=exact) == found(*reversed(pair), exact=exact) == found(pair.source, pair.source) == {}
    run_sql(pair.target, "UPDATE t SET v = 'other' WHERE id = 'z'", "DELETE FROM t WHERE id = 'a'")
    assert found(*pair, exact=exact) == {"z": "different", "a": "missing"}


@pytest.mark.parametrize("settle", [0, "1ms"], ids=["one look", "two"])
def test_words_that_one_side_cannot_have(pair: Pair, encoding: str, settle: str) -> None:
    """As keys they are looked up there all the same, and as ends of ranges."""
    if encoding == "EUC_JP":
        pytest.skip("it has these letters")
    fill(pair.target, [(word, word) for word in BEYOND])
    assert found(*pair, settle=settle) == dict.fromkeys(BEYOND, "extra")
    assert found(*reversed(pair), settle=settle) == dict.fromkeys(BEYOND, "missing")


def test_cut_into_many_ranges(pair: Pair, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose ends come from the side in UTF-8, and are letters that the other has not."""
    monkeypatch.setattr(_postgresql_survey, "SEGMENT_ROWS", 3)
    monkeypatch.setattr(_postgresql_survey, "RANGES_PAY_BELOW", 1e9)
    monkeypatch.setattr(_postgresql_survey, "SERVED_BELOW", 1e9)
    fill(pair.target, [(f"Ω{n:02}", "") for n in range(20)])
    run_sql(pair.target, "ANALYZE t")
    run_sql(pair.target, "UPDATE t SET v = 'other' WHERE id = 'z'")
    expected = {f"Ω{n:02}": "missing" for n in range(20)} | {"z": "different"}
    assert found(*reversed(pair)) == expected
    assert diff(f"{pair.target}#t", f"{pair.source}#t", key="id").segments["planned"] > 3


@pytest.mark.parametrize("encoding", ["WIN1252"])
def test_a_range_has_the_same_rows_for_who_only_streams(pair: Pair) -> None:
    """A worker is handed what others found out of a side, and describes nothing: its first statement is of a range."""
    side = Side(database="app", table="t")
    with closing(connect("app", Database(url=pair.source))) as describing:
        projection = Projection(name="t", source=side, target=side, key=["id"])
        binding = bind(projection, describing.describe(side), describing.describe(side), writing=False)
    between = Range(lower=("ÿ",), upper=("€",))  # in the order of UTF-8; in the database's own it is empty
    with closing(connect("app", Database(url=pair.source))) as fresh:
        batches = list(fresh.stream(binding, binding.source, between, tokens=False))
    assert [batch.keys for batch in batches] == [(["ÿ", "Œ", "ž"],)]


def test_a_repair(pair: Pair, tmp_path: Any) -> None:
    """Also of rows that are looked up by a key with letters of their own."""
    run_sql(pair.source, "UPDATE t SET v = 'other'", "DELETE FROM t WHERE id = 'z'")
    sides = {"source": Side(database="a", table="t"), "target": Side(database="b", table="t")}
    how = {"writers": "absolute", "on_extra": "delete", "settle": 0, "limits": WIDE}
    databases = {"a": pair.target, "b": pair.source}
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    projection = Projection(name="t", key=["id"], **sides, **how)
    with trueup.Trueup(databases=databases, projections=[projection], ledger=ledger) as app:
        assert app.run("t").verdict == "repaired"
    assert found(*pair) == {}


@pytest.mark.parametrize("encoding", [name for name in _CODECS if name.startswith(("LATIN", "ISO", "WIN", "KOI"))])
def test_python_knows_the_letters_of_each_encoding_as_the_server_does(encoding: str, postgres: str) -> None:
    """A key that is taken for one that the database cannot have is not looked up."""
    adapter = connect("app", Database(url=postgres))
    assert isinstance(adapter, PostgresqlAdapter)
    adapter.relations.encoding = encoding
    with psycopg.connect(postgres, autocommit=True) as connection:
        for byte in range(128, 256):
            try:
                (letter,) = connection.execute("SELECT convert_from(%s, %s)", (bytes([byte]), encoding)).fetchone()  # type: ignore[misc]
            except psycopg.DataError:
                continue
            assert adapter.relations.has(letter), (hex(byte), letter)
    adapter.close()


def test_by_its_own_bytes_text_would_be_in_another_order(pair: Pair, encoding: str) -> None:
    """Positive control: but in LATIN1, which is ordered alike."""
    shown = []
    for url in pair:
        with psycopg.connect(url, client_encoding="UTF8") as connection:
            shown.append(connection.execute('SELECT id FROM t ORDER BY id COLLATE "C"').fetchall())
    assert (shown[0] == shown[1]) is (encoding in ("LATIN1", "SQL_ASCII"))


@pytest.mark.parametrize("column", ["id", "v"])
def test_what_is_not_utf_8_is_an_error_that_says_what_to_do(ascii_: str, postgres: str, column: str) -> None:
    for url, broken in ((ascii_, BROKEN), (postgres, BROKEN.decode("latin-1").encode())):
        fill(url, [("a", "a")])
        row = {"id": b"b", "v": b"b", column: broken}
        with psycopg.connect(url, client_encoding="SQL_ASCII" if url == ascii_ else "UTF8") as connection:
            connection.execute(b"INSERT INTO t VALUES ('%s', '%s')" % (row["id"], row["v"]))
    with pytest.raises(DataProblem, match=r"source: .*SQL_ASCII.*not UTF-8.*read the column with a query"):
        diff(f"{ascii_}#t", f"{postgres}#t", key="id")
    shown = ", ".join(f"encode(convert_to({each}, 'ENCODING'), 'hex') AS {each}" for each in ("id", "v"))
    query = f"SELECT {shown} FROM t"
    sides = [f"{url}#{query.replace('ENCODING', name)}" for url, name in ((ascii_, "SQL_ASCII"), (postgres, "UTF8"))]
    report = diff(*sides, key="id")
    other = {"id": 1, "v": 0}[column]
    assert (report.missing, report.extra, report.different) == (other, other, 1 - other)


def test_an_sqlite_file_in_utf_16_has_an_order_of_its_own(tmp_path: Path) -> None:
    """Keys of ASCII are in the same order, and are compared; others end the comparison, which says what to do."""
    for name, encoding in (("old", "UTF-16le"), ("new", "UTF-8")):
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as connection, connection:
            connection.execute(f"PRAGMA encoding = '{encoding}'")
            for table, words in (("plain", "abz"), ("wide", "aéΩ漢")):
                connection.execute(f"CREATE TABLE {table} (id text PRIMARY KEY)")
                connection.executemany(f"INSERT INTO {table} VALUES (?)", list(words))
    old, new = (f"sqlite:///{tmp_path / name}.db" for name in ("old", "new"))
    assert diff(f"{old}#plain", f"{new}#plain", key="id").verdict is Verdict.IN_SYNC
    with pytest.raises(BrokenRead, match=r"SQLite file in UTF-16 is another; .*makes it UTF-8"):
        diff(f"{old}#wide", f"{new}#wide", key="id")
