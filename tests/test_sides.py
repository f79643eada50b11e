"""Sides as they are named on the command line: what they mean, and what is never shown of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from trueup import Database, Trueup, TrueupError, bound, diff
from trueup.adapters import connect
from trueup.errors import ConfigError, UsageError
from trueup.sides import declared, parse_side, relative_to, without_password
from trueup.urls import is_secret, with_variables, without_secrets

MEANT = {
    "sqlite:///a.db#orders": ("sqlite:///a.db", "table", "orders"),
    "sqlite:////data/a.db#orders": ("sqlite:////data/a.db", "table", "orders"),
    "postgresql://u@h/d#sales.orders": ("postgresql://u@h/d", "table", "sales.orders"),
    "postgresql://u@h/d#SELECT 1 AS id": ("postgresql://u@h/d", "query", "SELECT 1 AS id"),
    "postgresql://u@h/d#\n  with x AS (SELECT 1) SELECT * FROM x": (
        "postgresql://u@h/d",
        "query",
        "\n  with x AS (SELECT 1) SELECT * FROM x",
    ),
    "postgresql://u@h/d#(SELECT 1)": ("postgresql://u@h/d", "query", "(SELECT 1)"),
    # The first # ends the URL; a query may hold more of them.
    "postgresql://u@h/d#SELECT j #> '{a}' AS id FROM t": (
        "postgresql://u@h/d",
        "query",
        "SELECT j #> '{a}' AS id FROM t",
    ),
    "opensearch://h:9200#posts id={post_id}": ("opensearch://h:9200", "index", "posts"),
    "groonga://h#Posts": ("groonga://h", "table", "Posts"),
    # A table may be called like the beginning of a query.
    "sqlite:///a.db#selection": ("sqlite:///a.db", "table", "selection"),
    "sqlite:///a.db#values": ("sqlite:///a.db", "table", "values"),
}


@pytest.mark.parametrize("text", ["orders.parquet", "data/orders/*.csv", "/data/a#b.json"])
def test_what_is_no_url_is_a_file(text: str) -> None:
    side = parse_side(text, "source", {})
    assert (side.url, dict(side.place), side.label) == ("", {"file": text}, text)


@pytest.mark.parametrize("text", MEANT)
def test_what_a_side_means(text: str) -> None:
    url, place, what = MEANT[text]
    side = parse_side(text, "source", {})
    assert (side.url, dict(side.place)) == (url, {place: what})


def test_keys_of_a_pattern_and_the_settings_behind_it() -> None:
    side = parse_side("redis://:pw@h/0#top:{day} type=sorted_set member=user types.day=date", "target", {})
    assert (side.url, side.label) == ("redis://:pw@h/0", "redis://:***@h/0#top:{day}")
    assert declared(side, "cache", {"n": "score"}) == {
        "database": "cache",
        "pattern": "top:{day}",
        "type": "sorted_set",
        "member": "user",
        "types": {"day": "date"},
        "columns": {"n": "score"},
    }


def test_settings_behind_a_file(tmp_path: Path) -> None:
    side = parse_side("a b.csv delimiter=; null=NA types.paid=boolean types.n=integer", "source", {})
    assert (side.label, side.url) == ("a b.csv", "")
    assert declared(side, "", {}) == {
        "file": "a b.csv",
        "delimiter": ";",
        "null": "NA",
        "types": {"paid": "boolean", "n": "integer"},
    }
    there = tmp_path / "day =1 n=2.csv"
    there.touch()
    assert parse_side(str(there), "source", {}).place == {"file": str(there)}  # a file that is there is what is meant


def test_words_of_settings_in_a_name_are_no_settings_of_what_is_there(tmp_path: Path) -> None:
    there = tmp_path / "orders id=5.csv"
    there.touch()
    side = parse_side(f"{there} delimiter=;", "source", {})
    assert (side.place, side.settings) == ({"file": str(there)}, {"delimiter": ";"})
    away = tmp_path / "orders id=6.csv"
    with pytest.raises(
        UsageError, match=r"there is no file '.*id=6\.csv', and 'id' is no setting of a file; known: format"
    ):
        parse_side(str(away), "source", {})


@pytest.mark.parametrize("name", ["orders id=5", "orders id={x}", "of{id}", "of{id} type=hash"])
def test_a_table_may_be_named_like_a_pattern_or_an_index(tmp_path: Path, name: str) -> None:
    """Of a database that has neither; "database has no such sides" was said."""
    with closing(sqlite3.connect(tmp_path / "a.db")) as c, c:
        c.execute(f'CREATE TABLE "{name}" (id integer PRIMARY KEY, n integer)')
        c.execute("CREATE TABLE plain (id integer PRIMARY KEY, n integer)")
    url = f"sqlite:///{tmp_path / 'a.db'}"
    assert diff(f"{url}#{name}", f"{url}#plain").verdict == "in_sync"


@pytest.mark.parametrize("words", ["hash", "=hash", "type="])
def test_what_is_no_setting_is_said_to_be_none(words: str) -> None:
    with pytest.raises(UsageError, match="is no setting"):
        parse_side(f"redis://h/0#top:{{day}} {words}", "target", {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("s3://bucket/orders.parquet", "fetch it, and name its path"),
        ("https://ann:canary-77@example.org/orders.csv#x", "fetch it, and name its path. A search engine is"),
        ("sqlite:///a.db", "names no table"),
        ("sqlite:///a.db#", "names no table"),
        ("sqlite:///a.db#  ", "names no table"),
        ("orders", "neither a database URL nor the name of a file"),
        ("parts/*", "does not say what it is: write format=csv"),
        ("://#t", "not a database URL"),
        ("file:///tmp/orders.csv", "named by its path alone: /tmp/orders.csv"),
        ("postgresql://u:canary-77@h:port/d#t", "not a database URL"),
        ("postgresql://u:canary-77#x@h/d#t", "%23"),
        ("postgresql://u:${MISSING}@h/d#t", "'MISSING' is not set"),
    ],
)
def test_what_cannot_be_meant_says_which_side_and_how_to_write_it(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        parse_side(text, "target", {})
    assert str(refused.value).startswith("target: ")
    assert "canary" not in str(refused.value)


def test_variables_are_replaced_in_the_url_only() -> None:
    environ = {"PASSWORD": "canary-77"}
    side = parse_side("postgresql://u:${PASSWORD}@h/d#SELECT '${PASSWORD}' AS id", "source", environ)
    assert side.url == "postgresql://u:canary-77@h/d"
    assert side.written == "postgresql://u:${PASSWORD}@h/d"
    assert side.place == {"query": "SELECT '${PASSWORD}' AS id"}


@pytest.mark.parametrize(
    ("what", "query"),
    [
        ("select*from t", True),
        ("/* nightly; */ SELECT 1", True),
        ("-- all\n-- of them\n(SELECT 1)", True),
        ("values(1)", True),
        ("selected", False),
        ("from", False),
        ("with.values", False),
        ("values-2024", False),
        ("/* a */ " * 40 + "nothing", False),
        ("/* no query */ t", False),
    ],
)
def test_a_query_begins_with_its_word_behind_comments(what: str, query: bool) -> None:
    assert parse_side(f"sqlite:///a.db#{what}", "source").place == {"query" if query else "table": what}


def test_a_long_query_is_cut_where_it_is_shown_and_not_where_it_is_sent() -> None:
    query = f"SELECT {', '.join(f'c{n}' for n in range(50))}\nFROM t"
    side = parse_side(f"sqlite:///a.db#{query}", "source")
    assert side.place == {"query": query}
    assert len(side.label) < 90
    assert "\n" not in side.label
    assert side.label.endswith("…")


@given(
    password=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).map(
        lambda text: f"canary{text}canary"
    )
)
def test_no_password_is_ever_shown(password: str) -> None:
    url = URL.create("postgresql", "u", password, "h", 5432, "d", query={"sslpassword": password, "sslmode": "require"})
    side = parse_side(f"{url.render_as_string(hide_password=False)}#t", "source", {})
    assert side.url == url.render_as_string(hide_password=False)  # what is connected with still has it
    for shown in (side.label, repr(side), without_password(side.url)):
        assert "canary" not in shown
        assert "sslmode=require" in shown


def test_a_relative_path_is_seen_from_the_file_that_names_it() -> None:
    assert relative_to(Path("conf"), "data/a.parquet") == "../data/a.parquet"
    assert relative_to(Path("conf"), "/data/a.parquet") == "/data/a.parquet"


@pytest.mark.parametrize(
    ("name", "secret"),
    [("api_key", True), ("PASSWORD", True), ("token", True), ("ssl_key", False), ("sslkey", False), ("host", False)],
)
def test_which_parameters_hold_a_secret(name: str, secret: bool) -> None:
    assert is_secret(name) is secret
    assert ("SEKRET" in without_password(f"snowflake://u@acct/db?{name}=SEKRET")) is not secret


def test_what_the_ledger_keeps_of_a_url_has_no_secret() -> None:
    url = "postgresql://u:SEKRET@h/d?password=SEKRET&sslmode=require"
    assert bound.without_password(url) == "postgresql://u:***@h/d?sslmode=require"
    with pytest.raises(ConfigError, match="a database URL: it is not of the form"):
        bound.without_password("no url")


@pytest.mark.parametrize(
    ("url", "written", "variables"),
    [
        ("postgresql://u:a/b?c@h/d", "postgresql://u:${X_PASSWORD}@h/d", ["X_PASSWORD"]),
        ("postgresql://u:${MINE}@${H}:${P}/d", "postgresql://u:${MINE}@${H}:${P}/d", []),
        ("postgresql://u:typed@${H}:${P}/${D}", "postgresql://u:${X_PASSWORD}@${H}:${P}/${D}", ["X_PASSWORD"]),
        (
            "opensearch://h:9200?api_key=k&ssl_key=f",
            "opensearch://h:9200?api_key=${X_API_KEY}&ssl_key=f",
            ["X_API_KEY"],
        ),
        ("opensearch://h:9200?api_key=${KEY}", "opensearch://h:9200?api_key=${KEY}", []),
        ("postgresql://u@server:typed@h/d", "postgresql://u@server:${X_PASSWORD}@h/d", ["X_PASSWORD"]),
        (
            "postgresql://u:a@h/d?password=b",
            "postgresql://u:${X_PASSWORD}@h/d?password=${X_PASSWORD_2}",
            ["X_PASSWORD", "X_PASSWORD_2"],
        ),
        ("sqlite:///shop.db", "sqlite:///shop.db", []),
    ],
)
def test_what_is_written_down_of_a_url_has_variables_for_secrets(url: str, written: str, variables: list[str]) -> None:
    assert with_variables(url, "X") == (written, variables)


@pytest.mark.parametrize("password", ["a@b", "@"])
def test_a_password_that_ends_early_is_not_shown(password: str) -> None:
    with pytest.raises(ValueError, match="%40"):
        without_secrets(f"postgresql://u:{password}@h/d")


def test_nowhere_is_half_of_a_password_taken_for_a_host() -> None:
    """Each says what to do, and shows neither half."""
    url = "postgresql://u:front@back-77@127.0.0.1:1/d"
    with pytest.raises(ConfigError, match="%40") as ledger:
        Trueup(databases={}, projections=[], ledger=url).runs()
    with pytest.raises(ConfigError, match="%40") as database:
        connect("app", Database(url=url))
    with pytest.raises(UsageError, match="%40") as side:
        parse_side(f"{url}#t", "source")
    with pytest.raises(ConfigError, match="%40") as kept:
        bound.without_password(url)
    assert not any(half in str(each.value) for each in (ledger, database, side, kept) for half in ("front", "back-77"))


def test_a_ledger_is_shown_without_secrets() -> None:
    with pytest.raises(TrueupError) as failed:
        Trueup(databases={}, projections=[], ledger="postgresql://u@127.0.0.1:1/d?password=SEKRET").runs()
    assert "127.0.0.1" in str(failed.value)
    assert "SEKRET" not in str(failed.value)
