"""The ledger gives back what it was given, on both databases, and refuses what may not be."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError

from trueup.core.compare import Counts, DriftKind, Suspect
from trueup.core.decide import Action, Decision
from trueup.core.plan import Everything, Keys, NullKeys, Range
from trueup.core.states import TRANSITIONS, Outcome, RunState, Stage, Verdict
from trueup.errors import ConfigError, ConnectionFailed, TakenOver
from trueup.files import wal_is_safe
from trueup.store import schema
from trueup.store.coverage import Coverage
from trueup.store.ledger import Ledger
from trueup.store.records import OutcomeRow, RunRow
from trueup.store.standing import Control, Standing

AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)

#: A key and a row of every type that a value can have.
KEY = (2**63 - 1, "a'\"\\ \u00e9👍\n", UUID(int=7), date(2026, 1, 2), datetime(2026, 1, 2, 3, 4, 5, 678901), AT)
VALUES = (None, True, -5, 2**70, 0.1, float("inf"), Decimal("1.10"), "", b"\0\xff", time(1, 2, 3), AT, "👍🏽")


def begin(ledger: Ledger, run: str = "r-1", **values: Any) -> RunRow:
    """A run as the engine starts one."""
    given: dict[str, Any] = {
        "id": run,
        "projection": "p",
        "command": "run",
        "definition": "d" * 64,
        "code_version": "1",
        "host": "h",
        "pid": 1,
        "actor": "me",
        "plan": None,
        "started_at": AT,
        "keys": None,
    }
    known = {column.name for column in schema.runs.columns}
    given |= {name: text for name, text in (("strategy", "words"), ("columns", "[]")) if name in known}
    spans = values.pop("spans", [Everything()])
    stage = values.pop("stage", Stage.NARROW)
    return ledger.start_run(given | values, spans, stage)


def suspect(key: tuple[Any, ...] = KEY, **values: Any) -> Suspect:
    given: dict[str, Any] = {
        "kind": DriftKind.DIFFERENT,
        "key": key,
        "expected": VALUES,
        "observed": tuple(reversed(VALUES)),
        "token": "123",
    }
    return Suspect(**(given | values))


def test_a_ledger_that_is_there_is_opened_and_not_made_again(ledger: Ledger, ledger_url: str) -> None:
    begin(ledger)
    again = Ledger(ledger_url)
    assert again.run("r-1").projection == "p"
    again.close()


# --- round trips ---------------------------------------------------------------------------------------------------


def test_its_sessions_have_a_name_unless_they_are_given_another(postgres: str) -> None:
    for url, name in ((postgres, "trueup:ledger"), (f"{postgres}?application_name=n1", "n1")):
        ledger = Ledger(url)
        with ledger.engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW application_name").scalar_one() == name
        ledger.close()


def test_runs(ledger: Ledger) -> None:
    run = begin(ledger, keys=[KEY, (None,)])
    assert (run.id, run.state, run.stage, run.keys, run.started_at) == (
        *("r-1", RunState.RUNNING, Stage.NARROW, (KEY, (None,)), AT),
    )
    ledger.set_state(run, RunState.DONE, ended_at=AT, verdict=Verdict.DRIFT, reason="why", report='{"a": 1}')
    ended = ledger.run("r-1")
    assert (ended.state, ended.verdict, ended.ended_at, ended.reason, ended.report) == (
        *(RunState.DONE, Verdict.DRIFT, AT, "why", {"a": 1}),
    )
    assert Coverage(ledger).last_source_rows("p", "d" * 64) is None
    ledger.set_state(begin(ledger, "r-2"), RunState.DONE, ended_at=AT, verdict=Verdict.DRIFT, source_rows=2**40)
    assert Coverage(ledger).last_source_rows("p", "d" * 64) == 2**40
    assert Coverage(ledger).last_source_rows("p", "other") is None
    assert Coverage(ledger).last_source_rows("q", "d" * 64) is None


@pytest.mark.parametrize(
    "span", [Everything(), NullKeys(), Range(), Range(lower=KEY), Range(upper=(None, 1)), Keys(keys=(KEY, (1,)))]
)
def test_spans(ledger: Ledger, span: Any) -> None:
    begin(ledger, spans=[span])
    (segment,) = ledger.open_segments("r-1", Stage.NARROW)
    assert segment.span == span
    assert (segment.run, segment.stage, segment.suspects, segment.looked_at) == ("r-1", Stage.NARROW, [], None)


def test_what_narrowing_found_is_what_confirming_gets(ledger: Ledger) -> None:
    begin(ledger, spans=[Range()])
    (segment,) = ledger.open_segments("r-1", Stage.NARROW)
    first = Counts(source_rows=2**40, missing=1, different_by_column={"é": 3})
    found = [suspect(), suspect((1,), kind=DriftKind.MISSING, observed=None, copies=(2, 1))]
    ledger.commit_narrowed(segment, Range(upper=(5,)), Range(lower=(5,)), first, found, AT)
    (rest,) = ledger.open_segments("r-1", Stage.NARROW)
    assert (rest.id, rest.span) == (segment.id, Range(lower=(5,)))
    seen = ledger.narrowed("r-1")
    assert (seen.done, seen.planned, seen.counts) == (1, 2, first)
    later = suspect((9,), kind=DriftKind.EXTRA, expected=None)
    ledger.commit_narrowed(rest, rest.span, None, Counts(extra=1), [later], AT + timedelta(seconds=5))
    assert ledger.open_segments("r-1", Stage.NARROW) == []
    work = ledger.suspects("r-1")
    assert {item.key: item for part in work for item in part.suspects} == {item.key: item for item in [*found, later]}
    assert all(part.span == Keys(keys=tuple(item.key for item in part.suspects)) for part in work)
    assert max(part.looked_at for part in work if part.looked_at) == AT + timedelta(seconds=5)


def test_decisions_units_and_outcomes(ledger: Ledger) -> None:
    begin(ledger, stage=Stage.CONFIRM, spans=[Keys(keys=(KEY,))])
    (segment,) = ledger.open_segments("r-1", Stage.CONFIRM)
    decided = [
        Decision(drift=suspect(), action=Action.UPDATE),
        Decision(drift=suspect((1,), copies=(2, 0), expected=None), action=Action.REPORT, reason="twice"),
        Decision(drift=suspect((), observed=()), action=Action.DELETE),
    ]
    ledger.commit_confirmed(segment, decided, {"resolved": 2, "in_flight": 1})
    assert [row.decision for row in ledger.decisions("r-1")] == decided
    assert Coverage(ledger).tallies("r-1") == {"resolved": 2, "in_flight": 1}
    ledger.open_unit("u-1", "r-1", segment.id, [KEY, (1,)], AT)
    assert ledger.open_units("p") == [("u-1", "r-1", segment.id, [KEY, (1,)])]
    assert ledger.open_units("q") == []
    outcomes = [
        OutcomeRow(
            key=key,
            outcome=outcome,
            action=action,
            before=VALUES,
            after=None,
            token="7",
            evidence="e'\"",
            witness="unit",
        )
        for (key, outcome), action in zip(
            product([KEY, (None,)], Outcome), [None, *Action, *Action, *Action], strict=False
        )
    ]
    ledger.close_unit("u-1", "r-1", outcomes, AT)
    ledger.close_unit("u-1", "r-1", outcomes, AT)  # a second closing, after a crash in between, adds nothing
    assert list(ledger.outcomes("r-1")) == outcomes
    assert ledger.open_units("p") == []


def test_what_stands(ledger: Ledger) -> None:
    standing = Standing(ledger)
    run, later = begin(ledger), begin(ledger, "r-2", started_at=AT + timedelta(minutes=1))
    standing.found(run, [(suspect(), "because"), (suspect((1,)), "")], AT)
    standing.found(later, [(suspect(token=""), "still")], AT + timedelta(minutes=1))
    known = {row.drift.key: row for row in standing.drift("p")}
    assert (known[KEY].first_seen, known[KEY].last_seen) == (AT, AT + timedelta(minutes=1))
    assert (known[KEY].reason, known[KEY].run, known[KEY].drift.expected) == ("still", "r-2", VALUES)
    assert standing.drift_count("p") == (2, AT)
    standing.only(later)
    assert [row.drift.key for row in standing.drift("p")] == [KEY]
    standing.settled("p", [KEY, (5,)])
    assert standing.drift_count("p") == (0, None)


def test_switches(ledger: Ledger) -> None:
    standing = Standing(ledger)
    assert standing.control("p") == Control(state="running")
    for state in ("paused", "stopped"):
        set_to = Control(state=state, reason="é", actor="me", at=AT)
        standing.set_control("p", set_to)
        assert standing.control("p") == set_to


def test_runs_newest_first(ledger: Ledger) -> None:
    standing = Standing(ledger)
    for n in range(5):
        begin(ledger, f"r-{n}", started_at=AT + timedelta(microseconds=n), projection="pq"[n % 2])
    assert [run.id for run in standing.runs()] == ["r-4", "r-3", "r-2", "r-1", "r-0"]
    assert [run.id for run in standing.runs("p", limit=2)] == ["r-4", "r-2"]
    last = standing.last_run("q")
    assert last is not None
    assert last.id == "r-3"
    assert [run.id for run in ledger.unfinished("p")] == ["r-4", "r-2", "r-0"]


# --- what may not be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [*product(RunState, RunState)])
def test_only_transitions_of_the_table(sqlite_ledger: Ledger, before: RunState, after: RunState) -> None:
    run = begin(sqlite_ledger, f"r-{before}-{after}")
    if before is not RunState.RUNNING:
        sqlite_ledger.set_state(run, before)
    if after in TRANSITIONS[before]:
        sqlite_ledger.set_state(run, after)
        assert sqlite_ledger.run(run.id).state is after
    else:
        wrong = ValueError if TRANSITIONS[before] else TakenOver
        with pytest.raises(wrong, match=f"is {before}; it cannot become {after}"):
            sqlite_ledger.set_state(run, after)
        assert sqlite_ledger.run(run.id).state is before


@pytest.fixture(scope="module")
def sqlite_ledger(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with closing(Ledger(f"sqlite:///{tmp_path_factory.mktemp('states') / 'ledger.db'}")) as opened:
        yield opened


def test_an_ended_run_stays_ended(ledger: Ledger) -> None:
    run = begin(ledger)
    ledger.set_state(run, RunState.DONE)
    with pytest.raises(TakenOver, match="it cannot become running"):
        ledger.set_state(run, RunState.RUNNING)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql+pymysql://x/y", "lives in sqlite"),
        ("sqlite://", "in-memory"),
        ("sqlite:////nowhere/at/all/ledger.db", "no directory"),
    ],
)
def test_a_place_that_is_none(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Ledger(url)


def test_a_file_that_is_no_database(tmp_path: Any) -> None:
    (tmp_path / "ledger.db").write_text("this is not a database, but long enough to look like one" * 20)
    with pytest.raises(ConnectionFailed, match="cannot be used"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_a_password_is_not_in_the_error() -> None:
    with pytest.raises(ConnectionFailed) as caught:
        Ledger("postgresql://me:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(caught.value)


# --- SQLite's journal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 40, 1), "delete"),
        ((3, 44, 5), "delete"),
        ((3, 44, 6), "wal"),
        ((3, 45, 0), "delete"),
        ((3, 50, 6), "delete"),
        ((3, 50, 7), "wal"),
        ((3, 51, 2), "delete"),
        ((3, 51, 3), "wal"),
        ((4, 0, 0), "wal"),
    ],
)
def test_the_write_ahead_log_only_where_it_cannot_lose_commits(
    monkeypatch: pytest.MonkeyPatch, sqlite_url: str, version: tuple[int, int, int], mode: str
) -> None:
    """The mode of the file as another program finds it: TRUNCATE is kept by nobody, so it shows as the default."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    ledger = Ledger(sqlite_url)
    begin(ledger)
    with ledger.engine.connect() as connection:
        ours = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "foreign_keys")]
    assert ours == ("wal" if mode == "wal" else "truncate")
    assert settings == [2, 1]
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == (mode,)
    ledger.close()


def test_what_is_written_together_is_there_whole_or_not_at_all(ledger: Ledger) -> None:
    begin(ledger, stage=Stage.CONFIRM)
    (segment,) = ledger.open_segments("r-1", Stage.CONFIRM)

    def both() -> None:
        with ledger.together():
            ledger.close_unit("u-1", "r-1", [], AT)
            ledger.open_unit("u-2", "r-1", segment.id, [KEY], AT)
            raise InterruptedError

    ledger.open_unit("u-1", "r-1", segment.id, [KEY], AT)
    with pytest.raises(InterruptedError):
        both()
    assert [unit for unit, *_ in ledger.open_units("p")] == ["u-1"]
    with ledger.together():
        ledger.close_unit("u-1", "r-1", [], AT)
        ledger.open_unit("u-2", "r-1", segment.id, [KEY], AT)
    assert [unit for unit, *_ in ledger.open_units("p")] == ["u-2"]


def test_who_only_reads_waits_for_nobody_who_is_about_to_write(tmp_path: Path) -> None:
    """What somebody has set on pacing was asked behind each writer, and the share of a database with it."""
    with closing(Ledger(f"sqlite:///{tmp_path}/l.db")) as ledger, closing(sqlite3.connect(tmp_path / "l.db")) as other:
        with ledger.begin() as c:
            c.exec_driver_sql("CREATE TABLE t (a)")
        other.execute("BEGIN IMMEDIATE")
        with ledger.reading() as c:
            c.exec_driver_sql("PRAGMA busy_timeout = 0")
            assert c.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
        with pytest.raises(OperationalError, match="locked"), ledger.engine.begin():  # the control
            pass


def test_a_commit_waits_for_who_reads_only_without_wal(tmp_path: Path) -> None:
    with closing(Ledger(f"sqlite:///{tmp_path}/l.db")) as ledger, closing(sqlite3.connect(tmp_path / "l.db")) as other:
        with ledger.begin() as c:
            c.exec_driver_sql("CREATE TABLE t (a)")
        other.isolation_level = None
        other.execute("PRAGMA busy_timeout = 0")
        with ledger.reading() as c:
            assert c.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
            other.execute("BEGIN IMMEDIATE")
            other.execute("INSERT INTO t VALUES (1)")
            if not wal_is_safe(sqlite3.sqlite_version_info):
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("COMMIT")
                late = sqlite3.connect(tmp_path / "l.db", timeout=0)
                with closing(late), pytest.raises(sqlite3.OperationalError, match="locked"):
                    late.execute("SELECT count(*) FROM t")
            else:
                other.execute("COMMIT")
            assert c.exec_driver_sql("SELECT count(*) FROM t").scalar() == 0
        if other.in_transaction:
            other.execute("COMMIT")
        with ledger.reading() as c:
            assert c.exec_driver_sql("SELECT count(*) FROM t").scalar() == 1
