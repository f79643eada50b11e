"""The three databases, over real connections: what is found, that it can be checked and is right, and what is safe."""

from __future__ import annotations

import json
import sqlite3
import threading
import tomllib
import warnings
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

import trueup
from tests.discover import worlds
from tests.servers import run_sql
from trueup.adapters import connect
from trueup.adapters._results import any_type
from trueup.app import tables_at
from trueup.cli.commands import app
from trueup.clock import SystemClock
from trueup.core.projection import Database
from trueup.discover import Found, Search, discover
from trueup.errors import TrueupError, UsageError


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def world(request: pytest.FixtureRequest) -> str:
    url = str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else request.param))
    worlds.build(url)
    return url


def ran(*arguments: str) -> object:
    """The exit code of the command."""
    return app(["discover", *arguments], result_action="return_value")


def wrong(found: Found) -> dict[str, int]:
    return {p.column: p.figures.wrong for p in found.proposals}


def test_types_that_sqlalchemy_has_not_are_no_matter(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It warns of each, on the terminal of whoever begins with `trueup init`."""
    run_sql(postgres, "CREATE TABLE places (id int PRIMARY KEY, at point)")
    engine = sa.create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"))
    with closing(engine.connect()) as connection, pytest.raises(sa.exc.SAWarning):
        sa.inspect(connection).get_columns("places")
    engine.dispose()
    assert [table.columns for table in tables_at(postgres)] == [("id", "at")]
    assert discover(postgres).exit_code == 0


def test_the_warnings_of_a_host_are_as_before_also_after_two_threads() -> None:
    """The one that begins first ends first, unless the other has to wait for it."""
    before = [*warnings.filters]
    first, second = any_type(), any_type()
    begun, ended = threading.Event(), threading.Event()

    def beside() -> None:
        with second:
            begun.set()
            assert ended.wait(5)

    with first:
        other = threading.Thread(target=beside)
        other.start()
        begun.wait(0.1)
    ended.set()
    other.join()
    assert warnings.filters == before


def test_what_is_derived_is_found_and_what_was_planted_is_counted(
    world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = discover(world)
    assert {p.column: p.idea.formula for p in found.proposals} == worlds.EXPECTED
    drifting = {column: rows for column, rows in wrong(found).items() if rows}
    assert drifting == {"posts.comments_count": 12, "orders.total": 10, "users.followers_count": 1}
    told = {broken.invariant.words: broken.wrong for broken in found.broken}
    assert told == {"users.followers_count is negative": 1, "comments.post_id names no row of posts": 2}
    assert found.exit_code == 1

    # What is saved can be checked, and says the same.
    monkeypatch.chdir(tmp_path)
    assert ran(world, "--save", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert {p["column"]: p["wrong"] for p in document["proposals"]} == wrong(found)
    file = tmp_path / "trueup.toml"
    file.write_text(
        file.read_text(encoding="utf-8").replace("on_missing", 'settle = "0s"\non_missing'), encoding="utf-8"
    )
    saved = tomllib.loads(file.read_text(encoding="utf-8"))["projections"]
    assert len(saved) == len(worlds.EXPECTED)
    with trueup.load(file) as engine:
        for column, rows in wrong(found).items():
            report = engine.check(column.replace(".", "_"))
            assert report.different + report.extra == rows, column
            assert report.missing == (2 if column == "posts.comments_count" else 0), "comments of no post"


def test_a_materialised_view_is_compared_with_its_query(postgres: str) -> None:
    with worlds.connected(postgres) as connection:
        worlds.execute(
            connection,
            """CREATE TABLE sales (id integer PRIMARY KEY, day date NOT NULL, amount integer NOT NULL);
            INSERT INTO sales SELECT n, date '2024-01-01' + mod(n, 10), n FROM generate_series(1, 50) n;
            CREATE MATERIALIZED VIEW per_day AS SELECT day, sum(amount) AS amount FROM sales GROUP BY day;
            UPDATE sales SET amount = 0 WHERE day = '2024-01-03'""",
        )
    (kept,) = discover(postgres).kept
    assert (kept.view.name, kept.figures.rows, kept.figures.wrong) == ("per_day", 10, 1)


def test_nothing_is_written_and_no_password_is_told(postgres: str) -> None:
    worlds.build(postgres)
    adapter = connect("app", Database.model_validate({"url": postgres}))
    with closing(adapter):
        assert adapter.discoverer is not None
        with (
            pytest.raises(TrueupError, match="read-only"),
            adapter.reading() as connection,  # type: ignore[attr-defined]
        ):
            connection.exec_driver_sql("DELETE FROM posts")
    secret = postgres.replace("://postgres@", "://postgres:secret@")
    found = discover(secret, only=["users"])
    assert "secret" not in repr(found)


# --- without a server ------------------------------------------------------------------------------------------------


@pytest.fixture
def forum(sqlite_url: str) -> str:
    worlds.build(sqlite_url)
    return sqlite_url


def test_a_sample_is_taken_of_a_large_table_and_told(forum: str) -> None:
    adapter = connect("app", Database.model_validate({"url": forum}))
    with closing(adapter):
        asked = adapter.discoverer
        assert asked is not None
        schema = asked.schema()
        sample = asked.sample(schema, "comments", "id", 100)
        assert sample is not None
        assert "about 100 of 500" in sample.words
        assert asked.sample(schema, "comments", "id", 500) is None
        within = sum(upper - lower + 1 for lower, upper in sample.ranges)
        assert 80 <= within <= 120


def test_what_is_not_reached_in_time_is_said_and_never_0(forum: str) -> None:
    adapter = connect("app", Database.model_validate({"url": forum}))
    with closing(adapter):
        assert adapter.discoverer is not None
        found = Search(adapter.discoverer, seconds=-1.0, clock=SystemClock(), progress=lambda _: None).run("x", ())
    assert found.exit_code == 3
    assert "the time was over" in found.missed[0]


def test_what_is_in_the_file_is_left_alone(
    forum: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ran(forum, "--save", "--only", "users") == 1
    before = (tmp_path / "trueup.toml").read_text(encoding="utf-8")
    assert ran(forum, "--save", "--only", "users") == 1
    assert (tmp_path / "trueup.toml").read_text(encoding="utf-8") == before
    assert "there is a projection users_posts_count already" in capsys.readouterr().err


def test_a_name_that_most_rows_speak_against_is_shown_apart(forum: str) -> None:
    with closing(sqlite3.connect(forum.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE posts SET comments_count = 1000 + id")
    found = discover(forum, only=["posts"])
    assert [guess.column for guess in found.wrong_guesses] == ["posts.comments_count"]
    assert "posts.comments_count" not in wrong(found)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_search_without_time_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match="takes some"):
        discover("sqlite:///none.db", seconds=seconds)


def test_a_table_that_is_not_there_is_named(forum: str) -> None:
    with pytest.raises(UsageError, match="posts"):
        discover(forum, only=["post"])
