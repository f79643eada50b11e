"""Triggers of a node that serves: from an event to a repaired row; and what the commands tell meanwhile."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.cli.shop import SCHEMA, Server, Shop
from tests.live.harness import PATIENCE_S, until
from tests.serving.worlds import World
from tests.triggers.buses import RedisBus, opened_bus
from trueup import Trueup
from trueup.clock import SystemClock
from trueup.errors import ConfigError
from trueup.serve import Node


@pytest.fixture
def bus(redis: str) -> Iterator[Any]:
    with opened_bus("redis_stream", redis) as made:
        yield made


def test_a_row_is_right_again_soon_after_an_event(postgres: str, tmp_path: Path) -> None:
    """Two nodes listen to one channel, and what both hear is done once."""
    world = World(postgres, f"sqlite:///{tmp_path / 'ledger.db'}")
    world.declare(triggers=({"kind": "listen", "database": "app", "channel": "likes", "window": "0.1s"},))

    def engine() -> Trueup:
        return world.engine(clock=SystemClock())

    nodes = [Node(engine, workers=1) for _ in range(2)]
    threads = [threading.Thread(target=node.serve, args=(0.2,)) for node in nodes]
    for thread in threads:
        thread.start()
    try:
        with engine() as asking:
            until(lambda: len(asking.queue.newest("p")) > 0 and not asking.queue.open())
            for listener in (node.listeners.listeners[0] for node in nodes):
                until(lambda told=listener: told.told.state == "listening")  # type: ignore[misc]
            before = len(asking.queue.newest("p"))
            world.drift(1, 2)
            with psycopg.connect(postgres, autocommit=True) as c:
                for n in (1, 2, 1):
                    c.execute("SELECT pg_notify('likes', %s)", (str(n),))
            until(world.right)
            until(lambda: not asking.queue.open())
            ended = asking.queue.newest("p")[: len(asking.queue.newest("p")) - before]
            assert {request.asked_by for request in ended} == {"listen"}
            assert sum(request.answer == "repaired" for request in ended) <= 2
            repaired = [outcome for run in asking.runs("p") for outcome in asking.outcomes(run.id)]
            assert sorted(outcome.key for outcome in repaired if outcome.outcome == "applied") == [(1,), (2,)]
    finally:
        for node in nodes:
            node.stop()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)


def test_a_storm_on_one_key_is_one_run(bus: RedisBus, tmp_path: Path) -> None:
    """Nobody takes requests while it goes on: what waits then is one, and what it costs is one run."""
    from tests.serving.worlds import sqlite_world

    world = sqlite_world(tmp_path)
    world.declare(triggers=(bus.trigger(),))
    world.drift(1)
    node = world.node(brokers={"bus": bus.url}, clock=SystemClock())
    node.listeners.start()
    bus.publish(*({"id": 1} for _ in range(5_000)))
    (listener,) = node.listeners.listeners
    until(lambda: listener.told.events >= 5_000)
    node.listeners.stop()
    node.listeners.join(PATIENCE_S)
    waiting = node.engine.queue.open()
    assert {str(request.keys) for request in waiting} <= {"[{'id': 1}]", "None"}, "all keys, since the group is new"
    assert sum(request.merged for request in waiting) >= 5_000
    SystemClock().wait(0.1)
    for _ in range(2):
        node.step()
    assert len(node.engine.runs("p")) == len(waiting) <= 2
    assert world.right()


def test_a_driver_that_is_not_installed_is_said_before_it_serves(
    bus: RedisBus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.serving.worlds import sqlite_world

    world = sqlite_world(tmp_path)
    world.declare(triggers=(bus.trigger(),))
    monkeypatch.setitem(__import__("sys").modules, "trueup.triggers.redis_stream", None)
    with pytest.raises(ConfigError, match=r"pip install 'trueup\[redis\]'"):
        world.node(brokers={"bus": bus.url})


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    server = Server()
    made = Shop(folder=tmp_path, server=server, databases={"app": {"url": "sqlite:///app.db"}})
    made.sql(SCHEMA.format("src"), SCHEMA.format("tgt"))
    yield made
    server.close()


def test_what_the_commands_tell(bus: RedisBus, shop: Shop) -> None:
    trigger = bus.trigger(field="").model_dump(mode="json", exclude_defaults=True)
    shop.declare(triggers=[trigger], settle="0s")
    with (shop.folder / "trueup.toml").open("a") as file:
        file.write(f'[brokers.bus]\nurl = "{bus.url}"\n')
    ran = shop.run("triggers", "--json")
    assert ran.code == 0, ran
    (row,) = ran.json["triggers"]
    assert (row["state"], row["trigger"]) == ("unserved", f"redis_stream bus: {bus.name}")
    with shop.running("serve") as going:
        going.until("p: in_sync")  # the group is new, so all keys were looked at
        shop.fill([(1, 10)], [])
        bus.client.xadd(bus.name, {"id": "1"})
        going.until("p: repaired")
        (row,) = shop.run("triggers", "p", "--json").json["triggers"]
        assert row["state"] == "listening"
        going.process.send_signal(signal.SIGTERM)
        assert going.end().code == 0
    assert shop.target == [(1, 10, None)]
    assert "unserved" in shop.run("triggers").out
    assert "1 event" in shop.run("queue").out


def test_a_node_that_was_killed_does_not_listen(bus: RedisBus, shop: Shop) -> None:
    trigger = bus.trigger(field="").model_dump(mode="json", exclude_defaults=True)
    shop.declare(triggers=[trigger], settle="0s")
    with (shop.folder / "trueup.toml").open("a") as file:
        file.write(f'[brokers.bus]\nurl = "{bus.url}"\n')
    with shop.running("serve") as going:
        going.until("listening")
        assert "no node serves" not in shop.run("request", "p", "--reason", "why").err
        going.process.kill()
        going.end()
    shop.sql("UPDATE trueup_nodes SET seen_at = '2026-01-01 00:00:00'", database="trueup")
    (row,) = shop.run("triggers", "p", "--json").json["triggers"]
    assert row["state"] == "lost"
    assert "no node serves" in shop.run("request", "p", "--reason", "why").err
