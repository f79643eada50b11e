"""Invoices for shipped orders: a handler in two transactions, an approval by two people, and a worker that crashes."""

from __future__ import annotations

import os
import random
from contextlib import closing
from pathlib import Path

import trueup
from examples._kit import Database, Faults, Stage, Traffic, example, transaction
from examples.invoices.billing import invoice

HERE = Path(__file__).parent
#: Orders of the past; new ones come after them.
ORDERS = 300
#: The judge: orders that do not have exactly the invoice that they should.
WRONG = """
SELECT count(*) FROM orders o
WHERE (SELECT count(*) FROM invoices i WHERE i.order_id = o.id AND i.cancelled = 0)
   <> CASE WHEN o.state IN ('shipped', 'invoicing', 'invoiced') THEN 1 ELSE 0 END"""


class Shop:
    """The application: orders are shipped, and invoiced right after."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)

    def make(self, *, unique: bool) -> None:
        schema = (HERE / "schema.sql").read_text()
        if self.db.is_sqlite:
            self.db.run("PRAGMA journal_mode = WAL")
        self.db.script(schema if unique else schema.replace("UNIQUE INDEX", "INDEX"))
        orders = [(n, n * 10, "cancelled" if n % 50 == 0 else "invoiced") for n in range(1, ORDERS + 1)]
        self.db.many("INSERT INTO orders VALUES (?, ?, ?)", orders)
        self.db.run("INSERT INTO invoices (order_id, total) SELECT id, total FROM orders WHERE state = 'invoiced'")

    def write(self, chance: random.Random) -> None:
        """An order is shipped, and invoiced."""
        with transaction(self.db):
            order = self.db.one("SELECT max(id) + 1 FROM orders")
            self.db.run("INSERT INTO orders VALUES (?, ?, 'shipped')", order, chance.randint(1, 500) * 10)
        invoice(self.db, order, "")

    def close(self) -> None:
        self.db.close()


def spoil(shop: Shop, faults: Faults, chance: random.Random) -> None:
    """What happens between two transactions, and to those who only hope that an event arrives."""
    shipped = [n for n in range(1, ORDERS) if n % 50]
    chosen = chance.sample(shipped, 11)
    for number, order in enumerate(chosen):
        state, what = (
            ("invoicing", "the worker crashed between its transactions")
            if number < 5
            else (("shipped", "the event was lost") if number < 9 else ("invoiced", "the invoice was deleted by hand"))
        )
        with transaction(shop.db):
            shop.db.run("DELETE FROM invoices WHERE order_id = ?", order)
            shop.db.run("UPDATE orders SET state = ? WHERE id = ?", state, order)
        faults.note(what, order)
    for order in (50, 150):
        shop.db.run("INSERT INTO invoices (order_id, total) SELECT id, total FROM orders WHERE id = ?", order)
        faults.note("an invoice of a cancelled order", order)


def play(stage: Stage) -> None:
    with closing(Shop(stage.url())) as shop:
        shop.make(unique=not stage.naive)
        with Traffic(lambda: Shop(stage.url()), seed=stage.seed, rest_s=0.02) as traffic:
            spoil(shop, stage.faults, stage.chance)
            traffic.wait(20)
            if stage.naive:
                naive(stage, shop)
            else:
                repair(stage, traffic)
        stage.end(shop.db.one(WRONG), traffic.writes)


def repair(stage: Stage, traffic: Traffic) -> None:
    os.environ["TRUEUP_ACTOR"] = "night-job"
    stage.say("The night job asks what should be done. It may not do it.")
    stage.trueup("plan", "invoices", code=1)
    stage.score(stage.found("invoices"))
    with trueup.load("trueup.toml") as app:
        plan = next(iter(app.plans.newest("invoices"))).id

    stage.say("Two people look at it, and agree.")
    for person in ("ann", "bob"):
        os.environ["TRUEUP_ACTOR"] = person
        stage.trueup("approve", plan, "--reason", "looked-at", code=0)

    stage.say("Billing is called, an order at a time; what it did is read again.")
    os.environ["TRUEUP_ACTOR"] = "night-job"
    stage.trueup("apply", plan, code=0)
    traffic.wait(20)

    stage.say("Once more: nothing is left to do.")
    stage.trueup("check", "invoices", code=0)


def naive(stage: Stage, shop: Shop) -> None:
    """A loop over what is missing. It is killed between an invoice and its note, and started again."""
    stage.say("A loop makes the invoices; it is killed in the middle, and started again:")
    for left in (4, None):
        due = shop.db.run("SELECT id, total FROM orders WHERE state IN ('shipped', 'invoicing') AND id <= ?", ORDERS)
        for order, total in due[:left]:
            shop.db.run("INSERT INTO invoices (order_id, total) VALUES (?, ?)", order, total)
            if left is None:  # the first time it did not get that far
                shop.db.run("UPDATE orders SET state = 'invoiced' WHERE id = ?", order)


if __name__ == "__main__":
    example(play, __file__)
