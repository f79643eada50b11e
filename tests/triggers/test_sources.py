"""What every kind of trigger does, on its real server: events doubled, reordered, unreadable, by the thousand; requests
that could not be kept; connections that are cut.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import PATIENCE_S, Db, until
from tests.servers import run_mariadb
from tests.triggers.buses import BUSES, POISON, Bus, RabbitBus, RedisBus, opened_bus
from trueup.clock import SystemClock
from trueup.core.triggers import Outbox
from trueup.errors import LedgerFailed
from trueup.listening import Listener, called
from trueup.store.ledger import Ledger
from trueup.store.listening import KeptPosition, Stands
from trueup.triggers import Delivery, Place, Source, opened

#: Events of the small storm; `python -m tests.campaign.events` has a large one.
STORM = 3_000


class Asked:
    """What was asked for, and whether it can be kept."""

    def __init__(self) -> None:
        self.keys: set[int] = set()
        self.over_all: list[str] = []
        self.merged = 0
        self.requests = 0
        #: The ledger is away.
        self.away = False

    def __call__(self, name: str, *, keys: Any, reason: str, asked_by: str, merged: int, delay_s: float) -> str:
        if self.away:
            raise LedgerFailed("the ledger is away")
        self.requests += 1
        self.merged += merged
        if keys is None:
            self.over_all.append(reason)
        self.keys |= {key["id"] for key in keys or ()}
        return "q-1"


class World:
    """One trigger, its server, and who listens."""

    def __init__(self, bus: Bus, ledger: Ledger) -> None:
        self.bus, self.ledger, self.asked = bus, ledger, Asked()

    def listener(self, node: str = "n-1", **changes: Any) -> Listener:
        trigger = self.bus.trigger(**changes)
        place = Place(
            projection="p",
            key=("id",),
            where="brokers.bus",
            url=self.bus.through,
            node=node,
            clock=SystemClock(),
            position=KeptPosition(self.ledger, "p", called(trigger)),
        )
        return Listener(
            trigger=trigger, place=place, ledger=self.ledger, lease_s=5.0, ask=self.asked, chance=lambda: 0.0
        )

    def hear(self, listener: Listener, until: Callable[[], bool]) -> None:
        """Listen anew until something is so."""
        with closing(opened(listener.trigger, listener.place)) as source:
            rounds(listener, source, until)

    def begin(self, **changes: Any) -> Listener:
        """Somebody listened before: what is new to it is asked for."""
        listener = self.listener(**changes)
        with closing(opened(listener.trigger, listener.place)) as source:
            listener.round(source)
        self.asked = listener.ask = Asked()
        return listener


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as made:
        yield made


@pytest.fixture(params=BUSES)
def world(request: pytest.FixtureRequest, ledger: Ledger) -> Iterator[World]:
    with opened_bus(request.param, request.getfixturevalue(BUSES[request.param][1])) as bus:
        yield World(bus, ledger)


@pytest.fixture
def on_redis(redis: str, ledger: Ledger) -> Iterator[World]:
    with opened_bus("redis_stream", redis) as bus:
        yield World(bus, ledger)


@pytest.fixture
def on_outbox(postgres: str, ledger: Ledger) -> Iterator[World]:
    with opened_bus("outbox", postgres) as bus:
        yield World(bus, ledger)


def test_doubled_reordered_and_unreadable_events(world: World) -> None:
    listener = world.begin()
    asked = world.asked
    with closing(opened(listener.trigger, listener.place)) as source:
        if source.gap:  # what comes with it would be looked at with all the others, and not by its key
            listener.round(source)
        events: list[Any] = [{"id": 3}, {"id": 1}, {"id": 3}, POISON, {"no": 1}, {"id": 2, "more": "x"}, {"id": 1}]
        world.bus.publish(*events)
        rounds(listener, source, lambda: listener.told.events >= 7)
    assert asked.keys == {1, 2, 3}
    assert (listener.told.events, listener.told.unreadable) == (7, 2)
    until(lambda: world.bus.left() == 0)
    assert len(asked.over_all) == (1 if world.bus.kind == "listen" else 0)
    if isinstance(world.bus, RabbitBus):
        assert world.bus.died() == 2


def test_what_could_not_be_asked_for_comes_again(world: World) -> None:
    listener = world.begin()
    with closing(opened(listener.trigger, listener.place)) as source:
        world.bus.publish({"id": 1}, {"id": 2})
        world.asked.away = True
        with pytest.raises(LedgerFailed):
            rounds(listener, source, lambda: False)
    world.asked.away = False
    assert not world.asked.keys
    listener.place = world.listener(node="n-1").place
    world.hear(listener, lambda: world.asked.keys >= {1, 2} or bool(world.asked.over_all))


def test_what_was_before_is_asked_for_though_the_ledger_was_away(world: World) -> None:
    """A consumer is new once only; what is owed for that is kept until it was asked for."""
    if world.bus.kind == "rabbitmq":
        return  # the queue was there before, and what it holds is all there is
    listener = world.listener()
    world.asked.away = True
    with closing(opened(listener.trigger, listener.place)) as source, pytest.raises(LedgerFailed):
        listener.round(source)
    world.asked.away = False
    world.hear(listener, lambda: bool(world.asked.over_all))
    with closing(opened(listener.trigger, listener.place)) as source:
        listener.round(source)
    assert len(world.asked.over_all) == (2 if world.bus.kind == "listen" else 1), "once"


class Hasty:
    """Settles what it hands out at once: what the test above is there to catch."""

    def __init__(self, source: Source) -> None:
        self.source, self.most, self.gap = source, source.most, source.gap

    def receive(self, most: int, wait_s: float) -> Any:
        came = self.source.receive(most, wait_s)
        if came:
            self.source.settle(came, [])
        return came

    def settle(self, read: list[Delivery], unreadable: list[Delivery]) -> None:
        """It did."""

    def close(self) -> None:
        self.source.close()


def test_who_settles_first_loses_events(world: World) -> None:
    """The positive control of `test_what_could_not_be_asked_for_comes_again`."""
    if world.bus.kind == "listen":
        return  # it has nothing to settle: whenever it begins, all keys are asked for
    listener = world.begin()
    with closing(Hasty(opened(listener.trigger, listener.place))) as source:
        world.bus.publish({"id": 1}, {"id": 2})
        world.asked.away = True
        with pytest.raises(LedgerFailed):
            rounds(listener, source, lambda: False)
    world.asked.away = False
    world.bus.publish({"id": 3})
    world.hear(listener, lambda: 3 in world.asked.keys)
    assert not {1, 2} <= world.asked.keys


def test_a_connection_that_is_cut_is_opened_anew(world: World) -> None:
    listener = world.begin()
    thread = threading.Thread(target=listener.run)
    thread.start()
    try:
        until(lambda: listener.told.state == "listening")
        world.bus.publish({"id": 1})
        until(lambda: 1 in world.asked.keys or bool(world.asked.over_all))
        world.bus.proxy.down = True
        world.bus.proxy.drop()
        until(lambda: [stand.state for stand in Stands(world.ledger).all()] == ["down"])
        (stand,) = Stands(world.ledger).all()
        assert stand.error.startswith("brokers.bus: ")
        before = len(world.asked.over_all)
        world.bus.publish({"id": 2})
        world.bus.proxy.down = False
        until(lambda: 2 in world.asked.keys or len(world.asked.over_all) > before)
        until(lambda: listener.told.state == "listening")
        assert listener.told.failures >= 1
    finally:
        listener.ending.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_storm_on_few_keys_is_few_requests(world: World) -> None:
    listener = world.begin(window=1)
    with closing(opened(listener.trigger, listener.place)) as source:
        if source.gap:
            listener.round(source)
        world.bus.publish(*({"id": n % 3, "n": n} for n in range(STORM)))
        rounds(listener, source, lambda: listener.told.events >= STORM)
    assert world.asked.keys == {0, 1, 2}
    assert world.asked.merged >= STORM
    assert world.asked.requests <= 10
    until(lambda: world.bus.left() == 0)


def rounds(listener: Listener, source: Any, holds: Callable[[], bool]) -> None:
    """One round after the other until something is so."""

    def one_more() -> bool:
        listener.round(source)
        return holds()

    until(one_more, f"events of {listener.name} to be heard", pause_s=0)


# --- what only some do -----------------------------------------------------------------------------------------------


def test_what_a_lost_node_had_taken_is_taken_over(on_redis: World) -> None:
    listener = on_redis.begin(take_over=0.1)
    on_redis.bus.publish({"id": 1})
    lost = opened(listener.trigger, listener.place)
    assert len(lost.receive(10, 1.0)) == 1  # and then it died
    on_redis.bus.publish({"id": 2})
    other = on_redis.listener(node="n-2", take_over=0.1)
    on_redis.hear(other, lambda: on_redis.asked.keys == {1, 2})
    until(lambda: on_redis.bus.left() == 0)
    lost.close()


def test_entries_that_were_dropped_unread_are_made_good_for(on_redis: World) -> None:
    assert isinstance(on_redis.bus, RedisBus)
    listener = on_redis.begin()
    on_redis.bus.publish(*({"id": n} for n in range(20)))
    on_redis.bus.client.xtrim(on_redis.bus.name, maxlen=1, approximate=False)
    on_redis.hear(listener, lambda: bool(on_redis.asked.over_all))
    assert "dropped before they were read" in on_redis.asked.over_all[0]


def test_an_entry_of_plain_fields(on_redis: World) -> None:
    assert isinstance(on_redis.bus, RedisBus)
    listener = on_redis.begin(field="", keys={"id": "post"})
    on_redis.bus.client.xadd(on_redis.bus.name, {"post": "7", "\xff": b"\xff"})
    on_redis.asked.keys = set()
    on_redis.hear(listener, lambda: on_redis.asked.keys == {"7"})


def test_a_number_that_commits_late_is_waited_for(on_outbox: World) -> None:
    import psycopg

    listener = on_outbox.begin()
    with (
        closing(opened(listener.trigger, listener.place)) as source,
        psycopg.connect(on_outbox.bus.url) as slow,
    ):
        insert = f"INSERT INTO {on_outbox.bus.table} (event) VALUES (%s)".encode()  # type: ignore[attr-defined]
        slow.execute(insert, ('{"id": 1}',))
        on_outbox.bus.publish({"id": 2})
        rounds(listener, source, lambda: bool(on_outbox.asked.keys))
        assert on_outbox.asked.keys == {2}
        slow.commit()
        rounds(listener, source, lambda: len(on_outbox.asked.keys) > 1)
    assert on_outbox.asked.keys == {1, 2}


@pytest.mark.parametrize("where", ["sqlite_url", "mariadb"])
def test_an_outbox_in_another_database_with_columns_of_its_own(
    request: pytest.FixtureRequest, ledger: Ledger, where: str
) -> None:
    url = request.getfixturevalue(where)
    sql = Db(url).sql if where == "sqlite_url" else partial(run_mariadb, url)
    asked = Asked()
    sql("CREATE TABLE likes_outbox (seq integer PRIMARY KEY, post_id integer, user_id integer)")
    trigger = Outbox(kind="outbox", database="app", table="likes_outbox", id="seq", keys={"id": "post_id"}, window=0.05)
    position = KeptPosition(ledger, "p", called(trigger))
    clock, about = SystemClock(), {"projection": "p", "key": ("id",), "where": "databases.app", "node": "n-1"}
    place = Place(url=url, clock=clock, position=position, **about)  # type: ignore[arg-type]
    listener = Listener(trigger=trigger, place=place, ledger=ledger, lease_s=5.0, ask=asked)
    sql(*(f"INSERT INTO likes_outbox VALUES ({n}, {n % 3}, 7)" for n in range(1, 7)))
    for _ in range(2):  # the second begins where the first ended
        with closing(opened(trigger, place)) as source:
            listener.round(source)
    assert (len(asked.over_all), listener.told.events) == (1, 6), "it was new, so all keys are looked at"
    sql("INSERT INTO likes_outbox VALUES (7, 40, 7), (8, 41, 7)")
    with closing(opened(trigger, place)) as source:
        listener.round(source)
    assert asked.keys == {40, 41}
    assert position.load() == "8"


def test_one_node_reads_an_outbox_at_a_time(on_outbox: World) -> None:
    first, second = on_outbox.listener(node="n-1"), on_outbox.listener(node="n-2")
    threads = [threading.Thread(target=each.run) for each in (first, second)]
    threads[0].start()
    until(lambda: first.told.state == "listening")
    threads[1].start()
    until(lambda: second.told.state == "elsewhere")
    first.ending.set()
    on_outbox.bus.publish({"id": 1})
    until(lambda: second.told.state == "listening")
    until(lambda: 1 in on_outbox.asked.keys)
    second.ending.set()
    for thread in threads:
        thread.join(PATIENCE_S)


def test_a_trigger_whose_place_is_not_there_says_so(world: World) -> None:
    if world.bus.kind in ("listen", "redis_stream"):
        return  # there is nothing that has to be made before
    changes = {"outbox": "table", "rabbitmq": "queue", "nats": "stream"}
    listener = world.listener(**{changes[world.bus.kind]: "nowhere"})
    thread = threading.Thread(target=listener.run)
    thread.start()
    until(lambda: listener.told.state == "down")
    listener.ending.set()
    thread.join(PATIENCE_S)
    assert listener.told.error.startswith("brokers.bus: ")
