"""Each guard taken out in turn: the schedule that it is there for then goes wrong. With it, the same schedule is right.

A guard that nothing here needs would be one that no test watches. Fence and `stop`: tests/live/test_switches.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.faults.test_resume import dies
from tests.live.harness import Background, Counters, Docs, around, blocked, instead
from tests.servers import Pair
from trueup import reconcile
from trueup.adapters import _by_row_version, _units, _way
from trueup.adapters._results import RowStream
from trueup.adapters._steps import UnitTransaction
from trueup.adapters.postgresql import PostgresqlAdapter
from trueup.core.states import Outcome
from trueup.errors import TrueupError
from trueup.store.ledger import Ledger
from trueup.work import Work

Without = Callable[[], AbstractContextManager[Any]]


def judged(with_guard: bool, wrong: object) -> None:
    """The schedule is wrong exactly when its guard is missing."""
    if with_guard:
        assert not wrong, f"wrong, with its guard in place: {wrong}"
    else:
        assert wrong, "nothing went wrong without the guard: this schedule does not watch it"


guarded = pytest.mark.parametrize("guard", [True, False], ids=["with", "without"])


@contextmanager
def without(*replaced: tuple[object, str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for owner, name, replacement in replaced:
            stack.enter_context(instead(owner, name, replacement))
        yield


def mutant(guard: bool, *replaced: tuple[object, str, Any]) -> AbstractContextManager[None]:
    return nullcontext() if guard else without(*replaced)


@pytest.fixture
def app(postgres: str) -> Counters:
    counters = Counters(postgres)
    counters.fill({1: (5, 7), 2: (5, 7)})
    return counters


@contextmanager
def writing(app: Counters, *statements: str) -> Iterator[Any]:
    """A transaction of the application that is open until we have to wait for it."""
    with closing(app.db.connect()) as writer:
        for statement in ("BEGIN", *statements):
            writer.execute(statement)

        def commit() -> None:
            blocked(app.db, who="trueup")
            writer.execute("COMMIT")

        committing = Background(commit)
        yield writer
        committing.join()


EDGE = "INSERT INTO edges(post) VALUES (1)"
INCREMENT = "UPDATE counter SET n = n + 1 WHERE post = 1"
MUTEX = "SELECT 1 FROM counter WHERE post = 1 FOR UPDATE"


# --- the row ---------------------------------------------------------------------------------------------------------


@guarded
def test_the_row_lock(app: Counters, tmp_path: Path, *, guard: bool) -> None:
    no_lock = (PostgresqlAdapter, "locking", lambda _self, statement, *, wait: statement)
    settings = {"lock_timeout": "60s"}
    engine = app.engine(tmp_path, writers="mutex", settings=settings)
    with engine, mutant(guard, no_lock), writing(app, EDGE, INCREMENT):
        engine.run("counter")
    judged(guard, app.wrong())


@guarded
def test_a_new_snapshot_after_the_lock(app: Counters, tmp_path: Path, *, guard: bool) -> None:
    old = (PostgresqlAdapter, "writing_options", {"isolation_level": "REPEATABLE READ"})
    settings = {"lock_timeout": "60s"}
    with app.engine(tmp_path, writers="mutex", settings=settings) as engine, mutant(guard, old):
        with writing(app, MUTEX, EDGE):
            engine.run("counter")
        wrong = app.wrong()
    # The engine itself sees it at its second look; what counts is what it had written.
    judged(guard, wrong)


@guarded
def test_locked_rows_are_passed_over(app: Counters, tmp_path: Path, *, guard: bool) -> None:
    patient = (
        PostgresqlAdapter,
        "locking",
        lambda _self, statement, *, wait: statement.with_for_update(key_share=True),
    )
    held: list[Exception] = []
    with closing(app.db.connect()) as writer, closing(app.db.connect()) as other:
        writer.execute("BEGIN")
        writer.execute("SELECT 1 FROM counter WHERE post = 2 FOR UPDATE")
        other.execute("SET lock_timeout = '1ms'")

        def look() -> None:
            import psycopg

            blocked(app.db, who="trueup")
            try:
                other.execute(INCREMENT)
                other.execute("UPDATE counter SET n = n - 1 WHERE post = 1")
            except psycopg.errors.LockNotAvailable as error:
                held.append(error)
            writer.execute("COMMIT")

        looking = Background(look)
        with app.engine(tmp_path, settings={"lock_timeout": "60s"}) as engine, mutant(guard, patient):
            engine.run("counter")
        looking.join()
    judged(guard, held)


@guarded
def test_a_mutex_writer_is_not_vouched_for_by_the_version(app: Counters, tmp_path: Path, *, guard: bool) -> None:
    """It changed the source and only locked the row, whose version is what it was."""
    vouched = (Work, "vouched", lambda _self, suspect: suspect.observed is not None)
    unseen = (reconcile, "verify", lambda *_: ([], []))  # verifying would find it, and repair it under the lock
    write = around(Ledger, "open_unit", after=lambda: app.db.together(MUTEX, EDGE))
    with app.engine(tmp_path, writers="mutex") as engine, mutant(guard, vouched, unseen), write:
        engine.run("counter")
    judged(guard, app.wrong())


# --- the version -----------------------------------------------------------------------------------------------------


@pytest.fixture
def docs(postgres_pair: Pair) -> Docs:
    pair = Docs(*postgres_pair)
    pair.put(pair.source, 1, 5)
    pair.put(pair.target, 1, 1)
    return pair


class _Whatever:
    """A version that is equal to every other."""

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None


@guarded
def test_the_version_is_compared(docs: Docs, tmp_path: Path, *, guard: bool) -> None:
    blind = (_by_row_version, "token", lambda _row: _Whatever())
    write = around(_way, "read_source", after=lambda: docs.write(1, 7))
    with docs.engine(tmp_path) as engine, mutant(guard, blind), write, suppress(TrueupError):
        engine.run("doc")
    judged(guard, docs.state() != (7, 7))


@guarded
def test_the_version_is_read_before_the_source(docs: Docs, tmp_path: Path, *, guard: bool) -> None:
    read_target, read_source = UnitTransaction.read_target, _way.read_source
    early: dict[str, Any] = {}

    def source_first(self: UnitTransaction, keys: Any) -> Any:
        if not early:
            early["source"] = read_source(engine._adapter("here"), self.binding, keys)
            docs.write(1, 7)
        return read_target(self, keys)

    def write_before_the_version(self: UnitTransaction, keys: Any) -> Any:
        if not early:
            early["written"] = True
            docs.write(1, 7)
        return read_target(self, keys)

    with docs.engine(tmp_path) as engine:
        swapped = ((UnitTransaction, "read_target", source_first), (_way, "read_source", lambda *_: early["source"]))
        same = (UnitTransaction, "read_target", write_before_the_version)
        with without(*((same,) if guard else swapped)):
            engine.run("doc")
    judged(guard, docs.state() != (7, 7))


# --- the record ------------------------------------------------------------------------------------------------------


def recovered(app: Counters, folder: Path, *, before: bool) -> tuple[list[Outcome], dict[int, int]]:
    """Die around the outcome's record, run again: the words for post 1."""
    with app.engine(folder) as engine, dies(Ledger, "close_unit", before=before):
        engine.run("counter")
    with app.engine(folder) as engine:
        report = engine.run("counter")
        return [o.outcome for o in engine.outcomes(report.run) if o.key == (1,)], app.wrong()


@guarded
def test_the_marker(app: Counters, tmp_path: Path, *, guard: bool) -> None:
    nothing = lambda *_: None  # noqa: E731
    with mutant(guard, (UnitTransaction, "leave_marker", nothing), (UnitTransaction, "sign_marker", nothing)):
        words, _ = recovered(app, tmp_path, before=True)
    judged(guard, words != [Outcome.APPLIED])  # it was, and only the marker knows


@guarded
def test_the_intent_is_written_before_the_effect(app: Counters, tmp_path: Path, *, guard: bool) -> None:
    opened: list[tuple[Any, ...]] = []
    open_unit, close_unit = Ledger.open_unit, Ledger.close_unit

    def late(self: Ledger, unit: str, *rest: Any) -> None:
        open_unit(self, *opened.pop())
        close_unit(self, unit, *rest)

    remember = (Ledger, "open_unit", lambda _self, *rest: opened.append(rest))
    with mutant(guard, remember, (Ledger, "close_unit", late)):
        words, _ = recovered(app, tmp_path, before=True)
    judged(guard, Outcome.APPLIED not in words)


# --- what was written ------------------------------------------------------------------------------------------------

MEDDLE = (
    "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.n := new.n + 100; RETURN new; END'",
    "CREATE TRIGGER meddle BEFORE UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION meddle()",
)
SWALLOW = (
    "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "CREATE TRIGGER swallow BEFORE UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION swallow()",
)
UNREAD = (_units, "read_back", lambda _steps, outcomes: outcomes)


def lies(app: Counters, folder: Path) -> list[Any]:
    """Outcomes that claim a value which the row does not have."""
    with app.engine(folder) as engine:
        with suppress(TrueupError):
            engine.run("counter")
        told = [o for run in engine.runs("counter") for o in engine.outcomes(run.id) if o.outcome is Outcome.APPLIED]
    held = dict(app.db.sql("SELECT post, n FROM counter"))
    return [o for o in told if (held[o.key[0]],) != o.after]


@guarded
def test_reading_back(app: Counters, tmp_path: Path, *, guard: bool) -> None:
    app.db.sql(*MEDDLE)
    with mutant(guard, UNREAD):
        wrong = lies(app, tmp_path)
    judged(guard, wrong)
    if guard:
        assert app.wrong() == {1: 2, 2: 2}  # left as it was


@guarded
def test_exactly_one_row(app: Counters, tmp_path: Path, *, guard: bool) -> None:
    """The row count and reading back watch the same; here the count alone."""
    app.db.sql(*SWALLOW)
    with without(UNREAD), mutant(guard, (UnitTransaction, "_one_row_each", lambda *_: None)):
        judged(guard, lies(app, tmp_path))


# --- what was read ---------------------------------------------------------------------------------------------------


@guarded
def test_the_end_of_data(sqlite_pair: Pair, tmp_path: Path, *, guard: bool) -> None:
    """A read that stops in the middle without an error looks like a source that has no more rows."""
    docs = Docs(*sqlite_pair)
    for key in range(5):
        docs.write(key, key)

    def broken(self: RowStream) -> Iterator[Any]:
        if self._adapter.name == "here":
            self.ended = not guard
            return iter(())
        return whole(self)

    whole = RowStream.__iter__
    engine = docs.engine(tmp_path, on_extra="delete")
    with engine, instead(RowStream, "__iter__", broken), suppress(TrueupError):
        engine.run("doc")
    judged(guard, docs.target.one("SELECT count(*) FROM doc") != 5)


# --- the fence -------------------------------------------------------------------------------------------------------


@guarded
def test_the_fence_is_held_strongly_enough(app: Counters, tmp_path: Path, *, guard: bool) -> None:
    """FOR KEY SHARE lets the token be raised under an open unit: two repairs then believe that they are alone."""

    def weakly(self: UnitTransaction) -> None:
        self.connection.execute(sa.text("SELECT 1 FROM trueup_fence FOR KEY SHARE"))

    raised: list[str] = []
    with app.engine(tmp_path) as engine, app.engine(tmp_path) as other:
        adapter = other._adapter("app")
        adapter.raise_fence("counter")

        def raise_now() -> None:
            raising = Background(lambda: (adapter.raise_fence("counter"), raised.append("raised")))
            if guard:
                blocked(app.db, who="trueup")
            else:
                raising.join()
            raised.append("unit still open")
            waiting.append(raising)

        waiting: list[Background] = []
        weak = mutant(guard, (UnitTransaction, "hold_fence", weakly))
        with weak, around(UnitTransaction, "sign_marker", after=raise_now):
            engine.run("counter")
        waiting[0].join()
    judged(guard, raised == ["raised", "unit still open"])
