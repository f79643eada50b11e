"""Redis, and its client, break in the middle of a repair: what the ledger says afterwards is true."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis as driver

from tests.faults.children import children
from tests.faults.proxy import Proxy
from tests.live.harness import PATIENCE_S, around
from tests.live.test_redis import Cache
from tests.servers import started_redis
from trueup.adapters import _documents
from trueup.adapters import redis as adapter
from trueup.adapters._redis_unit import RedisUnit
from trueup.adapters.redis import RedisAdapter
from trueup.core.states import Outcome, Verdict
from trueup.errors import ConnectionFailed, DesignProblem, TrueupError
from trueup.store.ledger import Ledger

#: Where the client is killed: the step, whether before or after it, and what the row's outcome must be in the end.
POINTS = {
    "before the unit reads": (RedisUnit, "read", "before", Outcome.NOT_APPLIED),
    "before EXEC": (RedisUnit, "write", "before", Outcome.NOT_APPLIED),
    "after EXEC": (RedisUnit, "write", "after", Outcome.APPLIED),
    "before the outcome is recorded": (Ledger, "close_unit", "before", Outcome.APPLIED),
    "after the outcome is recorded": (Ledger, "close_unit", "after", Outcome.APPLIED),
}


@pytest.fixture
def cache(redis: str, tmp_path: Path) -> Iterator[Cache]:
    """Post 1 has 5 likes, and 3 in Redis; each change of its key counts."""
    made = Cache(tmp_path, redis)
    made.source(1, 5)
    made.deliver(1, 3)
    yield made
    made.redis.close()


def _die(point: str, folder: Path, url: str, settings: dict[str, Any]) -> None:
    """Run the engine, and kill this process at the point."""
    owner, name, when, _ = POINTS[point]
    with around(owner, name, **{when: lambda: os.kill(os.getpid(), signal.SIGKILL)}):
        Cache(folder, url, fresh=False).run(**settings)


def killed(cache: Cache, point: str, **settings: Any) -> None:
    child = children.Process(target=_die, args=(point, cache.folder, cache.url, settings))
    child.start()
    child.join(2 * PATIENCE_S)
    assert child.exitcode == -signal.SIGKILL


def told(cache: Cache, **settings: Any) -> tuple[Verdict, list[tuple[Outcome, str]]]:
    """The next run's verdict, and every outcome that the ledger has of the row, with who knows it."""
    with closing(cache.engine(**settings)) as engine:
        verdict = engine.run("likes").verdict
        found = [(o.outcome, o.witness) for run in reversed(engine.runs("likes")) for o in engine.outcomes(run.id)]
    return verdict, found


@pytest.mark.parametrize("point", POINTS)
def test_a_client_that_is_killed_leaves_what_the_next_run_proves(cache: Cache, point: str) -> None:
    killed(cache, point)
    written = POINTS[point][3] is Outcome.APPLIED
    assert cache.state() == (5, 5 if written else 3)
    verdict, outcomes = told(cache)
    assert verdict is Verdict.REPAIRED
    assert cache.state() == (5, 5)
    of_unit = "unit" if point == "after the outcome is recorded" else "recovery"
    assert outcomes[0] == (POINTS[point][3], of_unit)
    assert [outcome for outcome, _ in outcomes].count(Outcome.APPLIED) == 1


def test_a_newer_delivery_after_the_crash_is_not_taken_back(cache: Cache) -> None:
    killed(cache, "after EXEC")
    cache.write(1, 8)
    verdict, outcomes = told(cache)
    assert cache.state() == (8, 8)
    assert (verdict, outcomes) == (Verdict.REPAIRED, [(Outcome.APPLIED, "recovery")])


@pytest.mark.parametrize("mode", ["before", "after"])
def test_a_lost_answer_to_exec_is_found_out_at_once(cache: Cache, mode: str) -> None:
    server = urlsplit(cache.url)
    proxy = Proxy({"host": server.hostname, "port": server.port}, b"EXEC")
    through = server._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()

    def arm() -> None:
        proxy.armed = mode

    direct, cache.url = cache.url, through
    with closing(proxy), closing(cache.engine()) as engine, around(RedisUnit, "write", before=arm):
        report = engine.run("likes")
        outcomes = engine.outcomes(report.run)
    cache.url = direct
    assert (proxy.cuts, report.verdict, cache.state()) == (1, Verdict.REPAIRED, (5, 5))
    assert [o.outcome for o in outcomes].count(Outcome.APPLIED) == 1
    assert cache.redis.get("likes:1") == b"5"


def test_control_the_drivers_own_client_calls_a_lost_answer_a_lost_race(cache: Cache) -> None:
    """Its answer to a connection that broke at EXEC is that a watched key changed; and yet the value was written."""
    server = urlsplit(cache.url)
    proxy = Proxy({"host": server.hostname, "port": server.port}, b"EXEC")
    with closing(proxy), driver.Redis(port=proxy.port, db=int(server.path[1:] or 0)) as client:
        pipe = client.pipeline()
        pipe.watch("likes:1")
        pipe.multi()
        pipe.set("likes:1", 5)
        proxy.armed = "after"
        with pytest.raises(driver.WatchError):
            pipe.execute()
    assert cache.state() == (5, 5)


def test_a_server_that_was_replaced_in_the_middle_stops_the_run(tmp_path: Path) -> None:
    """Two rows in two units; the server dies after the first, and another with older data takes its place."""
    with started_redis(tmp_path) as first:
        cache = Cache(tmp_path, first.url)
        port = urlsplit(first.url).port
        cache.source(1, 5)
        cache.deliver(1, 3)
        replaced: list[Any] = []

        def replace() -> None:
            first.process.kill()
            first.process.wait()
            replaced.append(started_redis(tmp_path, port=port))
            replaced[0].__enter__()
            cache.deliver(1, 2)

        with closing(cache.engine()) as engine:
            with around(RedisAdapter, "unit", before=replace), pytest.raises(DesignProblem, match="taken the place"):
                engine.run("likes")
            assert cache.state() == (5, 2)  # not written
            assert engine.run("likes").verdict is Verdict.REPAIRED  # compared anew
        assert cache.state() == (5, 5)
        cache.redis.close()
        replaced[0].__exit__(None, None, None)


def test_a_server_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    with started_redis(tmp_path) as server:
        cache = Cache(tmp_path, server.url)
        cache.source(1, 5)
    with closing(cache.engine()) as engine, pytest.raises(ConnectionFailed, match=r"databases\.cache: it cannot be"):
        engine.check("likes")
    cache.redis.close()


def test_a_source_that_breaks_in_between_writes_nothing(cache: Cache) -> None:
    def break_off() -> None:
        raise DesignProblem("the source broke")

    with around(_documents, "read_source", after=break_off), pytest.raises(DesignProblem):
        cache.run()
    assert cache.state() == (5, 3)


def test_a_replica_is_neither_source_nor_target(cache: Cache, tmp_path: Path) -> None:
    server = urlsplit(cache.url)
    home = tmp_path / "replica"
    home.mkdir()
    with started_redis(home, "--replicaof", str(server.hostname), str(server.port)) as replica:
        cache.url = replica.url
        with closing(cache.engine()) as engine, pytest.raises(TrueupError, match="it is a slave"):
            engine.check("likes")


def test_keys_that_vanish_while_they_are_scanned_are_no_empty_store(cache: Cache) -> None:
    for post in range(2, 5000):
        cache.redis.set(f"likes:{post}", 1)
    emptied = threading.Event()

    def flush() -> None:
        cache.redis.flushdb()
        emptied.set()

    with (
        closing(cache.engine()) as engine,
        around(adapter, "pages", after=flush),
        pytest.raises(TrueupError, match="while they were read"),
    ):
        engine.check("likes")
    assert emptied.is_set()
