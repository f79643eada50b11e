"""The engine from end to end with its ledger in every place that it may have."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import Pair, run_sql
from trueup import Limits, Projection, Side, Trueup, Verdict

TABLES = (
    "CREATE TABLE src (id bigint PRIMARY KEY, v bigint); CREATE TABLE dst (id bigint PRIMARY KEY, v bigint)",
    "INSERT INTO src SELECT n, n FROM generate_series(1, 60) n",
    "INSERT INTO dst SELECT n, n + CASE WHEN n % 20 = 0 THEN 1 ELSE 0 END FROM generate_series(2, 61) n",
)


def declare(database: str, ledger: str) -> Trueup:
    projection = Projection(
        name="p",
        source=Side(database="a", table="src"),
        target=Side(database="a", table="dst"),
        key=["id"],
        writers="same_transaction",
        on_extra="delete",
        limits=Limits(share="100%"),
    )
    return Trueup(databases={"a": database}, projections=[projection], ledger=ledger)


@pytest.fixture(params=["a file", "the target's database", "a database of its own"])
def place(request: pytest.FixtureRequest, postgres_pair: Pair, tmp_path: Path) -> tuple[str, str]:
    """The target's URL and the ledger's."""
    run_sql(postgres_pair.target, *TABLES)
    return (
        postgres_pair.target,
        {
            "a file": f"sqlite:///{tmp_path / 'ledger.db'}",
            "the target's database": postgres_pair.target,
            "a database of its own": postgres_pair.source,
        }[request.param],
    )


def test_check_run_and_what_stands(place: tuple[str, str]) -> None:
    database, ledger = place
    with closing(declare(database, ledger)) as app:
        report = app.check("p")
        assert (report.verdict, report.missing, report.extra, report.different) == (Verdict.DRIFT, 1, 1, 3)
        assert len(app.drift("p")) == 5
        run = app.run("p")
        assert (run.verdict, run.repaired) == (Verdict.REPAIRED, 5)
        assert app.drift("p") == []
    with closing(declare(database, ledger)) as again:
        assert [row.id for row in again.runs("p")] == [run.run, report.run]
        assert len(again.outcomes(run.run)) == 5
        assert again.check("p").verdict is Verdict.IN_SYNC
    rows = run_sql(database, "SELECT count(*) FROM src JOIN dst USING (id) WHERE src.v = dst.v")
    assert rows == run_sql(database, "SELECT count(*) FROM dst") == [(60,)]


def test_plan_apply_and_switches(place: tuple[str, str]) -> None:
    with closing(declare(*place)) as app:
        plan = app.plan("p")
        app.pause("p", reason="lunch")
        assert app.status()[0].control.state == "paused"
        app.resume("p")
        assert app.apply(plan).verdict is Verdict.REPAIRED


def test_our_tables_do_not_get_in_each_others_way(postgres: str) -> None:
    """Ledger and markers in the target's database: each table once, none of the application's touched."""
    run_sql(postgres, *TABLES)
    with closing(declare(postgres, postgres)) as app:
        assert app.run("p").verdict is Verdict.REPAIRED
    tables = {row[0] for row in run_sql(postgres, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert {"trueup_applied", "trueup_fence", "trueup_runs", "trueup_schema", "src", "dst"} <= tables
    assert {name for name in tables if not name.startswith("trueup_")} == {"src", "dst"}
