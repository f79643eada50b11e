"""FTS5 tables of SQLite as targets."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.worlds import UNLIMITED, EngineClock
from tests.live.harness import Db
from trueup import Projection, Side, Trueup, Verdict
from trueup.core.guarantee import Guarantee
from trueup.errors import ConfigError


def engine(folder: Path, source: Db, search: Db, **declared: Any) -> Trueup:
    databases = {"app": source.url} | ({} if source is search else {"search": search.url})
    side = Side(database="app" if source is search else "search", table="posts_fts", columns={"id": "rowid"})
    return Trueup(
        databases=databases,
        projections=[
            Projection(
                name="p",
                source=Side(database="app", table="posts"),
                **{
                    "target": side,
                    "key": "id",
                    "writers": "absolute",
                    "settle": 0,
                    "limits": UNLIMITED,
                    "on_extra": "delete",
                }
                | declared,
            )
        ],
        ledger=f"sqlite:///{folder / 'ledger.db'}",
        clock=EngineClock(),
    )


@pytest.mark.parametrize("apart", [False, True], ids=["one file", "two files"])
def test_an_index_of_texts_is_put_right(tmp_path: Path, apart: bool) -> None:
    app = Db(f"sqlite:///{tmp_path / 'app.db'}")
    search = Db(f"sqlite:///{tmp_path / 'search.db'}") if apart else app
    app.sql(
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT, likes INTEGER)",
        *(f"INSERT INTO posts VALUES ({number}, 'The fox {number}', {number})" for number in range(1, 300)),
    )
    search.sql(
        "CREATE VIRTUAL TABLE posts_fts USING fts5(title, likes UNINDEXED)",
        *(f"INSERT INTO posts_fts(rowid, title, likes) VALUES ({n}, 'The fox {n}', {n})" for n in range(1, 290)),
        "UPDATE posts_fts SET title = 'A hen' WHERE rowid = 7",
        "UPDATE posts_fts SET likes = '8' WHERE rowid = 8",  # a text, and no number
        "INSERT INTO posts_fts(rowid, title) VALUES (900, 'gone')",
    )
    with closing(engine(tmp_path, app, search)) as made:
        report = made.check("p")
        assert (report.missing, report.extra, report.different) == (10, 1, 2)
        report = made.run("p")
        assert (report.verdict, report.guarantee, report.repaired) == (Verdict.REPAIRED, Guarantee.EXACT, 13)
        assert made.check("p").verdict is Verdict.IN_SYNC
    assert search.sql("SELECT count(*) FROM posts_fts WHERE posts_fts MATCH 'fox'") == [(299,)]
    assert search.sql("SELECT count(*) FROM posts_fts WHERE posts_fts MATCH 'hen'") == [(0,)]
    search.sql("INSERT INTO posts_fts(posts_fts) VALUES ('integrity-check')")  # fails if index and texts disagree


def test_a_key_that_is_no_rowid_is_only_reported(tmp_path: Path) -> None:
    app = Db(f"sqlite:///{tmp_path / 'app.db'}")
    app.sql(
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT)",
        "CREATE VIRTUAL TABLE posts_fts USING fts5(title, id UNINDEXED)",
    )
    with closing(engine(tmp_path, app, app, target=Side(database="app", table="posts_fts"))) as made:
        promise = made.explain("p").promise
    assert promise.guarantee is Guarantee.REPORT_ONLY
    assert "no unique index on exactly its key (id)" in promise.reasons[0]


@pytest.mark.parametrize("content", ["content=''", "content='posts', content_rowid='id'", "CONTENT = posts"])
def test_one_without_texts_of_its_own_cannot_be_compared(tmp_path: Path, content: str) -> None:
    app = Db(f"sqlite:///{tmp_path / 'app.db'}")
    app.sql(
        "CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT)",
        f"CREATE VIRTUAL TABLE posts_fts USING fts5(title, {content})",
    )
    with (
        closing(engine(tmp_path, app, app)) as made,
        pytest.raises(ConfigError, match="index of texts that are elsewhere"),
    ):
        made.check("p")
