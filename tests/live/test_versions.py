"""Documents with a version that the source issues, delivered late, twice and out of order, while they are repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import WIDE, Db, QuickClock, around, databases, instead
from tests.live.mariadb import MariaDb
from tests.servers import Pair
from trueup import Projection, Report, Side, Trueup, Verdict
from trueup.adapters import _by_issued_version
from trueup.adapters._steps import UnitTransaction
from trueup.core.states import Outcome

COLUMNS = "id INTEGER PRIMARY KEY, val BIGINT, v BIGINT, deleted BOOLEAN"
#: value (None: deleted), version
Doc = tuple[int | None, int]


class Pipeline:
    """A source that issues versions, and a target that keeps the newest."""

    def __init__(self, source: Db, target: Db) -> None:
        self.source, self.target = source, target
        for db in (source, target):
            db.sql(f"CREATE TABLE doc({COLUMNS})")

    def commit(self, value: int | None) -> Doc:
        """A change in the source, which is a message from then on."""
        rows = self.source.sql("SELECT v FROM doc WHERE id = 1")
        version = rows[0][0] + 1 if rows else 1
        gone = "true" if value is None else "false"
        written = "NULL" if value is None else value
        if rows:
            self.source.sql(f"UPDATE doc SET val = {written}, v = {version}, deleted = {gone} WHERE id = 1")
        else:
            self.source.sql(f"INSERT INTO doc VALUES (1, {written}, {version}, {gone})")
        return value, version

    def deliver(self, message: Doc) -> None:
        """Applied if newer."""
        value, version = message
        row = f"(1, {'NULL' if value is None else value}, {version}, {'true' if value is None else 'false'})"
        if isinstance(self.target, MariaDb):
            newer = "VALUES(v) > v"
            self.target.sql(
                f"INSERT INTO doc VALUES {row} ON DUPLICATE KEY UPDATE val = IF({newer}, VALUES(val), val), "
                f"deleted = IF({newer}, VALUES(deleted), deleted), v = GREATEST(v, VALUES(v))"
            )
        else:
            self.target.sql(
                f"INSERT INTO doc VALUES {row} ON CONFLICT (id) DO UPDATE SET val = excluded.val, v = excluded.v, "
                f"deleted = excluded.deleted WHERE doc.v < excluded.v"
            )

    def held(self) -> Doc | None:
        """What a reader of the target sees, and the version of it."""
        rows = self.target.sql("SELECT val, v, deleted FROM doc WHERE id = 1")
        return None if not rows else (None if rows[0][2] else rows[0][0], rows[0][1])

    def engine(self, folder: Path, *, clock: Any = None, tombstones: bool = True, **declared: Any) -> Trueup:
        projection = Projection(
            name="doc",
            source=Side(database="here", table="doc") if tombstones else Side(database="here", query=ALIVE),
            target=Side(database="there", table="doc"),
            key="id",
            columns=["val"],
            limits=WIDE,
            **{"writers": "versioned", "version": "v", "settle": "0s", "on_extra": "delete"} | declared,
            **({"tombstone": {"column": "deleted"}} if tombstones else {}),
        )
        return Trueup(
            databases=databases({"here": self.source.url, "there": self.target.url}),
            projections=[projection],
            ledger=f"sqlite:///{folder / 'ledger.db'}",
            clock=clock or QuickClock(),
        )


ALIVE = "SELECT id, val, v FROM doc WHERE NOT deleted"


@pytest.fixture(params=["postgres_pair", "mariadb_pair", "sqlite_pair"])
def docs(request: pytest.FixtureRequest) -> Pipeline:
    pair: Pair = request.getfixturevalue(request.param)
    made = MariaDb if request.param == "mariadb_pair" else Db
    return Pipeline(made(pair.source), made(pair.target))


@contextmanager
def unguarded() -> Iterator[None]:
    """Whichever comes last is written."""
    with (
        instead(_by_issued_version, "ahead", lambda *_: ""),
        instead(_by_issued_version, "newer", lambda *_: True),
        instead(UnitTransaction, "_is_no_newer", lambda *_: []),
    ):
        yield


def outcome(engine: Trueup, report: Report) -> list[tuple[Outcome, str]]:
    return [(o.outcome, o.evidence) for o in engine.outcomes(report.run)]


@pytest.mark.parametrize("guard", [True, False], ids=["guard", "control: without"])
def test_what_was_read_late_loses(docs: Pipeline, tmp_path: Path, *, guard: bool) -> None:
    """The application delivers a newer version after we read the source."""
    docs.deliver(docs.commit(5))
    docs.target.sql("UPDATE doc SET val = 3")
    newer = around(_by_issued_version, "read_source", after=lambda: docs.deliver(docs.commit(7)))
    with docs.engine(tmp_path) as engine, newer, nullcontext() if guard else unguarded():
        report = engine.run("doc")
        if guard:
            why = "the target is newer than the source: its version is 2, the source's 1"
            assert outcome(engine, report) == [(Outcome.CAS_LOST, why)]
            assert report.verdict is Verdict.REPAIRED
    assert docs.held() == ((7, 2) if guard else (5, 1))


def test_a_message_that_is_late_or_comes_twice_changes_nothing(docs: Pipeline, tmp_path: Path) -> None:
    late = docs.commit(5)
    newest = docs.commit(7)
    with docs.engine(tmp_path) as engine:
        assert engine.run("doc").verdict is Verdict.REPAIRED
    for message in (late, newest, late):
        docs.deliver(message)
        assert docs.held() == (7, 2)


@pytest.mark.parametrize("said", ["null", "nothing"])
def test_a_row_that_is_inserted_is_written_as_no_tombstone(docs: Pipeline, tmp_path: Path, said: str) -> None:
    """The target's column has no default, and the source says NULL, or does not have it."""
    docs.target.sql("DROP TABLE doc", f"CREATE TABLE doc({COLUMNS} NOT NULL)")
    docs.commit(5)
    docs.source.sql("UPDATE doc SET deleted = NULL" if said == "null" else "ALTER TABLE doc DROP COLUMN deleted")
    with docs.engine(tmp_path) as engine:
        assert engine.run("doc").verdict is Verdict.REPAIRED
    assert docs.target.sql("SELECT val, v, deleted FROM doc") == [(5, 1, False)]


@pytest.mark.parametrize("kept", [True, False], ids=["tombstone", "control: deleted for good"])
def test_an_old_message_does_not_bring_a_deleted_row_back(docs: Pipeline, tmp_path: Path, *, kept: bool) -> None:
    late = docs.commit(5)
    docs.deliver(late)
    docs.commit(None)  # its message is lost
    with docs.engine(tmp_path, tombstones=kept) as engine:
        assert engine.run("doc").verdict is Verdict.REPAIRED
        assert engine.check("doc").verdict is Verdict.IN_SYNC
    docs.deliver(late)
    assert docs.held() == ((None, 2) if kept else (5, 1))


def test_a_repair_that_is_late_does_not_bring_a_deleted_row_back(docs: Pipeline, tmp_path: Path) -> None:
    """Between our reading of the source and our insert the row is deleted, and the deletion is delivered."""
    docs.commit(5)
    deleted = around(_by_issued_version, "read_source", after=lambda: docs.deliver(docs.commit(None)))
    with docs.engine(tmp_path) as engine, deleted:
        report = engine.run("doc")
        told = outcome(engine, report)
    assert told == [
        (Outcome.CAS_LOST, "the target is newer than the source: its version is 2, the source's 1 (a tombstone)")
    ]
    assert docs.held() == (None, 2)


def test_a_row_that_was_deleted_in_the_source_meanwhile_is_taken_back_as_a_tombstone(
    docs: Pipeline, tmp_path: Path
) -> None:
    """We insert, and the deletion is not delivered yet: ours goes, and what is left of it is the deletion's version."""
    late = docs.commit(5)
    deleted = around(_by_issued_version, "read_source", after=lambda: docs.commit(None))
    with docs.engine(tmp_path, on_extra="report") as engine, deleted:
        assert engine.run("doc").verdict is Verdict.REPAIRED
    assert docs.held() == (None, 2)
    docs.deliver(late)
    assert docs.held() == (None, 2)


@pytest.mark.parametrize("order", ["late first", "newest first"])
def test_a_row_comes_back_by_a_newer_version(docs: Pipeline, tmp_path: Path, order: str) -> None:
    docs.deliver(docs.commit(5))
    docs.deliver(docs.commit(None))
    messages: list[Callable[[], None]] = []
    again = docs.commit(9)
    messages = [lambda: docs.deliver((5, 1)), lambda: docs.deliver(again)]
    with docs.engine(tmp_path) as engine:
        report = engine.run("doc")
        assert (report.missing, report.repaired, docs.held()) == (1, 1, (9, 3))
    for message in messages if order == "late first" else messages[::-1]:
        message()
    assert docs.held() == (9, 3)


# --- rollback --------------------------------------------------------------------------------------------------------


def test_a_row_that_was_made_goes_back_as_a_tombstone(docs: Pipeline, tmp_path: Path) -> None:
    late = docs.commit(5)
    with docs.engine(tmp_path) as engine:
        run = engine.run("doc").run
        report = engine.rollback(run)
        assert (report.verdict, report.repaired, docs.held()) == (Verdict.REPAIRED, 1, (None, 1))
        docs.deliver(late)
        assert docs.held() == (None, 1)
        again = engine.rollback(report.run)  # undone in its turn
        assert (again.repaired, docs.held()) == (1, (5, 1))
        engine.rollback(again.run)
        assert engine.run("doc").verdict is Verdict.REPAIRED  # the source still says so
    assert docs.held() == (5, 1)


@pytest.mark.parametrize("since", ["nothing", "a newer deletion", "a newer row"])
def test_a_row_that_was_deleted_comes_back_if_the_tombstone_is_ours(docs: Pipeline, tmp_path: Path, since: str) -> None:
    docs.deliver(docs.commit(5))
    docs.commit(None)
    with docs.engine(tmp_path) as engine:
        run = engine.run("doc").run
        assert docs.held() == (None, 2)
        if since != "nothing":
            docs.deliver(docs.commit(8))
        if since == "a newer deletion":
            docs.deliver(docs.commit(None))
        before = docs.held()
        report = engine.rollback(run)
        assert (report.repaired, report.left) == ((1, 0) if since == "nothing" else (0, 1))
    assert docs.held() == ((5, 1) if since == "nothing" else before)


def test_values_go_back_with_their_version(docs: Pipeline, tmp_path: Path) -> None:
    docs.deliver(docs.commit(5))
    newest = docs.commit(7)
    with docs.engine(tmp_path) as engine:
        assert engine.rollback(engine.run("doc").run).repaired == 1
    assert docs.held() == (5, 1)
    docs.deliver(newest)
    assert docs.held() == (7, 2)
