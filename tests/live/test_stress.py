"""Repairs under writers that never stop: ours leave no drift on a row they wrote, the naive ones visibly do.

The long version, with more writers and rounds: `python -m tests.campaign.stress`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import stress
from tests.live.harness import Counters, Docs
from tests.servers import Pair
from trueup import Trueup
from trueup.core.states import Outcome, Verdict

#: How `writers` is declared decides how PostgreSQL is repaired; the writers here keep to all of them.
DECLARED = ["same_transaction", "mutex"]


def damaged(figures: stress.Figures) -> bool:
    """What a control is there to show."""
    return figures.wrong > 0


def repaired_by(engine: Trueup) -> set[int]:
    report = engine.run("counter")
    return {o.key[0] for o in engine.outcomes(report.run) if o.outcome is Outcome.APPLIED}


def stress_counters(
    app: Counters, folder: Path, *, name: str, writers: int, rounds: int, declared: str = DECLARED[0]
) -> None:
    with app.engine(folder, on_extra="delete", writers=declared) as engine:
        figures = stress.one_database(
            app,
            lambda: repaired_by(engine),
            name=name,
            writers=writers,
            rounds=rounds,
            enough=lambda so_far: so_far.repairs >= rounds * 2,
        )
        print(figures)
        assert figures.wrong == 0, figures
        assert figures.repairs >= rounds * 2, figures
        # The faults have ended: what was left because somebody held it is put right now.
        assert engine.run("counter").verdict in (Verdict.REPAIRED, Verdict.IN_SYNC)
    assert app.wrong() == {}


@pytest.mark.parametrize("declared", DECLARED)
def test_hot_rows_postgresql(postgres: str, tmp_path: Path, declared: str) -> None:
    app = Counters(postgres)
    stress_counters(app, tmp_path, name=f"postgresql, {declared}", writers=8, rounds=12, declared=declared)


def test_control_hot_rows_postgresql(postgres: str) -> None:
    app = Counters(postgres)
    figures = stress.one_database(
        app, lambda: stress.read_then_set(app), name="postgresql, read then set", writers=8, rounds=1, enough=damaged
    )
    print(figures)
    assert figures.wrong > 0, figures


def test_hot_rows_sqlite(sqlite_url: str, tmp_path: Path) -> None:
    stress_counters(Counters(sqlite_url), tmp_path, name="sqlite", writers=3, rounds=12)


def test_control_hot_rows_sqlite(sqlite_url: str) -> None:
    app = Counters(sqlite_url)
    figures = stress.one_database(
        app, lambda: stress.read_then_set(app), name="sqlite, read then set", writers=3, rounds=1, enough=damaged
    )
    print(figures)
    assert figures.wrong > 0, figures


# --- two databases ---------------------------------------------------------------------------------------------------


def rows_repaired_by(engine: Trueup) -> int:
    report = engine.run("doc")
    return sum(o.outcome is Outcome.APPLIED for o in engine.outcomes(report.run))


def stress_docs(docs: Docs, folder: Path, name: str) -> None:
    with docs.engine(folder) as engine:
        figures = stress.two_databases(
            docs, lambda: rows_repaired_by(engine), name=name, rounds=12, enough=lambda so_far: so_far.repairs > 0
        )
        print(figures)
        assert figures.wrong == 0, figures
        assert figures.repairs > 0, figures
        engine.run("doc")
    assert docs.source.sql("SELECT * FROM doc ORDER BY id") == docs.target.sql("SELECT * FROM doc ORDER BY id")


def test_copies_in_postgresql(postgres_pair: Pair, tmp_path: Path) -> None:
    stress_docs(Docs(*postgres_pair), tmp_path, "two postgresql databases")


def test_copies_in_sqlite(sqlite_pair: Pair, tmp_path: Path) -> None:
    stress_docs(Docs(*sqlite_pair), tmp_path, "two sqlite files")


@pytest.mark.parametrize("kind", ["postgres_pair", "sqlite_pair"])
def test_control_copies(request: pytest.FixtureRequest, kind: str) -> None:
    docs = Docs(*request.getfixturevalue(kind))
    figures = stress.two_databases(
        docs,
        lambda: stress.copy_then_set(docs),
        name=f"{kind}, copy then set",
        rounds=1,
        enough=damaged,
    )
    print(figures)
    assert figures.wrong > 0, figures
