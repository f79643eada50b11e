"""Looking at a database that does not answer, or not as it should: nobody waits for it, and everybody is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.live.harness import Background, until
from tests.pace.stepped import SteppedClock
from tests.pace.test_governor import ANN, Node
from trueup import Trueup
from trueup.adapters import _mysql_probe, connect
from trueup.core.pace.gauges import Gauge
from trueup.core.pace.governor import Mode
from trueup.core.pace.pressure import BLIND_AFTER_S
from trueup.core.pace.settings import Override
from trueup.core.projection import Database
from trueup.errors import ConfigError, LedgerFailed, Transient
from trueup.pace import looking as module
from trueup.pace.deciding import Pause
from trueup.pace.host import Processors
from trueup.pace.looking import Looking
from trueup.store.paces import Paces

#: A statement of SQLite that takes for ever.
ENDLESS = "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t"


def test_a_database_that_does_not_answer_holds_up_no_grant(clock: SteppedClock, paces: Paces) -> None:
    """Connecting hung for ten seconds each time, and the share with it: it was asked for when it had ended already."""
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(10)
    granted: list[tuple[float, float]] = []

    def hangs() -> bool:
        for _ in range(20):  # what the governor's thread does meanwhile
            node.governor.gate.wanted_at = clock.at_s
            clock.pass_(0.5)
            node.governor.step()
            granted.append((clock.at_s, node.governor.told(clock.at_s)["granted_s"]))
        raise Transient("connection timed out")

    node.seen.connect = hangs  # type: ignore[method-assign]
    node.seen.look = hangs  # type: ignore[method-assign, assignment]
    node.step(BLIND_AFTER_S + 60)
    for at, had in granted:
        later = [more for then, more in granted if then >= at + 60]
        assert not later or later[0] - had >= 0.999 * 0.05 * 60
    row = paces.find("app")
    assert row is not None
    assert (row.told["mode"], row.told["lacking"]["canary"]) == (Mode.PAUSED, "connection timed out")
    assert "no signal" in row.told["reason"]


def test_work_ends_where_the_database_does_not_answer(
    clock: SteppedClock, paces: Paces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that had ended waited for an answer, and all others that would begin or end waited for it."""
    monkeypatch.setattr(module, "END_S", 0.01)
    node, hangs, answered = Node("one", clock, paces), threading.Event(), threading.Event()
    del node.governor.looking._run  # it has its thread

    def canary() -> None:
        hangs.set()
        answered.wait()

    node.seen.canary = canary  # type: ignore[method-assign]
    node.governor.begin()
    until(hangs.is_set, "a reading to hang")
    Background(node.governor.end()).join()
    asker = node.governor.looking.asker
    assert asker.thread is not None
    assert asker.thread.is_alive(), "positive control"
    assert paces.find("app").nodes == 0  # type: ignore[union-attr]  # what it had was given back
    node.governor.begin()  # the next work has a thread of its own
    assert node.governor.looking.asker is not asker
    node.governor.end()()
    answered.set()
    asker.thread.join()
    assert node.governor.looking.tails.count(0) == (0, 0)  # what came too late counts for nothing


@pytest.mark.parametrize("told_late", [lambda looking: looking.ask(False), Looking.begin], ids=["not asked", "begun"])
def test_who_ends_is_not_kept_by_what_is_told_later(
    clock: SteppedClock, paces: Paces, told_late: Callable[[Looking], None]
) -> None:
    """Between its look at whether it is to end and its wait to be asked, it was told to wait, and did so for ever."""
    node, closed = Node("one", clock, paces), []
    node.seen.close = lambda: closed.append(True)  # type: ignore[method-assign]
    looking = node.governor.looking
    looking.begin()
    asker = looking.asker
    left = looking.end()
    told_late(looking)
    seen = iter([False])
    asker.ended.is_set = lambda: next(seen, True)  # type: ignore[method-assign]  # as it was just before
    Background(lambda: Looking._run(looking, asker)).join()
    assert closed == [True]
    left()


def test_readings_of_the_run_before_are_no_work_of_others(clock: SteppedClock, paces: Paces) -> None:
    """Each probe counts its own from nothing; those of the one before were others' work at the first look."""
    node = Node("one", clock, paces)
    node.seen.idle = True
    node.governor.begin()
    node.step(20)
    means = node.governor.looking.means
    assert means.idle
    node.governor.end()()
    node.seen.commits += 6000  # readings of the first run, which nobody takes off now
    node.governor.begin()
    for _ in range(10):
        node.step(1)
        assert means.idle
    node.seen.idle = False
    node.step(10)
    assert not means.idle, "the control: who really comes is seen"


def test_what_is_not_answered_is_given_up(clock: SteppedClock, paces: Paces) -> None:
    node, given_up, lacking = Node("one", clock, paces), [], list[str]()
    looking = node.governor.looking

    def give_up() -> None:
        given_up.append(clock.at_s)
        lacking.append(looking.lacking["canary"])

    node.seen.give_up = give_up  # type: ignore[method-assign]
    node.governor.begin()
    began = clock.at_s

    def hangs() -> None:
        while not given_up:
            clock.pass_(0.5)
            node.governor.step()
        raise Transient("it was given up")

    node.seen.canary = hangs  # type: ignore[method-assign]
    node.step(1)
    limit_s = module.HUNG_S + node.governor.pace.trips * module.TRIP_S
    assert limit_s < given_up[0] - began <= limit_s + 1
    assert lacking[0] == "no answer for 5 s"
    assert looking.lacking["canary"] == "it was given up"
    assert looking.health(clock.at_s).hard  # given up is as slow as that


def test_a_reading_of_postgresql_that_is_given_up_ends(postgres: str, unhurried: None) -> None:
    probe = connect("app", Database(url=postgres)).probe("SELECT pg_sleep(60)")
    assert probe is not None
    assert probe.connect()
    reading = Background(probe.canary)
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND state = 'active'"
    with psycopg.connect(postgres, autocommit=True) as judge:
        until(lambda: judge.execute(asleep).fetchone() == (1,), "it to be asked")
    assert not reading.done
    probe.give_up()
    with pytest.raises(Transient):
        reading.join()
    assert probe.connect()  # anew
    assert probe.number("SELECT 1") == 1
    probe.close()
    probe.give_up()  # of nothing


class Hanging:
    """A gauge's statement that is answered by nobody until it is given up."""

    def __init__(self, node: Node) -> None:
        self.asked, self.given_up = threading.Event(), threading.Event()
        node.seen.number, node.seen.give_up = self.number, self.given_up.set  # type: ignore[method-assign]

    def number(self, _statement: str) -> object:
        self.asked.set()
        self.given_up.wait()
        raise Transient("it was given up")


def test_a_gauge_that_is_not_answered_is_given_up(clock: SteppedClock, paces: Paces) -> None:
    """Its thread waited for ever, and nothing told that there was no number any more."""
    node = Node("one", clock, paces, gauges=(Gauge(name="jobs", sql="SELECT 1"),))
    hanging = Hanging(node)
    node.governor.begin()
    until(hanging.asked.is_set, "it to be asked")
    clock.pass_(module.HUNG_S)
    node.governor.step()
    assert not hanging.given_up.is_set()
    clock.pass_(1.0)
    assert node.governor.told(clock.at_s)["lacking"]["jobs"] == "no answer for 3 s"
    node.governor.step()
    until(lambda: node.governor.told(clock.at_s)["lacking"]["jobs"] == "it was given up", "it to be given up")
    node.governor.end()()


def test_a_gauge_that_is_not_answered_ends_with_the_work(
    clock: SteppedClock, paces: Paces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_S", 0.01)
    node = Node("one", clock, paces, gauges=(Gauge(name="jobs", sql="SELECT 1"),))
    hanging = Hanging(node)
    node.governor.begin()
    until(hanging.asked.is_set, "it to be asked")
    left = node.governor.end()
    assert not hanging.given_up.is_set()
    left()
    assert hanging.given_up.is_set()


@pytest.mark.parametrize("name", ["log, MB", "canary, ms", "waits for disk", "active a core"])
def test_a_gauge_has_a_name_of_its_own(sqlite_url: str, name: str) -> None:
    """What the database tells under that name was taken, and the gauge's number for nothing. It is refused before
    anything is asked for.
    """
    database = Database.model_validate({"url": sqlite_url, "pace": {"gauges": [{"name": name, "sql": "SELECT 1"}]}})
    with pytest.raises(ConfigError, match=rf"databases\.app\.pace\.gauges: {name}: .* give the gauge another name"):
        Trueup(databases={"app": database}, projections=[])


def test_a_gauge_may_be_named_like_a_signal_of_another_database(sqlite_url: str) -> None:
    database = {"url": sqlite_url, "pace": {"gauges": [{"name": "lock waits", "sql": "SELECT 1"}]}}
    Trueup(databases={"app": Database.model_validate(database)}, projections=[]).close()


def test_a_reading_of_sqlite_that_is_given_up_ends(sqlite_url: str) -> None:
    """There is no limit for a statement, and to give it up did nothing."""
    Path(sqlite_url.removeprefix("sqlite:///")).touch()
    probe = connect("app", Database(url=sqlite_url)).probe(ENDLESS)
    assert probe is not None
    assert probe.connect()
    reading = Background(probe.canary)

    def given_up() -> bool:  # again and again: it may not have begun yet
        probe.give_up()
        return reading.done

    until(given_up, "it to end")
    with pytest.raises(Transient, match="interrupted"):
        reading.join()
    assert probe.connect()  # anew
    assert probe.number("SELECT 1") == 1
    probe.close()
    probe.give_up()  # of nothing


def test_a_reading_of_mariadb_ends_by_itself(
    mariadb: str,
    unhurried: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server's own limit is not kept by what stands in front of it, or is not there any more."""
    monkeypatch.setattr(_mysql_probe, "ANSWER_S", 1)
    probe = connect("app", Database(url=mariadb)).probe("SELECT SLEEP(60)")
    assert probe is not None
    with pytest.raises(Transient, match="timed out"):
        probe.canary()
    probe.close()


def test_to_connect_is_no_reading(clock: SteppedClock, paces: Paces) -> None:
    """A run of `trueup serve` had one reading of 80 ms among the first twenty, which was the tail then."""
    node = Node("one", clock, paces)
    new = [True]

    def connects() -> bool:
        clock.pass_(0.3 if new else 0.0)
        return bool(new) and new.pop()

    first, canary = [True], node.seen.canary

    def reads() -> None:
        clock.pass_(0.1 if first else 0.0)
        first.clear()
        canary()

    node.seen.connect = connects  # type: ignore[method-assign]
    node.seen.canary = reads  # type: ignore[method-assign]
    node.governor.begin()
    node.step(0.5)
    assert node.governor.looking.signals["canary, ms"].value == pytest.approx(1.0)


def test_a_statement_that_is_refused_costs_no_connection(postgres: str) -> None:
    """Where replication is not told, it was made anew once a minute, in the midst of readings."""
    probe = connect("app", Database(url=postgres)).probe("")
    assert probe is not None
    assert probe.connect()
    session = probe.number("SELECT pg_backend_pid()")
    with pytest.raises(Transient, match="nothing"):
        probe.number("SELECT nothing")
    assert not probe.connect()
    assert probe.number("SELECT pg_backend_pid()") == session
    with psycopg.connect(postgres, autocommit=True) as judge:
        judge.execute("SELECT pg_terminate_backend(%s)", (session,))
        asked = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        until(lambda: judge.execute(asked, (session,)).fetchone() == (0,), "it to end")
    with pytest.raises(Transient):
        probe.canary()
    assert probe.connect()  # the control: of one that has gone, nothing is left
    probe.close()


@pytest.mark.parametrize("what", ["canary", "look", "connect"])
def test_a_fault_that_repeats_holds_up_no_grant_and_is_told(
    clock: SteppedClock, paces: Paces, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It came before the share was asked for, which then ended."""
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(10)

    def odd() -> None:
        raise ValueError("no number")

    with monkeypatch.context() as patched:
        patched.setattr(node.seen, what, odd)
        node.step(20)
    assert node.governor.gate.permitted(clock.at_s) >= 0.05
    row = paces.find("app")
    assert row is not None
    assert row.told["lacking"]["looking"] == "ValueError: no number"
    node.step(3)
    assert "looking" not in node.governor.told(clock.at_s)["lacking"]


def test_while_nothing_may_run_little_is_read(clock: SteppedClock, paces: Paces) -> None:
    """Through hours that are closed it was read four times a second."""
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(20)
    looking = node.governor.looking
    assert looking.step(looking.asker).s < module.PAUSED_S, "the control"
    paces.set("app", Override(pause=True), by=ANN, why="", for_s=None)
    node.step(2)
    assert looking.step(looking.asker) == Pause(module.PAUSED_S)
    for _ in range(30):
        looking.step(looking.asker)
        clock.pass_(module.PAUSED_S)
        node.governor.step()
    health = looking.health(clock.at_s)
    assert (health.pressure, health.signals["canary, ms"].value) == (0, pytest.approx(1.0))  # it is seen all the same
    paces.set("app", Override(), by=ANN, why="", for_s=None)
    node.step(2)
    assert looking.step(looking.asker).s < module.PAUSED_S


def test_a_second_beginning_is_as_the_first(clock: SteppedClock, paces: Paces, monkeypatch: pytest.MonkeyPatch) -> None:
    """It went on with the load of before, though another process may have it by now."""
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(20)
    node.governor.end()()
    assert node.governor.gate.permitted(clock.at_s) == 0

    def away(*_: object) -> None:
        raise LedgerFailed("the server is away")

    with monkeypatch.context() as patched:
        patched.setattr(paces, "renew", away)
        with pytest.raises(LedgerFailed):
            node.governor.begin()
    assert node.governor.gate.permitted(clock.at_s) == 0
    node.governor.end()()
    node.governor.begin()
    assert node.governor.gate.permitted(clock.at_s) > 0.05


def test_who_takes_the_lead_late_is_not_blind(clock: SteppedClock, paces: Paces) -> None:
    """That nothing was seen while another looked is no sign that nothing is to be had."""
    one, two = Node("one", clock, paces), Node("two", clock, paces)
    one.governor.begin()
    two.governor.begin()
    for _ in range(7):
        one.step(10)
        two.step(0.1)
    one.governor.end()()
    clock.pass_(2)
    two.governor.step()
    assert two.governor.lease.leads
    assert not two.governor.looking.health(clock.at_s).blind
    two.step(10)
    assert two.modes[:1] != [Mode.PAUSED]


@pytest.mark.parametrize(("ours_s", "others"), [(0.0, 1.0), (0.4, 0.2)])
def test_what_our_threads_take_between_two_statements_is_not_taken_by_others(
    clock: SteppedClock, paces: Paces, monkeypatch: pytest.MonkeyPatch, ours_s: float, others: float
) -> None:
    """Ours was bound by what the machine did for ourselves. `ours_s`: core-seconds of ours in half a second."""
    node = Node("one", clock, paces, cores=4)
    monkeypatch.setattr(node.seen, "here", True)
    looking = node.governor.looking
    monkeypatch.setattr(looking._host, "look", lambda _now: {})
    monkeypatch.setattr(looking._host, "processors", lambda _now: Processors(busy=1.0, passed_s=0.5, runnable=1.0))
    node.governor.begin()
    for _ in range(40):
        node.governor.gate.between_s += ours_s
        node.step(0.5, works=False)
    assert looking.means.taken == pytest.approx(others, abs=0.05)


def test_one_number_is_one_sample_however_often_it_is_looked_at(clock: SteppedClock, paces: Paces) -> None:
    """Two looks at one number that was told once were an emergency."""
    node, asked_at = Node("one", clock, paces), [0.0]
    seen_so = node.seen.look
    node.seen.look = lambda: replace(seen_so(), had={"lag": asked_at[0]})  # type: ignore[method-assign]
    node.governor.begin()
    node.seen.lag = 5  # beyond an emergency, and not far beyond
    node.step(4)
    assert node.governor.looking.signals["lag"].hard == 1
    asked_at[0] = 1.0
    node.step(2)
    assert node.governor.looking.signals["lag"].hard == 2
    node.governor.end()()
