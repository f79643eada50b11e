"""Leases on PostgreSQL: taken over when they run out, by the server's clock; their old holder writes no more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from tests.faults.pooler import pooled
from tests.faults.proxy import proxied
from tests.live.harness import Db, around, until
from tests.serving.worlds import World, waiting
from trueup.clock import SystemClock
from trueup.core.states import Verdict
from trueup.errors import ConnectionFailed, LedgerFailed, Refused, TakenOver
from trueup.serve import Node
from trueup.store import lease, lock
from trueup.store.ledger import Ledger
from trueup.store.sequence import SEQUENCE_LOCK, Sequencer

#: A lease that is soon renewed, and does not run out before that on a busy machine.
SHORT_S = 4.0

#: Takes a lease, says so, and waits to be killed.
HOLDER = """
import sys
from trueup.store.lease import acquire
from trueup.store.ledger import Ledger
print(bool(acquire(Ledger(sys.argv[1]).engine, ["p"], 600).tokens), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def ledger(postgres: str) -> Iterator[Ledger]:
    with closing(Ledger(postgres)) as opened:
        yield opened


def take(ledger: Ledger, *names: str, ttl_s: float = 30) -> lease.Lease:
    taken = lease.acquire(ledger.engine, names or ("p",), ttl_s)
    assert isinstance(taken, lease.Lease), taken
    return taken


def run_out(ledger: Ledger) -> None:
    """Nothing was heard of the holders for longer than their leases last."""
    with ledger.engine.begin() as c:
        c.execute(sa.text("UPDATE trueup_leases SET expires_at = clock_timestamp() - interval '1 second'"))


def test_it_is_taken_over_when_it_ran_out_and_not_before(ledger: Ledger) -> None:
    old = take(ledger, ttl_s=600)
    refused = lease.acquire(ledger.engine, ["p"])
    assert isinstance(refused, lease.Taken)
    assert 500 < refused.left_s <= 600
    run_out(ledger)
    assert not old.renew(), "who slept past the end does not get it back by waking up"
    new = take(ledger)
    assert new.inherited
    assert new.tokens["p"] == old.tokens["p"] + 1
    assert new.renew()
    old.release()
    assert isinstance(lease.acquire(ledger.engine, ["p"]), lease.Taken), "the old holder gave back what is not its own"
    new.release()
    assert not take(ledger).inherited


def test_it_is_renewed_while_a_transaction_holds_its_token(ledger: Ledger) -> None:
    held = take(ledger)
    with ledger.engine.begin() as c:
        held.check(c)
        assert held.renew()


def test_a_takeover_waits_for_a_transaction_of_the_old_holder(ledger: Ledger, postgres: str) -> None:
    """What the old holder has begun to write is complete before the new one reads; what it begins then is refused."""
    old = take(ledger)
    run_out(ledger)
    with ThreadPoolExecutor(1) as other:
        with ledger.engine.begin() as c:
            old.check(c)
            new = other.submit(take, ledger)
            waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%fences%'"
            until(lambda: Db(postgres).sql(waits) == [(1,)], "the takeover waits")
            assert not new.done()
        new.result()
    with ledger.engine.begin() as c, pytest.raises(TakenOver):
        old.check(c)


def test_a_holder_that_died_on_this_machine_is_not_waited_for(ledger: Ledger, postgres: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, postgres], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert isinstance(lease.acquire(ledger.engine, ["p"]), lease.Taken)
        process.kill()
        process.wait(30)
    assert lease.free(ledger.engine, "p")
    assert take(ledger).inherited


def test_processes_of_other_machines_and_containers_are_never_thought_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    me = lease._this_process()
    assert not lease._died_here(me)
    space, pid, began = me.split(" ")
    assert lease._died_here(f"{space} {pid} {int(began) + 1}"), "the number was given to another process"
    assert not lease._died_here(f"elsewhere {pid} {int(began) + 1}")
    assert not lease._died_here("")
    monkeypatch.setattr(lease, "_space", lambda: "")
    assert not lease._died_here(f" {pid} {int(began) + 1}")


def test_a_process_that_is_hidden_from_us_is_not_thought_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that systemd starts with `ProtectProc=invisible` does not see the runs of other accounts."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        other = f"{lease._space()} {process.pid} {lease._began(process.pid)}"
        monkeypatch.setattr(lease, "_PROCESSES", tmp_path)
        assert not lease._died_here(other)
        process.kill()
        process.wait(30)
        assert lease._died_here(other)


def test_what_is_held_is_renewed_until_it_is_let_go(ledger: Ledger) -> None:
    with lock.hold(ledger.engine, "p", lease_s=SHORT_S), ledger.engine.connect() as c:
        ends = sa.text("SELECT expires_at FROM trueup_leases WHERE name = 'p'")
        first = c.execute(ends).scalar_one()
        until(lambda: c.execute(ends).scalar_one() > first, "it is renewed")
    assert lock.is_free(ledger.engine, "p")


def test_who_lost_its_lease_is_told(ledger: Ledger) -> None:
    told: list[bool] = []
    with lock.hold(ledger.engine, "p", lease_s=0.3, lost=lambda: told.append(True)):
        with ledger.engine.begin() as c:
            c.execute(sa.text("UPDATE trueup_leases SET incarnation = 'another'"))
        until(lambda: told, "the holder is told")


@pytest.mark.parametrize("step", ["commit_narrowed", "open_unit", "close_unit"])
def test_a_run_that_slept_past_its_lease(postgres_pair: object, step: str) -> None:
    """Another takes over and finishes; the sleeper's next word to the ledger, or to the target, is refused."""
    world = World(postgres_pair.source, postgres_pair.target)  # type: ignore[attr-defined]
    world.declare()
    world.drift(1, 2, 3)
    answers = []

    def meanwhile() -> None:
        with world.engine() as other:
            run_out(other.ledger)
            with ThreadPoolExecutor(1) as elsewhere:
                answers.append(elsewhere.submit(other.run, "p").result())

    with world.engine() as sleeper, around(Ledger, step, before=meanwhile), pytest.raises(TakenOver):
        sleeper.run("p")
    assert [answer.verdict for answer in answers] == [Verdict.REPAIRED]
    assert answers[0].resumed
    assert world.right()
    with world.engine() as engine:
        (run,) = engine.runs("p")
        assert str(run.state) == "done"
        applied = [o.key for o in engine.outcomes(run.id) if str(o.outcome) == "applied"]
        assert sorted(applied) == [(1,), (2,), (3,)], "each row once"
        assert engine.ledger.open_units("p") == []


def test_without_the_guard_the_sleeper_goes_on(postgres_pair: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: it is the token in the ledger's own transactions that stops it, and not luck."""
    world = World(postgres_pair.source, postgres_pair.target)  # type: ignore[attr-defined]
    world.declare()
    world.drift(1)
    monkeypatch.setattr(lock, "guard", lambda *_: None)

    def meanwhile() -> None:
        with world.engine() as other:
            run_out(other.ledger)
            with ThreadPoolExecutor(1) as elsewhere:
                elsewhere.submit(other.check, "p").result()

    twice = pytest.raises(TakenOver, match="is done; it cannot become done")
    with world.engine() as sleeper, around(Ledger, "commit_narrowed", before=meanwhile), twice:
        sleeper.check("p")


def test_a_refusal_names_the_holder(ledger: Ledger) -> None:
    take(ledger, ttl_s=600)
    said = r"'p' is being run by another process \(process \d+ on .*, for another \d+ s"
    with pytest.raises(Refused, match=said), lock.hold(ledger.engine, "p"):
        pass


def test_who_lost_its_lease_does_not_wait_on(postgres_pair: object) -> None:
    """It was about to look again in an hour; the node would keep a worker, and not run the same again, until then."""
    world = World(postgres_pair.source, postgres_pair.target)  # type: ignore[attr-defined]
    world.declare(settle="1h")
    world.drift(1)
    node = Node(partial(world.engine, clock=SystemClock(), lease_s=SHORT_S), workers=1)
    try:
        node.ask("p", reason="why", asked_by="api")
        node.step()
        stage = "SELECT stage FROM trueup_runs"
        until(lambda: Db(world.ledger_url).sql(stage) == [("confirm",)], "it waits for its second look")
        Db(world.ledger_url).sql("UPDATE trueup_leases SET incarnation = 'another'")
        until(lambda: not node.busy, "it let go")
    finally:
        node.stop()
        node.executor.shutdown()
        node.close()


# --- a ledger that goes away -----------------------------------------------------------------------------------------


def test_a_server_that_is_away_is_a_failure_of_the_ledger(postgres: str) -> None:
    with proxied(postgres) as (proxy, url), closing(Ledger(url)) as ledger:
        held = take(ledger)
        proxy.down = True
        proxy.drop()
        for ask in (
            held.renew,
            partial(lock.is_free, ledger.engine, "p"),
            partial(lease.acquire, ledger.engine, ["q"]),
        ):
            with pytest.raises(LedgerFailed, match="mend it"):
                ask()
        held.release()  # its end is as good


def test_who_sleeps_in_a_transaction_of_the_ledger_holds_its_lease(ledger: Ledger) -> None:
    old = take(ledger)
    run_out(ledger)
    with ledger.engine.begin() as c:
        old.check(c)
        said = "another's transaction in the ledger"
        with ThreadPoolExecutor(1) as elsewhere, pytest.raises(Refused, match=said):
            elsewhere.submit(_hold, ledger).result()
    _hold(ledger)


def test_who_sleeps_in_a_transaction_of_the_ledger_is_thrown_out(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped, a machine that lost its power: what it has locked is wanted by all the others."""
    monkeypatch.setattr("trueup.store.engine.IDLE_MS", 500)
    with closing(Ledger(postgres)) as sleeper, closing(Ledger(postgres)) as other:
        old = take(sleeper)

        def sleep() -> None:
            with sleeper.begin() as c:
                old.check(c)
                c.execute(sa.select(sa.func.pg_advisory_xact_lock(SEQUENCE_LOCK)))
                run_out(other)
                until(lambda: isinstance(lease.acquire(other.engine, ["p"]), lease.Lease))
                assert Sequencer(other).number() == 0, "the log goes on too"

        with pytest.raises(LedgerFailed):
            sleep()
        with sleeper.reading() as c:
            assert c.execute(sa.text("SELECT 1")).scalar() == 1, "it goes on when it wakes"


def test_who_takes_long_over_what_was_read_sleeps_in_no_transaction(postgres: str) -> None:
    """To make rows of what was read may take longer than a transaction may be idle."""
    with closing(Ledger(postgres)) as ledger, ledger.reading() as c:
        mine = c.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
        with psycopg.connect(postgres) as other:
            state = "SELECT state FROM pg_stat_activity WHERE pid = %s"
            assert other.execute(state, (mine,)).fetchone() == ("idle",)


def test_behind_a_pooler_each_transaction_sets_it_and_leaves_nothing(postgres: str) -> None:
    idle = "idle_in_transaction_session_timeout"
    with pooled(postgres) as (pooler, url), closing(Ledger(url)) as ledger:
        for _ in range(2 * len(pooler.sessions)):
            with ledger.begin() as c:
                assert c.execute(sa.text(f"SHOW {idle}")).scalar() == "1min"
        assert pooler.shown(idle) == {"0"}


def test_a_node_that_begins_without_its_ledger_is_started_again(postgres_pair: object, tmp_path: Path) -> None:
    """systemd starts it again after any exit code but 2, which says that the configuration is wrong."""
    with proxied(postgres_pair.target) as (proxy, url):  # type: ignore[attr-defined]
        proxy.down = True
        (tmp_path / "trueup.toml").write_text(f'[trueup]\nledger = "{url}"\n[databases.app]\nurl = "sqlite:///a.db"\n')
        ended = subprocess.run(
            [sys.executable, "-m", "trueup", "serve"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == LedgerFailed.exit_code != ConnectionFailed.exit_code
    assert "A node cannot begin without its ledger" in ended.stderr


def test_a_node_has_opened_all_its_ledgers_when_it_begins(postgres_pair: object) -> None:
    """Opened later, a ledger that is away would be an error that nothing in a node expects."""
    with proxied(postgres_pair.target) as (proxy, url):  # type: ignore[attr-defined]
        node = World(postgres_pair.source, url).node()  # type: ignore[attr-defined]
        proxy.down = True
        proxy.drop()
        for engine in node.engines:
            with pytest.raises(LedgerFailed):
                engine.queue.open()
        node.close()


def _hold(ledger: Ledger) -> None:
    with lock.hold(ledger.engine, "p"):
        pass


def test_a_node_outlives_a_ledger_that_goes_away_at_any_statement(postgres_pair: object) -> None:
    """Its loop looks again after LedgerFailed, and ends at anything else; so nothing else may come of it."""
    cuts = 0
    with proxied(postgres_pair.target) as (proxy, url):  # type: ignore[attr-defined]
        proxy.word = b"SELECT"
        world = World(postgres_pair.source, url)  # type: ignore[attr-defined]
        world.declare(schedule={"every": "1h"})
        node, lost = world.node(at_once=False), world.node(at_once=False)
        try:
            node.step()
            for passing in range(100):
                request = lost.ask("p", reason="asked", asked_by="api")
                lost.engine.queue.begin(request, lost.id, lost.now())  # and then it died
                proxy.passing, proxy.armed = passing, "before"
                try:
                    node.step()
                except LedgerFailed:
                    cuts += 1
                if proxy.armed:
                    break
        finally:
            proxy.armed = ""
            world.close()
    assert cuts > 5, "the proxy cut nothing"


def test_what_a_cut_kept_from_being_handed_over_is_at_the_next_look(postgres_pair: object) -> None:
    """Else its worker would be lost, and no other request of its projection begun any more."""
    cuts = 0
    with proxied(postgres_pair.target) as (proxy, url):  # type: ignore[attr-defined]
        proxy.word = b"SELECT"
        world = World(postgres_pair.source, url)  # type: ignore[attr-defined]
        world.declare()
        node = world.node(workers=1, at_once=False)
        try:
            for passing in range(100):
                node.ask("p", reason="asked", asked_by="api")
                proxy.passing, proxy.armed = passing, "before"
                with suppress(LedgerFailed):
                    node.step()
                cut, proxy.armed = not proxy.armed, ""
                node.step()
                node.executor.work()  # type: ignore[attr-defined]
                assert (waiting(node), node.busy) == ([], {}), f"cut at statement {passing} of a look"
                if not cut:
                    break
                cuts += 1
        finally:
            proxy.armed = ""
            world.close()
    assert cuts > 3, "the proxy cut nothing"
