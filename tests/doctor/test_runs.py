"""What was found out is taken into what later runs promise, and into what they refuse."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from tests.doctor.worlds import World
from tests.live.harness import instead
from trueup.adapters import _race, _units
from trueup.core.guarantee import Guarantee, Proof
from trueup.errors import Refused
from trueup.store import schema

from tests.doctor.test_race import CountsFirst  # isort: skip


def test_without_a_doctor_the_class_is_as_designed(world: World) -> None:
    with world.engine() as engine:
        report = engine.run("counter")
        (row,) = engine.runs("counter")
        with engine.ledger.reading() as c:
            kept = json.loads(c.execute(sa.select(schema.runs.c.guarantee)).scalar_one())
    assert (report.guarantee, report.proof) == ("EXACT", "not probed")
    assert row.report is not None
    assert row.report["guarantee_reasons"] == kept["reasons"]
    assert kept["guarantee"] == "EXACT"


@pytest.mark.parametrize("url", ["postgresql", "sqlite"], indirect=True)
def test_a_race_that_was_held_is_told_of_by_what_follows(world: World) -> None:
    with world.engine() as engine:
        assert engine.doctor().diagnoses[0].exit_code == 0
        assert engine.explain("counter").promise.proof is Proof.HELD
        report = engine.run("counter")
    assert report.proof == "probed"
    assert any("interleavings" in reason for reason in report.guarantee_reasons)


@pytest.mark.parametrize("url", ["mariadb", "sqlite"], indirect=True)
def test_a_race_that_was_lost_makes_runs_refuse(world: World) -> None:
    with instead(_units, "ByLock", CountsFirst), world.engine() as engine:
        (diagnosis,) = engine.doctor("counter").diagnoses
        assert diagnosis.exit_code == 4
    with world.engine() as engine:
        with pytest.raises(Refused, match=r"REPORT-ONLY.*WRONG.*trueup doctor counter"):
            engine.run("counter")
        assert world.sql("SELECT n FROM counter") == [(5,)]
        assert engine.check("counter").guarantee == "REPORT-ONLY"
        engine.doctor("counter")  # the code is right again
        assert engine.run("counter").proof == "probed"
    assert world.sql("SELECT n FROM counter") == [(2,)]


def test_a_race_of_another_server_version_says_nothing(pg: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pg.engine() as engine:
        engine.doctor()
        monkeypatch.setattr("trueup.doctor.__version__", "99")
        assert engine.explain("counter").promise.proof is Proof.NOT_PROBED


def test_what_caps_is_kept_until_the_doctor_looks_again(pg: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_race, "_every_gap", lambda field, way, began: (1, ["so"] if way.__name__ == "naive" else []))
    pg.sql("CREATE RULE nothing AS ON UPDATE TO counter DO INSTEAD NOTHING")
    with pg.engine() as engine:
        engine.doctor()
        pg.sql("DROP RULE nothing ON counter")
        with pytest.raises(Refused, match="rules: nothing"):
            engine.run("counter")
        engine.doctor()
        assert engine.run("counter").guarantee == Guarantee.EXACT


def test_one_race_does_for_projections_of_one_server(pg: World, monkeypatch: pytest.MonkeyPatch) -> None:
    raced: list[str] = []
    whole = _race.race
    monkeypatch.setattr(
        "trueup.adapters._examiner.race", lambda adapter, *a, **k: raced.append(adapter.name) or whole(adapter, *a, **k)
    )
    with pg.engine() as engine:
        other = engine.projections["counter"].model_copy(update={"name": "again"})
        engine.projections["again"] = other
        first, second = engine.doctor().diagnoses
    assert first.race == second.race
    assert raced == ["app"]
