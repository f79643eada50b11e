"""A table that changes under a run or a plan stops it, the message says what changed, and nothing (more) is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.worlds import EngineClock, Mysql, Place, Postgresql, Sqlite
from tests.faults.test_resume import dies
from tests.live.harness import around, instead, keys_per_segment
from trueup import Limits, Projection, Refused, Side, Trueup, Verdict, schema_guard
from trueup.core.shapes import changes
from trueup.core.states import RunState
from trueup.errors import SchemaChanged
from trueup.run import _Run
from trueup.store.ledger import Ledger

#: A change of the target that leaves every value what it is, and what is said of it.
ALTERED = {
    "sqlite": ("ALTER TABLE dst ADD COLUMN note TEXT", "target: column 'note' is new"),
    "postgresql": ("ALTER TABLE dst ALTER v TYPE bigint", "target: column 'v': integer -> bigint"),
    "mysql": ("ALTER TABLE dst MODIFY v bigint", "target: column 'v': int(11) -> bigint(20)"),
}


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def place(request: pytest.FixtureRequest) -> Place:
    fixture, kind = {
        "sqlite": ("sqlite_url", Sqlite),
        "postgres": ("postgres", Postgresql),
        "mariadb": ("mariadb", Mysql),
    }[request.param]
    made: Place = kind(request.getfixturevalue(fixture))
    for name in ("src", "dst"):
        made.table(name, "id {integer} PRIMARY KEY NOT NULL, v {small}", [(n, n) for n in range(12)])
    made.sql("UPDATE dst SET v = v + 100 WHERE id < 6")
    return made


def engine(place: Place, folder: Path) -> Trueup:
    projection = Projection(
        name="p",
        source=Side(database="app", table="src"),
        target=Side(database="app", table="dst"),
        key="id",
        columns="v",
        writers="same_transaction",
        limits=Limits(rows=1000, share=1, collapse=0),
    )
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    return Trueup(databases={"app": place.url}, projections=[projection], ledger=ledger, clock=EngineClock())


def wrong(place: Place) -> int:
    return int(place.sql("SELECT count(*) FROM dst WHERE v <> id")[0][0])


def alter(place: Place) -> Callable[[], object]:
    return lambda: place.sql(ALTERED[place.engine][0])


def test_between_plan_and_apply(place: Place, tmp_path: Path) -> None:
    with engine(place, tmp_path) as app:
        planned = app.plan("p")
        alter(place)()
        with pytest.raises(SchemaChanged) as told:
            app.apply(planned)
        assert ALTERED[place.engine][1] in str(told.value)
        assert "make a new plan" in str(told.value)
        assert told.value.exit_code == 4
        assert wrong(place) == 6
        assert app.apply(app.plan("p")).verdict is Verdict.REPAIRED  # the positive control: a new plan is for it


def test_between_kill_and_resume(place: Place, tmp_path: Path) -> None:
    with engine(place, tmp_path) as app, dies(Ledger, "open_unit", before=True):
        app.run("p")
    alter(place)()
    with engine(place, tmp_path) as app:
        with pytest.raises(SchemaChanged) as told:
            app.run("p")
        assert ALTERED[place.engine][1] in str(told.value)
        assert wrong(place) == 6
        assert app.runs("p")[0].state is RunState.ABANDONED
        report = app.run("p")
        assert (report.verdict, report.resumed) == (Verdict.REPAIRED, False)


def test_in_the_middle_of_a_run(place: Place, tmp_path: Path) -> None:
    """Another session alters the table after the comparison, and before the first write."""
    with engine(place, tmp_path) as app:
        with around(_Run, "_confirm", after=alter(place)), pytest.raises(SchemaChanged) as told:
            app.run("p")
        assert ALTERED[place.engine][1] in str(told.value)
        assert wrong(place) == 6
        assert app.run("p").verdict is Verdict.REPAIRED


def test_between_two_segments_of_a_repair(place: Place, tmp_path: Path) -> None:
    with engine(place, tmp_path) as app, keys_per_segment(2), instead(schema_guard, "SHARE", 1e9):
        with around(Ledger, "close_segment", after=alter(place)), pytest.raises(SchemaChanged, match="more"):
            app.run("p")
        assert wrong(place) == 4  # what was written before stays, and is known
        assert app.run("p").repaired == 4


def test_control_without_the_guard_the_run_goes_on(place: Place, tmp_path: Path) -> None:
    with (
        engine(place, tmp_path) as app,
        instead(schema_guard, "changes", lambda *_: []),
        around(_Run, "_confirm", after=alter(place)),
    ):
        assert app.run("p").verdict is Verdict.REPAIRED


def test_a_column_that_goes_is_what_is_said_of_the_error_it_makes(postgres: str, tmp_path: Path) -> None:
    place = Postgresql(postgres)
    place.sql(
        "CREATE TABLE src AS SELECT n AS id, n AS v FROM generate_series(0, 11) n",
        "CREATE TABLE dst(id int PRIMARY KEY, v int)",
    )
    with engine(place, tmp_path) as app:
        gone = around(Ledger, "open_unit", before=lambda: place.sql("ALTER TABLE dst DROP COLUMN v"))
        with gone, pytest.raises(Refused, match="target: column 'v' is gone"):
            app.run("p")


def test_a_trigger_and_an_index_are_told() -> None:
    bare = {"columns": {"id": ["int"]}, "unique": [["id"]], "triggers": {}, "is": "table"}
    now = {"columns": {"id": ["bigint", "NOT NULL"]}, "unique": [], "triggers": {"t": "1"}, "is": "view or query"}
    before, after = ({"source": bare, "target": one} for one in (bare, now))
    assert changes(before, before) == []
    assert changes(before, after) == [
        "target: column 'id': int -> bigint NOT NULL",
        "target: the unique index on id is gone",
        "target: trigger 't' is new",
        "target: was a table, and is a view or query",
    ]
