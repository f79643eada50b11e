"""What would pass is tried again; when it does not, the engine pauses the projection, and tries again later."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.conformance.worlds import EngineClock
from tests.faults.proxy import proxied
from tests.live.harness import Counters, Docs, around, databases, instead
from tests.servers import Pair
from trueup import Trueup, Verdict, views
from trueup.adapters._sql import SqlAdapter
from trueup.adapters.sqlite import SqliteAdapter
from trueup.core.retry import Retry
from trueup.core.states import RunState
from trueup.errors import Paused, Refused, Transient
from trueup.patience import Patience
from trueup.store.standing import Standing

RETRY = {"tries": 3, "first": "1s", "longest": "4s", "pause": "1m", "pause_longest": "3m"}


def failing(times: int, error: type[Transient] = Transient):
    """The first so many reads of SQLite fail."""
    left = [times]
    differences = SqliteAdapter.differences

    def fails(self, binding, segment):  # type: ignore[no-untyped-def]
        if left[0]:
            left[0] -= 1
            raise error("databases.app: not now")
        return differences(self, binding, segment)

    return instead(SqliteAdapter, "differences", fails)


@pytest.fixture
def app(sqlite_url: str) -> Counters:
    counters = Counters(sqlite_url)
    counters.fill({1: (5, 7), 2: (5, 5)})
    return counters


def engine(app: Counters, folder: Path, clock: EngineClock, **how: object) -> Trueup:
    made = app.engine(folder, clock=clock)
    return Trueup(
        databases=databases({"app": app.db.url}),
        projections=list(made.projections.values()),
        ledger=made.ledger_url,
        clock=clock,
        retry={**RETRY, **how},
        chance=lambda: 0.5,
    )


def test_two_failures_pass_unseen(app: Counters, tmp_path: Path) -> None:
    clock = EngineClock()
    with engine(app, tmp_path, clock) as trueup, failing(2):
        assert trueup.run("counter").verdict is Verdict.REPAIRED
    assert clock.fake.sleeps[:2] == [0.5, 1.0]  # half of one second, half of two: the chance is ours


def test_tries_are_bounded_by_number_and_by_time(app: Counters, tmp_path: Path) -> None:
    clock = EngineClock()
    with engine(app, tmp_path, clock) as trueup, failing(9), pytest.raises(Transient, match=r"tried 3 times in 1\.5 s"):
        trueup.run("counter")
    with engine(app, tmp_path, clock, tries=50, within="3s") as trueup, failing(9):
        trueup.resume("counter")
        with pytest.raises(Transient, match="tried 3 times"):
            trueup.run("counter")


def test_a_database_that_is_down_does_not_use_up_the_tries_of_another() -> None:
    """Two sides are read in one piece of work: what fails here and there is not as much here."""
    clock = EngineClock()
    patience = Patience(clock=clock, retry=Retry(tries=3), chance=lambda: 0.5)
    answers = iter(["a", "b", "a", "b", ""])

    def read() -> str:
        if name := next(answers):
            raise Transient(f"databases.{name}: not now")
        return "read"

    assert patience.read(read) == "read"
    answers = iter(["a", "b", "a", "a"])
    with pytest.raises(Transient, match=r"databases\.a: not now \(tried 3 times"):
        patience.read(read)


def test_then_the_engine_pauses_and_the_next_run_after_it_goes_on(app: Counters, tmp_path: Path) -> None:
    clock = EngineClock()
    with engine(app, tmp_path, clock) as trueup, failing(6):
        with pytest.raises(Transient, match="Paused until"):
            trueup.run("counter")
        (status,) = views.status(trueup)
        assert (status["state"], status["reason"][:14]) == ("paused", "databases.app:")
        assert trueup.runs("counter")[0].state is RunState.FAILED
        reads = len(clock.fake.sleeps)
        with pytest.raises(Paused, match="60 s from now"):
            trueup.run("counter")
        with pytest.raises(Paused):
            trueup.check("counter")
        assert len(clock.fake.sleeps) == reads  # nothing was tried
        clock.wait(61)
        with pytest.raises(Transient):
            trueup.run("counter")
        control = trueup.standing.control("counter")
        assert control.until is not None
        assert (control.until - clock.now()).total_seconds() == 120  # the second in a row is twice as long
        assert control.pauses == 2
        clock.wait(121)
        report = trueup.run("counter")
        assert (report.verdict, report.resumed) == (Verdict.REPAIRED, True)
        assert trueup.standing.control("counter").pauses == 0
        assert views.status(trueup)[0]["state"] == "done"


def test_resume_ends_the_pause_at_once(app: Counters, tmp_path: Path) -> None:
    with engine(app, tmp_path, EngineClock()) as trueup, failing(3):
        with pytest.raises(Transient):
            trueup.run("counter")
        trueup.resume("counter")
        assert trueup.run("counter").verdict is Verdict.REPAIRED


def test_a_pause_by_a_person_is_not_replaced(app: Counters, tmp_path: Path) -> None:
    clock = EngineClock()
    with engine(app, tmp_path, clock) as trueup:
        trueup.pause("counter", reason="migration")
        trueup.stop_after_segment.asked = True
        with pytest.raises(Exception, match="stopped"):
            trueup.run("counter")
        assert trueup.standing.control("counter").reason == "migration"


@pytest.mark.parametrize("when", ["it fails", "it begins again", "it ends well"])
def test_what_a_person_sets_at_that_very_moment_stays(app: Counters, tmp_path: Path, when: str) -> None:
    """The kill switch, too: else `resume` would not know that there is a fence to be cleared in the target."""
    clock = EngineClock()
    with engine(app, tmp_path, clock) as trueup, failing(3):
        nth = ("it fails", "it begins again", "it ends well").index(when) + 1
        with around(Standing, "set_control", nth=nth, before=lambda: by_hand.stop("counter", reason="no")):
            by_hand = app.engine(tmp_path, clock=clock)
            with pytest.raises(Transient) if nth > 1 else suppress(Transient):
                trueup.run("counter")
            clock.fake.sleep(60)
            with suppress(Refused):
                trueup.run("counter")
        assert trueup.standing.control("counter").state == "stopped"
        trueup.resume("counter")
        assert trueup.run("counter").verdict in (Verdict.REPAIRED, Verdict.IN_SYNC)
        by_hand.close()


def test_a_server_that_goes_away_in_the_middle_and_comes_back(postgres_pair: Pair, tmp_path: Path) -> None:
    """Real connections: the proxy before the source is down for the first two attempts to connect again."""
    docs = Docs(*postgres_pair)
    for key in range(5):
        docs.put(docs.source, key, key)
    with proxied(docs.source.url) as (proxy, through):
        direct, docs.source.url = docs.source.url, through
        trueup = docs.engine(tmp_path, exact=True)
        docs.source.url = direct
        adapter = trueup._adapter("here")

        def down() -> None:
            proxy.down = True
            adapter.engine.dispose()

        waits = trueup.clock.waits  # type: ignore[attr-defined]
        back = around(type(trueup.clock), "wait", before=lambda: setattr(proxy, "down", False), nth=2)
        with trueup, around(SqlAdapter, "stream", before=down), back:
            report = trueup.run("doc")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 5)
    assert len(waits) >= 2


def test_control_without_patience_the_same_cut_ends_the_run(postgres_pair: Pair, tmp_path: Path) -> None:
    docs = Docs(*postgres_pair)
    docs.put(docs.source, 1, 1)
    with proxied(docs.source.url) as (proxy, through):
        direct, docs.source.url = docs.source.url, through
        trueup = docs.engine(tmp_path, exact=True)
        docs.source.url = direct
        object.__setattr__(trueup.patience, "retry", trueup.patience.retry.model_copy(update={"tries": 1}))

        def down() -> None:
            proxy.down = True
            trueup._adapter("here").engine.dispose()

        with trueup, around(SqlAdapter, "stream", before=down), pytest.raises(Transient, match="tried once"):
            trueup.run("doc")
    assert docs.state() == (1, None)
