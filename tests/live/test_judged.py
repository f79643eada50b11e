"""What was judged is what is done: a source row that goes away meanwhile makes no deletion of an update."""

from __future__ import annotations

from pathlib import Path

import pytest

import trueup
from tests.servers import Pair, run_sql
from trueup import reconcile
from trueup.repair import repair


def test_a_source_that_is_emptied_after_the_judgement_deletes_nothing(
    postgres_pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch job truncates the source to load it anew, just when the repair begins."""
    source, target = postgres_pair.source, postgres_pair.target
    run_sql(
        source, "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t SELECT g, 1 FROM generate_series(1, 100) g"
    )
    run_sql(
        target,
        "CREATE TABLE t (id int PRIMARY KEY, v int)",
        "INSERT INTO t SELECT g, g % 3 FROM generate_series(1, 100) g",
    )
    projection = trueup.Projection(
        name="p",
        source={"database": "s", "table": "t"},
        target={"database": "t", "table": "t"},
        key=["id"],
        writers="absolute",
        settle="0s",
        on_extra="delete",
        limits={"deletes": 0, "share": "100%"},
    )

    def truncated(*args: object) -> object:
        run_sql(source, "TRUNCATE t")
        return repair(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(reconcile, "repair", truncated)
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    with trueup.Trueup(databases={"s": source, "t": target}, projections=[projection], ledger=ledger) as engine:
        report = engine.run("p")
    assert run_sql(target, "SELECT count(*) FROM t") == [(100,)]
    assert (report.verdict, report.repaired) == (trueup.Verdict.DRIFT, 0)
