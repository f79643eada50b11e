"""Whose rows the wrong ones are: told of columns that nobody compares, and only where that is no matter of course."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import duckdb
import pytest
import sqlalchemy as sa

import trueup
from tests.live.harness import WIDE
from tests.servers import Pair
from trueup import beside, reporting, views_causes
from trueup.adapters import connect
from trueup.adapters._sql import SqlAdapter
from trueup.core.projection import Database
from trueup.errors import Transient

#: Rows of both tables; every tenth was written by the importer, and a third of these is wrong.
ROWS = 600
URLS = ("postgres", "mariadb", "sqlite", "duckdb")


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return place(request, request.param, tmp_path)


def place(request: pytest.FixtureRequest, name: str, folder: Path) -> str:
    if name == "duckdb":
        duckdb.connect(str(folder / "app.duckdb")).close()
        return f"duckdb:///{folder / 'app.duckdb'}"
    if name == "sqlite":
        (folder / "app.db").touch()
        return f"sqlite:///{folder / 'app.db'}"
    return str(request.getfixturevalue(name))


def execute(url: str, *statements: str) -> None:
    adapter = cast(SqlAdapter, connect("app", Database(url=url)))
    with adapter.as_application() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
        connection.commit()
    adapter.close()


def fill(url: str, *, importer: str) -> None:
    """The importer writes some of the target's rows (a condition on `id`), and what it writes is too much by chance."""
    rows = ", ".join(f"({n}, {n % 7}, {n * 3})" for n in range(1, ROWS + 1))
    moment = "datetime" if url.startswith("m") else "timestamp"  # a timestamp of MySQL's may move by itself
    wrong = "(id % 30 = 0 OR id = 7)"
    execute(
        url,
        "CREATE TABLE src (id integer PRIMARY KEY, tenant integer NOT NULL, total integer NOT NULL)",
        "CREATE TABLE tgt (id integer PRIMARY KEY, tenant integer NOT NULL, total integer NOT NULL,"
        f" app varchar(20), wrote_at {moment}, secret varchar(20), note varchar(40))",
        f"INSERT INTO src VALUES {rows}",
        f"INSERT INTO tgt (id, tenant, total) VALUES {rows}",
        f"UPDATE tgt SET app = CASE WHEN {importer} THEN 'importer' ELSE 'web' END,"
        f" secret = CASE WHEN {importer} THEN 'canary-77' ELSE 'other' END,"
        " note = 'as always', wrote_at = '2026-03-04 09:30:00'",
        f"UPDATE tgt SET wrote_at = '2026-03-09 23:59:59' WHERE id % 40 <> 0 AND NOT {wrong}",
        f"UPDATE tgt SET total = total + id % 11 + 1 + id % 3 * 40 WHERE {wrong}",
    )


def engine(url: str, folder: Path, **declared: Any) -> trueup.Trueup:
    sides = {role: trueup.Side(database="app", table=table) for role, table in (("source", "src"), ("target", "tgt"))}
    about: dict[str, Any] = {"key": ["id"], "columns": ["tenant", "total"], **sides, **declared}
    projection = trueup.Projection(name="totals", settle=0, **about)
    return trueup.Trueup(databases={"app": url}, projections=[projection], ledger=f"sqlite:///{folder / 'ledger.db'}")


def sentences(causes: list[dict[str, Any]]) -> str:
    return "; ".join(cause["sentence"] for cause in causes)


def test_one_writers_rows(url: str, tmp_path: Path) -> None:
    fill(url, importer="id % 10 = 0")
    with engine(url, tmp_path, sensitive=["secret"]) as app:
        report = app.check("totals")
        told = {cause["sentence"]: cause for cause in report.causes}
        known, trouble = views_causes.causes_besides(app, "totals")
    assert report.different == 21
    writer = told["20 of 21 rows (95%): `app` of the target is importer (of all rows: 10%)"]
    assert (writer["kind"], writer["rows"], writer["usual"]) == ("value", 20, 0.1)
    # SQLite has no times, but texts.
    when = "2026-03-04 09:30:00" if url.startswith("sqlite") else "in the hour of 2026-03-04 09:00"
    assert f"all 21 rows: `wrote_at` of the target is {when} (of all rows: 5%)" in told
    assert (known, trouble) == (report.causes, "")
    assert "canary" not in sentences(known)
    assert "tenant" not in sentences(known)
    with engine(url, tmp_path) as app:  # positive control: where nobody hides it, it is told
        assert "canary" in sentences(views_causes.causes_besides(app, "totals")[0])


def test_a_writer_of_most_rows_has_most_of_the_wrong_ones(url: str, tmp_path: Path) -> None:
    """And is not told, with the very same rows wrong."""
    fill(url, importer="id % 12 <> 1")
    with engine(url, tmp_path) as app:
        report = app.check("totals")
        known, trouble = views_causes.causes_besides(app, "totals")
    assert report.different == 21
    assert "importer" not in sentences(report.causes) + sentences(known) + trouble
    assert "`wrote_at` of the target is" in sentences(known)  # positive control: it was asked


def test_between_two_databases(postgres_pair: Pair, tmp_path: Path) -> None:
    """Of missing rows it is the source that knows who wrote them."""
    rows = ", ".join(f"({n}, {n})" for n in range(ROWS))
    execute(
        postgres_pair.source,
        "CREATE TABLE t (id bigint PRIMARY KEY, v integer, region text)",
        f"INSERT INTO t (id, v) VALUES {rows}",
        "UPDATE t SET region = CASE WHEN id % 20 = 0 THEN 'north' ELSE 'south' END",
    )
    execute(
        postgres_pair.target,
        "CREATE TABLE t (id bigint PRIMARY KEY, v integer)",
        f"INSERT INTO t SELECT * FROM (VALUES {rows}) AS a (id, v) WHERE id % 20 <> 0",
    )
    both = {"source": postgres_pair.source, "target": postgres_pair.target}
    projection = trueup.Projection(
        name="copy",
        source=trueup.Side(database="source", table="t"),
        target=trueup.Side(database="target", table="t"),
        key=["id"],
        settle=0,
    )
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    with trueup.Trueup(databases=both, projections=[projection], ledger=ledger) as app:
        assert "all 30 rows: `region` of the source is north (of all rows: 5%)" in sentences(app.check("copy").causes)


def test_rows_that_are_others_by_now_tell_nothing(postgres: str, tmp_path: Path) -> None:
    """Who wrote them since is not who made them wrong."""
    fill(postgres, importer="id % 10 = 0")
    with engine(postgres, tmp_path) as app:
        app.check("totals")
        assert "importer" in sentences(views_causes.causes_besides(app, "totals")[0])
        execute(postgres, "UPDATE tgt SET total = total + 1 WHERE app = 'importer'")
        assert "importer" not in sentences(views_causes.causes_besides(app, "totals")[0])


def test_a_run_that_writes_does_not_ask(postgres: str, tmp_path: Path) -> None:
    """What it wrote is not who had written it, and what it inserted would count twice: as missing, and as there."""
    fill(postgres, importer="id % 10 = 0")
    execute(postgres, "DELETE FROM tgt WHERE tenant = 3 AND id > 430")
    with engine(postgres, tmp_path, writers="same_transaction", limits=WIDE) as app:
        checked = app.check("totals")
        ran = app.run("totals")
    assert (ran.verdict, ran.repaired) == ("repaired", checked.drifted)
    assert any(cause["usual"] is not None for cause in checked.causes)  # positive control: a check asks
    assert all(cause["usual"] is None for cause in ran.causes)
    assert "importer" not in sentences(ran.causes)


def test_nobody_is_asked_of_a_table_that_is_too_large(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(postgres, importer="id % 10 = 0")
    monkeypatch.setattr(beside, "COUNTED_MAX", ROWS - 1)
    with engine(postgres, tmp_path) as app:
        assert "importer" not in sentences(app.check("totals").causes)
        app.check("totals", keys=[{"id": 30}])  # the last run that read everything tells how many there are
        assert "importer" not in sentences(views_causes.causes_besides(app, "totals")[0])
        monkeypatch.setattr(beside, "COUNTED_MAX", ROWS)
        assert "importer" in sentences(views_causes.causes_besides(app, "totals")[0])


def test_the_first_rows_of_many_say_nothing_of_where(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key by key they come: the first hundred are one tenant's because it is the first."""
    execute(
        postgres,
        "CREATE TABLE src (id integer, tenant integer, total integer NOT NULL, PRIMARY KEY (tenant, id))",
        "CREATE TABLE tgt (LIKE src INCLUDING ALL)",
        "INSERT INTO src SELECT n, n / 500, n FROM generate_series(0, 2999) n",
        "INSERT INTO tgt SELECT id, tenant, total + 1 FROM src",
    )
    both = {"key": ["tenant", "id"], "columns": ["total"], "writers": "same_transaction", "limits": WIDE}
    monkeypatch.setattr(reporting, "CAUSES_ROWS", 100)
    with engine(postgres, tmp_path, **both) as app:
        told = sentences(app.run("totals", rows=10).causes)
    assert "all of the first 100 rows: `total` is exactly 1 too high" in told
    assert "tenant" not in told
    assert "follow" not in told


def test_where_a_database_does_not_answer_less_is_told(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(postgres, importer="id % 10 = 0")

    def away(*_: object) -> None:
        raise Transient("the server is away")

    with engine(postgres, tmp_path) as app:
        monkeypatch.setattr(SqlAdapter, "tally", away)
        report = app.check("totals")
        known, trouble = views_causes.causes_besides(app, "totals")
    assert (report.verdict, report.different) == ("drift", 21)
    assert "importer" not in sentences(report.causes) + sentences(known)
    assert trouble == "the server is away"


def test_of_very_many_rows_other_columns_are_not_read(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "ROWS_MAX", 20)
    fill(postgres, importer="id % 10 = 0")
    with engine(postgres, tmp_path) as app:
        assert "importer" not in sentences(app.check("totals").causes)
