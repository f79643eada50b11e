"""Backfills in SQLite, PostgreSQL and MariaDB: what is written, what is left alone, what is put back."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from tests.backfills.shop import Shop
from tests.live.harness import around
from trueup import Trueup, Verdict
from trueup.adapters._as_seen import AsSeen
from trueup.core import lot
from trueup.core.projection import Database
from trueup.errors import ConfigError, DesignProblem, Refused, Transient, UsageError
from trueup.fixing import Fixed
from trueup.store.ledger import Ledger


@pytest.fixture(params=["sqlite_url", "postgres", "mariadb"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(request.getfixturevalue(request.param), tmp_path)
    yield made
    made.db.dispose()


@pytest.fixture
def small(sqlite_url: str, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(sqlite_url, tmp_path)
    yield made
    made.db.dispose()


def test_from_a_dry_run_to_a_rollback(shop: Shop) -> None:
    poison = "if row['id'] == 3: raise ValueError('no name')\n    if row['id'] == 4: return None"
    with shop.engine() as engine:
        name = engine.backfill(shop.names(body=poison))
        seen = engine.check(name)
        assert (seen.different, seen.passed_over) == (9, {"failed: ValueError": 1, "unchanged": 1})
        assert shop.one("SELECT count(full_name) FROM customers") == 0
        done = engine.run(name)
        assert (done.verdict, done.repaired, done.left) == (Verdict.DRIFT, 8, 1)
        assert [row["reason"] for row in done.quarantined_rows] == ["ValueError: no name"]
        expected = [(n, None if n in (3, 4) else f"f{n} l{n}") for n in range(1, 11)]
        assert shop.all("SELECT id, full_name FROM customers ORDER BY id") == expected
        again = engine.run(name)
        assert (again.repaired, again.passed_over) == (0, {"done before": 1, "failed: ValueError": 1})
        back = engine.rollback(done.run)
        assert (back.verdict, back.repaired) == (Verdict.REPAIRED, 8)
        assert shop.one("SELECT count(full_name) FROM customers") == 0


def test_an_update_is_done_once_and_again_under_another_version(shop: Shop) -> None:
    def total() -> int:
        return int(shop.one("SELECT sum(cents) FROM customers"))

    with shop.engine() as engine:
        before = total()
        first = engine.run(engine.backfill(shop.money()))
        assert (first.verdict, first.repaired, total()) == (Verdict.REPAIRED, 5, before + 500)
        second = engine.run("money")
        assert (second.verdict, second.passed_over, total()) == (Verdict.IN_SYNC, {"done before": 5}, before + 500)
        shop.sql("UPDATE customers SET cents = 7 WHERE id = 1")  # another input than the one that was dealt with
        assert engine.run("money").repaired == 1
        assert shop.one("SELECT cents FROM customers WHERE id = 1") == 107
        engine.backfill(shop.money(version="2"))
        assert engine.run("money").repaired == 5


def test_many_rows_go_in_lots(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary first, then lots; a row that moved on meanwhile keeps what was written, and the next run does it."""
    monkeypatch.setattr("trueup.fixing.FIRST", 2)
    monkeypatch.setattr("trueup.undo.FIRST", 0)
    monkeypatch.setattr("trueup.fixing.LOT_MIN", 2)
    monkeypatch.setattr("trueup.core.lot.LOT_MIN", 2)
    monkeypatch.setattr("trueup.adapters._lots.RowPacker.lot_rows", 3)
    with shop.engine() as engine:
        name = engine.backfill(shop.names())
        plan = engine.plan(name)
        assert plan.verdict is Verdict.DRIFT
        shop.sql("UPDATE customers SET last = 'new' WHERE id = 9")
        done = engine.apply(plan, canary=2)
        assert (done.repaired, done.left) == (9, 1)
        assert len(engine.ledger.lots.of(plan.run)) == 3
        assert shop.one("SELECT full_name FROM customers WHERE id = 9") is None
        assert engine.run(name).repaired == 1
        assert shop.one("SELECT full_name FROM customers WHERE id = 9") == "f9 new"
        shop.sql("UPDATE customers SET last = 'newer' WHERE id = 5")
        back = engine.rollback(done.run)  # what went in lots, but for the row that moved on
        assert (back.repaired, back.left) == (8, 1)
        assert shop.all("SELECT id FROM customers WHERE full_name IS NOT NULL ORDER BY id") == [(5,), (9,)]
        assert sum(lot.count for lot in engine.ledger.lots.of(back.run)) in (6, 7)
        assert engine.audit.verify().problems == []


def test_a_paced_database_gets_small_lots(small: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trueup.fixing.LOT_MIN", 2)
    monkeypatch.setattr("trueup.core.lot.LOT_MIN", 2)
    monkeypatch.setattr("trueup.fixing.FIRST", 0)
    monkeypatch.setattr("trueup.pace.paced.PacedPacker.lot_rows", 4)
    paced = Database(url=SecretStr(small.url), protect=0.5)
    ledger = f"sqlite:///{small.folder}/ledger.db"
    with Trueup(databases={"app": paced}, projections=[], ledger=ledger) as engine:
        done = engine.run(engine.backfill(small.names()))
        assert (done.verdict, done.repaired) == (Verdict.REPAIRED, 10)
        assert [lot.count for lot in engine.ledger.lots.of(done.run)] == [4, 4, 2]


#: Two calls at the same time meet; one that is alone waits for the other in vain, once.
_MEETING = """
import threading
backfill = {{"table": "customers", "key": "id", "reads": ["first"], "writes": ["full_name"]}}
door, met = threading.Barrier(2), []
def fix(row):
    try:
        if not met:
            door.wait({wait_s})
            met.append(row)
        row["full_name"] = "together"
    except threading.BrokenBarrierError:
        row["full_name"] = "alone"
    return row
"""


@pytest.mark.parametrize(("locked", "wait_s", "said"), [(True, 0.3, "alone"), (False, 60, "together")])
def test_a_function_is_called_by_one_thread_at_a_time(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: bool, wait_s: float, said: str
) -> None:
    """Though two segments are read at a time; without the lock two calls meet."""
    monkeypatch.setattr("trueup.adapters._postgresql_survey.SEGMENT_ROWS", 200)
    monkeypatch.setattr("trueup.adapters._postgresql_survey.RANGES_PAY_BELOW", 1e6)
    if not locked:
        monkeypatch.setattr("trueup.fixing.Lock", nullcontext)
    shop = Shop(postgres, tmp_path, rows=400)
    shop.sql("ANALYZE customers")
    file = tmp_path / "meeting.py"
    file.write_text(_MEETING.format(wait_s=wait_s))
    with shop.engine() as engine:
        done = engine.plan(engine.backfill(file))
        assert done.segments["done"] > 2
        assert {d.decision.drift.expected[-1] for d in engine.decisions(done.run) if d.decision.drift.expected} == {
            said
        }
    shop.db.dispose()


def test_what_the_application_writes_meanwhile_is_kept(shop: Shop) -> None:
    """Between reading and writing: a naive loop would overwrite it."""
    with shop.engine() as engine:
        name = engine.backfill(shop.names(more='"select": "full_name IS NULL"'))
        _meanwhile(engine, lambda: shop.sql("UPDATE customers SET full_name = 'theirs' WHERE id = 5"))
        done = engine.run(name)
        assert (done.repaired, done.left) == (9, 1)
        assert shop.one("SELECT full_name FROM customers WHERE id = 5") == "theirs"


def test_without_the_guard_it_is_overwritten(small: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control: a row is taken for what it was."""

    def blind(self: AsSeen, suspect: Any, now: Any, *, made: bool) -> Any:
        from dataclasses import replace

        return real(self, replace(suspect, observed=now.values, token=now.token), now, made=made)

    real = AsSeen.outcome
    monkeypatch.setattr(AsSeen, "outcome", blind)
    with small.engine() as engine:
        name = engine.backfill(small.names())
        _meanwhile(engine, lambda: small.sql("UPDATE customers SET full_name = 'theirs' WHERE id = 5"))
        engine.run(name)
        assert small.one("SELECT full_name FROM customers WHERE id = 5") == "f5 l5"


def _meanwhile(engine: Trueup, act: Callable[[], None]) -> None:
    """Something that happens once, when all was read and before anything is written."""
    done: list[bool] = []

    def first(_self: Any, *args: Any) -> Any:
        if not done:
            done.append(True)
            act()
        return real(_self, *args)

    real = Fixed.repair
    Fixed.repair = first  # type: ignore[method-assign]
    engine.__dict__["_restore"] = None
    _RESTORE.append(lambda: setattr(Fixed, "repair", real))


_RESTORE: list[Callable[[], None]] = []


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    while _RESTORE:
        _RESTORE.pop()()


def test_one_row_that_the_database_refuses_holds_up_no_other(shop: Shop) -> None:
    shop.sql("UPDATE customers SET cents = 999950 WHERE id = 1")
    with shop.engine() as engine:
        done = engine.run(engine.backfill(shop.money()))
        assert (done.repaired, done.left) == (4, 1)
        assert [row["trouble"] for row in done.quarantined_rows] == ["refused"]


def test_a_sandbox_leaves_nothing_behind(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = f"trueup_sandbox_{uuid.uuid4().hex[:6]}_"
    monkeypatch.setattr("trueup.adapters._sandbox.PREFIX", mine)
    rows = shop.all("SELECT * FROM customers ORDER BY id")
    shop.sql("UPDATE customers SET cents = 999950 WHERE id = 1")
    with shop.engine() as engine:
        tried = engine.rehearse(engine.backfill(shop.money()))
        assert (tried.report.repaired, tried.report.left, tried.again) == (4, 1, 4)
        assert [row["trouble"] for row in tried.report.quarantined_rows] == ["refused"]
    assert not [name for name in sa.inspect(shop.db).get_schema_names() if name.startswith(mine)]
    assert [row for row in shop.all("SELECT * FROM customers ORDER BY id") if row[0] != 1] == rows[1:]


def test_where_no_sandbox_can_be_made_the_database_says_why(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not that the one it refused is not there to be dropped."""
    monkeypatch.setattr("trueup.adapters._sandbox.PREFIX", "pg_")
    shop = Shop(postgres, tmp_path)
    with shop.engine() as engine, pytest.raises(DesignProblem, match='unacceptable schema name "pg_'):
        engine.rehearse(engine.backfill(shop.money()))
    shop.db.dispose()


@pytest.mark.parametrize("database", ["postgres", "mariadb"])
def test_a_sandbox_whose_making_was_not_answered_is_dropped(
    database: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(request.getfixturevalue(database), tmp_path)
    mine = f"trueup_sandbox_{uuid.uuid4().hex[:6]}_"
    monkeypatch.setattr("trueup.adapters._sandbox.PREFIX", mine)
    lost, real = list[str](), sa.Connection.exec_driver_sql

    def losing(connection: sa.Connection, statement: str, *given: Any, **options: Any) -> Any:
        answer = real(connection, statement, *given, **options)
        if re.match("CREATE (SCHEMA|DATABASE)", statement):
            lost.extend(name for name in sa.inspect(shop.db).get_schema_names() if name.startswith(mine))
            raise Transient("as a connection that is lost")
        return answer

    monkeypatch.setattr(sa.Connection, "exec_driver_sql", losing)
    with shop.engine() as engine, pytest.raises(Transient, match="as a connection that is lost"):
        engine.rehearse(engine.backfill(shop.money()))
    assert lost, "the control: it was made"
    assert not [name for name in sa.inspect(shop.db).get_schema_names() if name.startswith(mine)]
    shop.db.dispose()


def test_a_sandbox_that_cannot_be_dropped_is_named_beside_what_failed_first(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shop, real = Shop(postgres, tmp_path), sa.Connection.exec_driver_sql

    def failing(connection: sa.Connection, statement: str, *given: Any, **options: Any) -> Any:
        for begin, words in (("INSERT INTO trueup_sandbox", "no room for the rows"), ("DROP SCHEMA", "nobody answers")):
            if statement.startswith(begin):
                raise Transient(words)
        return real(connection, statement, *given, **options)

    monkeypatch.setattr(sa.Connection, "exec_driver_sql", failing)
    with shop.engine() as engine, pytest.raises(Transient, match="no room for the rows"):
        engine.rehearse(engine.backfill(shop.money()))
    (left,) = (name for name in sa.inspect(shop.db).get_schema_names() if name.startswith("trueup_sandbox_"))
    assert f"schema {left} may still be there, drop it: nobody answers" in caplog.text
    shop.db.dispose()


def test_beyond_the_limits_somebody_has_to_approve_and_a_changed_file_is_another_plan(small: Shop) -> None:
    limited = '"select": "full_name IS NULL", "limits": {"rows": 5}'
    file = small.names(more=limited)
    with small.engine() as engine:
        refused = engine.run(engine.backfill(file))
        assert (refused.verdict, refused.approvals_needed) == (Verdict.REFUSED, 1)
        engine.approve(refused.plan, reason="looked at it")
    with small.engine() as engine:  # another process knows it by its name
        file.write_text(file.read_text() + "\n# another one\n")
        with pytest.raises(Refused, match="declaration of names changed"):
            engine.apply(refused.plan)
    file.write_text(file.read_text().replace("\n# another one\n", ""))
    with small.engine() as engine:
        assert engine.apply(refused.plan).repaired == 10


def test_rows_on_a_skip_list_are_left_with_the_reason(small: Shop) -> None:
    more = '"select": "full_name IS NULL", "skip": [{"key": {"id": 2}, "reason": "disputed"}]'
    with small.engine() as engine:
        done = engine.run(engine.backfill(small.names(more=more)))
        assert (done.repaired, done.passed_over) == (9, {"skipped: disputed": 1})


def test_a_function_that_fails_on_all_ends_the_run(small: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trueup.fixing.FAILED_MAX", 3)
    with small.engine() as engine:
        name = engine.backfill(small.names(body="raise KeyError('x')"))
        with pytest.raises(DesignProblem, match=r"not about single rows\. The last: KeyError"):
            engine.run(name)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("row['last'] = 'x'", "changes 'last', which is not in `writes`"),
        ("row['odd'] = 1", "'odd', which it was not given"),
    ],
)
def test_what_a_function_may_not_do(small: Shop, body: str, words: str) -> None:
    with small.engine() as engine:
        name = engine.backfill(small.names(body=body))
        with pytest.raises(DesignProblem, match=words):
            engine.check(name)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('"selects": "x"', "unknown key 'selects'; did you mean 'select'"),
        ('"database": "other"', "name a declared database; known: app"),
        ('"select": "1=1); DELETE FROM customers; --"', "select"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(small: Shop, more: str, words: str) -> None:
    with small.engine() as engine, pytest.raises(ConfigError, match=words):
        engine.backfill(small.names(more=more))


def test_what_ends_python_is_a_failure(small: Shop) -> None:
    script = small.folder / "script.py"
    script.write_text("import sys\nsys.exit(0)\n")
    with small.engine() as engine:
        with pytest.raises(ConfigError, match=r"script\.py cannot be loaded: SystemExit"):
            engine.backfill(script)
        report = engine.check(engine.backfill(small.names(body="if row['id'] == 3: raise SystemExit")))
    assert [row["key"] for row in report.drift if "SystemExit" in row.get("reason", "")] == [{"id": 3}]


def test_a_file_of_sql_is_utf8_with_or_without_a_mark(small: Shop) -> None:
    file = small.money()
    text = file.read_text()
    file.write_text(text, encoding="utf-8-sig")
    with small.engine() as engine:
        assert engine.backfill(file) == "money"
        file.write_text(f"{text}-- é", encoding="latin-1")
        with pytest.raises(ConfigError, match="is not UTF-8"):
            engine.backfill(file)


def test_definitions_are_kept_and_can_be_had_again(small: Shop) -> None:
    with small.engine() as engine:
        first = engine.run(engine.backfill(small.money())).run
        engine.backfill(small.money(version="2"))
        second = engine.run("money").run
        old, new = engine.definitions("money")
        assert (old.runs, new.runs) == ((first,), (second,))
        assert old.content["declared"]["code"] != new.content["declared"]["code"]
        with pytest.raises(Refused, match="is not what it was then"):
            engine.as_defined(first)
        small.money()
    with small.engine() as engine:
        assert engine.as_defined(first) == "money"
        assert engine.run("money").passed_over == {}  # made under version 1, and changed since under 2
        (small.folder / "money.sql").unlink()
    with small.engine() as engine:  # a lost file is no reason not to put rows back
        assert engine.rollback(second).left == 5
        with pytest.raises(UsageError, match="its file is lost"):
            engine.check("money")


def test_lots_hold_what_they_were_given() -> None:
    from decimal import Decimal

    from trueup.core.kinds import Kind

    made = lot.packed(
        keys=[[1, 2]],
        observed=[["a", "b"], [Decimal("1.10"), None]],
        expected=[[Decimal("2.20"), Decimal("3")]],
        tokens=["7", "8"],
        written=(1,),
        key_kinds=[Kind.INTEGER],
        value_kinds=[Kind.TEXT, Kind.DECIMAL],
    )
    first, second = made.rows()
    assert (first.key, first.observed, first.expected) == ((1,), ("a", Decimal("1.1")), ("a", Decimal("2.2")))
    assert (second.observed, second.expected, second.token) == (("b", None), ("b", Decimal(3)), "8")


def test_stop_of_everything_covers_backfills_and_runs_no_file(shop: Shop, tmp_path: Path) -> None:
    """One that runs is unknown to whoever stops everything; the file that is wrong may be why."""
    file, ran = shop.names(), tmp_path / "ran"
    stopped: list[list[str]] = []

    def stop() -> None:
        file.write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()")
        with shop.engine() as other:
            stopped.append(other.stop(reason="wrong"))

    with shop.engine() as engine, around(Ledger, "set_stage", after=stop), pytest.raises(Refused, match="stopped"):
        engine.run(engine.backfill(file))
    assert stopped == [["names"]]
    assert shop.one("SELECT count(*) FROM customers WHERE full_name IS NOT NULL") == 0
    with shop.engine() as other:
        other.resume("names")
        assert other.standing.control("names").state == "running"
        assert not ran.exists()
        other.projection("names")
    assert ran.exists(), "the control: who asks for the backfill itself runs its file"


def test_stop_of_everything_leaves_backfills_that_ended(small: Shop) -> None:
    with small.engine() as engine:
        engine.run(engine.backfill(small.names()))
    with small.engine() as engine:
        assert engine.stop() == []
