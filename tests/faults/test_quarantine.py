"""A row that is refused, unreadable or broken again and again is left out with its reason; the others go on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.worlds import EngineClock, Mysql, Place, Postgresql, Sqlite
from tests.live.harness import instead
from trueup import Limits, Projection, Side, Trueup, Verdict
from trueup.core.quarantine import Trouble
from trueup.errors import DesignProblem, UsageError

ROWS = 40


class Shop:
    """A source and its copy in one database, and what may not be written into the copy."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self.clock = EngineClock()
        columns = "id {integer} PRIMARY KEY NOT NULL, v {integer}"
        place.table("src", columns, [(n, n) for n in range(ROWS)])
        place.table("dst", columns, [(n, n) for n in range(ROWS)])

    def app(self, **declared: Any) -> Trueup:
        projection = Projection(
            **{
                "name": "p",
                "source": Side(database="app", table="src"),
                "target": Side(database="app", table="dst"),
                "key": "id",
                "writers": "same_transaction",
                "limits": Limits(rows=1000, share=1, deletes=1000, collapse=0),
                **declared,
            }
        )
        ledger = f"sqlite:///{self.folder / 'ledger.db'}"
        return Trueup(databases={"app": self.place.url}, projections=[projection], ledger=ledger, clock=self.clock)

    def spoil(self, *keys: int, by: int = 100) -> None:
        self.place.sql(*(f"UPDATE dst SET v = v + {by} WHERE id = {key}" for key in keys))

    def refuse(self, *keys: int) -> None:
        """The target takes no change of these rows."""
        listed = ", ".join(map(str, keys))
        match self.place.engine:
            case "sqlite":
                self.place.sql(
                    f"CREATE TRIGGER no BEFORE UPDATE ON dst WHEN old.id IN ({listed}) AND new.v < 100 "
                    "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
                )
            case "mysql":
                self.place.sql(
                    f"CREATE TRIGGER no BEFORE UPDATE ON dst FOR EACH ROW IF old.id IN ({listed}) AND new.v < 100 "
                    "THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'not this one'; END IF"
                )
            case _:
                self.place.sql(
                    "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
                    "'BEGIN RAISE EXCEPTION ''not this one''; END'",
                    f"CREATE TRIGGER no BEFORE UPDATE ON dst FOR EACH ROW WHEN (old.id IN ({listed}) AND new.v < 100) "
                    "EXECUTE FUNCTION no()",
                )

    def allow(self) -> None:
        self.place.sql("DROP TRIGGER no" + (" ON dst" if self.place.engine == "postgresql" else ""))

    def wrong(self) -> list[int]:
        return sorted(key for key, v in self.place.rows("dst") if key != v)


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    fixture, place = {
        "sqlite": ("sqlite_url", Sqlite),
        "postgres": ("postgres", Postgresql),
        "mariadb": ("mariadb", Mysql),
    }[request.param]
    return Shop(place(request.getfixturevalue(fixture)), tmp_path)


@pytest.fixture
def local(sqlite_url: str, tmp_path: Path) -> Shop:
    return Shop(Sqlite(sqlite_url), tmp_path)


def held(app: Trueup) -> dict[int, tuple[str, int]]:
    return {row.key[0]: (str(row.trouble), row.attempts) for row in app.quarantine("p")}


# --- refused ---------------------------------------------------------------------------------------------------------


def test_a_poison_row_never_blocks_the_rest_and_is_not_tried_again_for_nothing(shop: Shop) -> None:
    shop.spoil(1, 2, 3, 20)
    shop.refuse(2)
    with shop.app() as app:
        first = app.run("p")
        assert (first.verdict, first.repaired, first.left, first.quarantined) == (Verdict.DRIFT, 3, 1, 1)
        assert first.to_dict()["quarantined_rows"][0]["trouble"] == "refused"
        assert "not this one" in first.to_dict()["quarantined_rows"][0]["reason"]
        assert shop.wrong() == [2]
        again = app.run("p")
        assert (again.verdict, again.repaired, again.quarantined) == (Verdict.DRIFT, 0, 1)
        assert "quarantined since" in again.drift[0]["reason"]
        assert app.outcomes(again.run) == []  # it was not even tried
        assert held(app) == {2: ("refused", 1)}
        checked = app.check("p")
        assert (checked.verdict, checked.quarantined) == (Verdict.DRIFT, 1)


@pytest.mark.parametrize("side", ["src", "dst"])
def test_a_refused_row_is_looked_at_again_when_either_side_changes(shop: Shop, side: str) -> None:
    shop.spoil(2)
    shop.refuse(2)
    with shop.app() as app:
        app.run("p")
        shop.place.sql(f"UPDATE {side} SET v = v + 1 WHERE id = 2")
        assert app.run("p").quarantined == 1
        assert held(app) == {2: ("refused", 2)}  # tried, and refused again
        shop.allow()
        assert app.run("p").repaired == 0  # as it was: nobody said that the trigger is gone
        shop.place.sql(f"UPDATE {side} SET v = v + 1 WHERE id = 2")
        report = app.run("p")
        assert (report.verdict, report.repaired, report.quarantined) == (Verdict.REPAIRED, 1, 0)
        assert held(app) == {}


def test_retry_tries_those_rows_only_and_takes_out_what_is_right(local: Shop) -> None:
    local.spoil(2, 3)
    local.refuse(2, 3)
    with local.app() as app:
        app.run("p")
        local.spoil(30)
        local.allow()
        local.refuse(3)
        report = app.quarantine_retry("p")
        assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 1, 1)
        assert held(app) == {3: ("refused", 2)}
        assert local.wrong() == [3, 30]  # 30 was not asked for
        since = app.quarantine("p")[0].first_seen
        assert since < app.quarantine("p")[0].last_seen or local.clock.now() == since
        local.allow()
        assert app.quarantine_retry("p", keys=[{"id": "3"}]).verdict is Verdict.REPAIRED
        assert held(app) == {}
        with pytest.raises(UsageError, match="nothing is in quarantine"):
            app.quarantine_retry("p")


def test_drop_takes_a_row_out_unseen(local: Shop) -> None:
    local.spoil(2, 3)
    local.refuse(2, 3)
    with local.app() as app:
        app.run("p")
        local.allow()
        assert app.quarantine_drop("p", keys=[{"id": 2}]) == 1
        with pytest.raises(UsageError, match="is not in quarantine"):
            app.quarantine_drop("p", keys=[{"id": 2}])
        assert app.run("p").repaired == 1
        assert local.wrong() == [3]


def test_a_row_that_somebody_else_put_right_is_taken_out(local: Shop) -> None:
    local.spoil(2)
    local.refuse(2)
    with local.app() as app:
        app.run("p")
        local.allow()
        local.spoil(2, by=-100)
        assert app.check("p").verdict is Verdict.IN_SYNC
        assert held(app) == {}


def test_a_plan_leaves_out_what_came_into_quarantine_since(local: Shop) -> None:
    local.spoil(2, 3)
    with local.app() as app:
        planned = app.plan("p")
        local.refuse(2)
        with local.app(limits=Limits(rows=1000, share=1, collapse=0)) as other:
            other.run("p", keys=[{"id": 2}])
        local.allow()
        report = app.apply(planned)
        assert (report.verdict, report.repaired, report.quarantined) == (Verdict.DRIFT, 1, 1)
        assert local.wrong() == [2]


def test_so_many_refused_rows_are_no_single_rows(local: Shop) -> None:
    local.spoil(*range(20))
    local.refuse(*range(20))
    from trueup import repair

    with local.app() as app, instead(repair, "REFUSED_MAX", 5), pytest.raises(DesignProblem, match="more than 5 rows"):
        app.run("p")
    assert local.wrong() == list(range(20))


# --- recurring -------------------------------------------------------------------------------------------------------


def test_a_row_repaired_three_times_is_a_live_bug(local: Shop) -> None:
    with local.app() as app:
        for _ in range(3):
            local.spoil(7)
            assert app.run("p").repaired == 1
            local.clock.wait(3600)
        local.spoil(7, 8)
        report = app.run("p")
        assert (report.verdict, report.repaired, report.quarantined) == (Verdict.DRIFT, 1, 1)
        assert local.wrong() == [7]
        (row,) = app.quarantine("p")
        assert row.trouble is Trouble.RECURRING
        assert "repaired 3 times" in row.reason
        assert [(item["before"], item["after"]) for item in row.evidence] == [([107], [7])] * 3
        assert [item["run"] for item in row.evidence] == [run.id for run in reversed(app.runs("p")[1:])]
        local.spoil(7, by=1)  # another value every time is what such a bug makes: no reason to try again
        assert app.run("p").repaired == 0
        assert app.quarantine_retry("p").repaired == 1  # somebody says that the writer is mended
        local.spoil(7)
        assert app.run("p").repaired == 1  # what was before no longer counts


def test_repairs_that_are_long_ago_do_not_count(local: Shop) -> None:
    with local.app(recurring={"times": 2, "within": "1d"}) as app:
        for _ in range(4):
            local.spoil(7)
            assert app.run("p").repaired == 1
            local.clock.wait(timedelta(hours=20).total_seconds())
        # One within a day, each time. Now the second comes too soon, and is tried again when the first is old enough.
        local.spoil(7)
        assert app.run("p").repaired == 1
        local.spoil(7)
        assert app.run("p").quarantined == 1
        local.clock.wait(timedelta(hours=25).total_seconds())
        assert app.run("p").repaired == 1
        assert held(app) == {}


def test_control_it_can_be_switched_off(local: Shop) -> None:
    with local.app(recurring={"times": 0}) as app:
        for _ in range(6):
            local.spoil(7)
            assert app.run("p").repaired == 1


def test_many_recurring_rows_stop_the_run(local: Shop) -> None:
    with local.app(recurring={"times": 1}) as app:
        local.spoil(*range(25))
        assert app.run("p").repaired == 25
        local.spoil(*range(25), 30)
        report = app.run("p")
        assert (report.verdict, report.repaired) == (Verdict.REFUSED, 0)
        assert "25 of 26 rows are wrong again" in report.reason
        assert len(local.wrong()) == 26
        assert app.quarantine_retry("p").repaired == 25
