"""Corrections that are emitted, to real databases and brokers: what arrives, how often, and what is claimed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import nats
import pytest
import redis as redispy

from tests.handlers import billing
from tests.handlers.shop import Shop
from tests.servers import free_port
from trueup import Outcome, Verdict
from trueup.core.handlers import Handler
from trueup.emitting import emitter
from trueup.errors import DesignProblem, Transient
from trueup.loop import Loop


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    for app in made.opened:
        app.close()


ENTRIES = "CREATE TABLE entries (ref TEXT UNIQUE, order_id INTEGER, amount INTEGER)"


def entries(**declared: Any) -> Handler:
    values = {"ref": "id", "order_id": "key.id", "amount": "difference.total"}
    return Handler.model_validate({"emit": "shop", "to": "entries", "values": values, "within": 0, **declared})


def booked(shop: Shop, **declared: Any) -> Any:
    """The target is a sum of entries: what is wrong is put right by one more."""
    query = "SELECT order_id AS id, sum(amount) AS total FROM entries GROUP BY order_id"
    target = shop.app().projection("invoices").target.model_copy(update={"query": query})
    given: dict[str, Any] = {"on_missing": entries(), "on_different": entries(), "target": target}
    return shop.app(**(given | declared))


def test_a_sum_is_put_right_by_an_entry(shop: Shop) -> None:
    shop.sql(ENTRIES, "INSERT INTO entries VALUES ('a', 1, 4), ('b', 1, 5), ('c', 2, 20)")
    app = booked(shop)
    report = app.run("invoices")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 2)
    assert shop.sql("SELECT order_id, amount FROM entries WHERE ref NOT IN ('a', 'b', 'c')") == [(1, 1), (3, 30)]
    assert {row.action for row in app.outcomes(report.run)} == {"emit"}
    assert app.run("invoices").verdict is Verdict.IN_SYNC


def test_an_entry_is_made_once_however_often_it_is_tried(shop: Shop) -> None:
    """As after a lost answer, where the row does not show it yet."""
    shop.sql(ENTRIES)
    shop.app().run("invoices", keys=[{"id": 1}])
    call = billing.CALLS[0]
    sent = emitter(entries(), "databases.shop", f"sqlite:///{shop.folder / 'shop.db'}")
    assert [sent.send(call).rpartition(" was ")[2] for _ in range(2)] == ["made", "there already"]
    sent.close()
    assert shop.sql("SELECT ref, order_id, amount FROM entries") == [(call.idempotency_key, 1, 10)]


def test_a_table_that_would_keep_entries_twice_is_refused(shop: Shop) -> None:
    shop.sql("CREATE TABLE entries (ref TEXT, order_id INTEGER, amount INTEGER)")
    with pytest.raises(DesignProblem, match="CREATE UNIQUE INDEX ON entries"):
        booked(shop).run("invoices")
    shop.sql("DROP TABLE entries")
    with pytest.raises(DesignProblem, match="there is no table 'entries'"):
        shop.app(on_missing=entries()).run("invoices")


def test_an_entry_that_the_table_refuses_leaves_its_row_out(shop: Shop) -> None:
    shop.sql("CREATE TABLE entries (ref TEXT UNIQUE, order_id INTEGER, amount INTEGER CHECK (amount <> 20))")
    report = booked(shop).run("invoices")
    assert (report.repaired, report.quarantined) == (2, 1)


class Bus:
    """A place that messages arrive at."""

    scheme: str

    def __init__(self, url: str) -> None:
        self.url, self.to = url, f"trueup_test_{secrets.token_hex(4)}"

    def messages(self) -> list[tuple[str, dict[str, Any]]]:
        """Id and body of each that is there."""
        raise NotImplementedError

    def close(self) -> None: ...


class Stream(Bus):
    def messages(self) -> list[tuple[str, dict[str, Any]]]:
        found: Any = self.client.xrange(self.to)
        return [(fields[b"id"].decode(), json.loads(fields[b"body"])) for _, fields in found]

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = redispy.Redis.from_url(url)

    def close(self) -> None:
        self.client.delete(self.to)
        self.client.close()


class Queue(Bus):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.loop = Loop()
        self.loop.run(self._open())

    async def _open(self) -> None:
        self.connection = await aio_pika.connect(self.url)
        self.queue = await (await self.connection.channel()).declare_queue(self.to, exclusive=False)

    async def _take(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        while (message := await self.queue.get(no_ack=True, fail=False)) is not None:
            found.append((str(message.message_id), json.loads(message.body)))
        return found

    def messages(self) -> list[tuple[str, dict[str, Any]]]:
        return self.loop.run(self._take())

    async def _close(self) -> None:
        await self.queue.delete(if_unused=False, if_empty=False)
        await self.connection.close()

    def close(self) -> None:
        self.loop.run(self._close())
        self.loop.close()


class Subject(Bus):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.loop = Loop()
        self.loop.run(self._open())

    async def _open(self) -> None:
        self.client = await nats.connect(self.url)
        self.stream = self.client.jetstream()
        await self.stream.add_stream(name=self.to, subjects=[self.to])

    async def _all(self) -> list[tuple[str, dict[str, Any]]]:
        state = (await self.stream.stream_info(self.to)).state
        found = []
        for number in range(1, state.messages + 1):
            message = await self.stream.get_msg(self.to, number)
            found.append(((message.headers or {})["Nats-Msg-Id"], json.loads(message.data or b"")))
        return found

    def messages(self) -> list[tuple[str, dict[str, Any]]]:
        return self.loop.run(self._all())

    async def _close(self) -> None:
        await self.stream.delete_stream(self.to)
        await self.client.close()

    def close(self) -> None:
        self.loop.run(self._close())
        self.loop.close()


@pytest.fixture(params=[(Stream, "redis"), (Queue, "rabbitmq"), (Subject, "nats")], ids=lambda param: param[1])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    kind, server = request.param
    made = kind(request.getfixturevalue(server))
    yield made
    made.close()


def emitting(shop: Shop, bus: Bus, url: str = "", **declared: Any) -> Any:
    handler = Handler.model_validate({"emit": "bus", "to": bus.to, **declared})
    return shop.app(on_missing=handler, bus=url or bus.url)


def test_a_message_says_what_is_wrong_once_until_it_is_applied(shop: Shop, bus: Bus) -> None:
    app = emitting(shop, bus)
    report = app.run("invoices")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 0, 3)  # nothing is claimed
    assert {row.outcome for row in app.outcomes(report.run)} == {Outcome.CALLED}
    sent = bus.messages()
    ids, told = [id_ for id_, _ in sent], [body for _, body in sent]
    assert ids == [body["id"] for body in told]
    assert [(body["kind"], body["key"], body["expected"], body["difference"]) for body in told] == [
        ("missing", {"id": n}, {"total": n * 10}, {"total": n * 10}) for n in (1, 2, 3)
    ]
    assert app.run("invoices").left == 3
    assert len(bus.messages()) in (0, 3)  # a queue gives each message once
    for body in told:  # the consumer
        shop.sql(f"INSERT INTO invoices VALUES ({body['key']['id']}, {body['expected']['total']})")
    assert app.run("invoices").verdict is Verdict.IN_SYNC
    assert shop.ledger("SELECT DISTINCT settled FROM trueup_calls") == [("shown",)]


def test_after_its_time_a_message_is_sent_again_with_its_id(shop: Shop, bus: Bus) -> None:
    app = emitting(shop, bus, within="60s")
    app.run("invoices", keys=[{"id": 1}])
    first = bus.messages()
    shop.clock.wait(61)
    app.run("invoices", keys=[{"id": 1}])
    again = bus.messages()
    assert {id_ for id_, _ in again} == {first[0][0]}
    assert len(again) == {Stream: 2, Queue: 1, Subject: 1}[type(bus)]  # JetStream drops it itself


def test_a_broker_that_is_not_there_pauses_and_the_next_run_goes_on(shop: Shop, bus: Bus) -> None:
    through = bus.url.replace(f":{urlsplit(bus.url).port}", f":{free_port()}")
    with pytest.raises(Transient, match=r"brokers.bus.*Paused"):
        emitting(shop, bus, through).run("invoices", keys=[{"id": 1}])
    app = emitting(shop, bus)
    app.resume("invoices")
    assert app.run("invoices", keys=[{"id": 1}]).left == 1
    assert len(bus.messages()) == 1


def test_where_nobody_keeps_messages_the_run_ends(shop: Shop, rabbitmq: str, nats: str) -> None:
    for url, why in ((rabbitmq, "did not take the message"), (nats, "no stream keeps")):
        handler = Handler(emit="bus", to=f"nobody_{secrets.token_hex(4)}")
        app = shop.app(on_missing=handler, bus=url)
        with pytest.raises(DesignProblem, match=why):
            app.run("invoices", keys=[{"id": 1}])
