"""Middleware between two systems that know nothing of each other: a legacy CRM behind an HTTP API, and a shop."""

from __future__ import annotations

import os
import random
from contextlib import closing
from decimal import Decimal

from examples._kit import Database, Faults, Stage, Traffic, example
from examples.middleware.crm import customer
from examples.middleware.legacy import Legacy

CUSTOMERS = 400
SCHEMA = """
CREATE TABLE customers (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, blocked BOOLEAN NOT NULL, credit DECIMAL(12, 2) NOT NULL
)"""
NAMES = ("Ann Archer", "Bo Berg", "Cy Cole", "Di Dorn", "Ed Engel")


class Middleware:
    """What the integration team wrote: each change of the CRM is passed on to the shop, whole, a moment later."""

    def __init__(self, crm: Legacy, url: str) -> None:
        self.crm, self.shop = crm, Database(url)

    def make(self) -> None:
        self.shop.script(SCHEMA)
        for number in range(1, CUSTOMERS + 1):
            self.crm.put(number, NAMES[number % 5], False, number * 1000)
        self.shop.many("INSERT INTO customers VALUES (?, ?, ?, ?)", [self.row(n) for n in sorted(self.crm.records)])

    def row(self, number: int) -> tuple[object, ...]:
        found = customer(self.crm.records[number])
        return found["id"], found["name"], found["blocked"], str(found["credit"])

    def pass_on(self, number: int) -> None:
        row = self.row(number)
        self.shop.run(
            "INSERT INTO customers VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET name = excluded.name, blocked = excluded.blocked, credit = excluded.credit",
            *row,
        )

    def write(self, chance: random.Random) -> None:
        """Sales change somebody's limit, or win a customer; the middleware delivers it."""
        number = chance.randint(201, CUSTOMERS) if chance.random() < 0.8 else max(self.crm.records) + 1
        self.crm.put(number, NAMES[number % 5], False, chance.randint(1, 900) * 100)
        self.pass_on(number)

    def wrong(self) -> int:
        """The judge: customers that are not the same in both, by looking into both."""
        there = {
            row[0]: (row[1], bool(row[2]), Decimal(str(row[3]))) for row in self.shop.run("SELECT * FROM customers")
        }
        here = {n: tuple(customer(record).values())[1:] for n, record in self.crm.records.items()}
        return sum(there.get(n) != here.get(n) for n in {*there, *here})

    def close(self) -> None:
        self.shop.close()


def spoil(middleware: Middleware, faults: Faults, chance: random.Random) -> None:
    """What such middleware does on its bad days."""
    chosen = iter(chance.sample(range(1, 200), 14))
    for number in (next(chosen) for _ in range(5)):
        middleware.crm.put(number, NAMES[number % 5], True, number * 1000)
        faults.note("a change was lost (the CRM answered 503, and nobody tried again)", number)
    for number in (next(chosen) for _ in range(3)):
        middleware.shop.run("DELETE FROM customers WHERE id = ?", number)
        faults.note("a customer never arrived", number)
    for number in (next(chosen) for _ in range(4)):
        middleware.crm.drop(number)
        faults.note("a deletion was not passed on", number)
    for number in (next(chosen) for _ in range(2)):
        middleware.shop.run("UPDATE customers SET credit = credit * 100 WHERE id = ?", number)
        faults.note("cents were taken for euros", number)


def play(stage: Stage) -> None:
    with closing(Legacy(stage.seed)) as crm, closing(Middleware(crm, stage.url())) as middleware:
        os.environ["CRM_URL"] = crm.url
        middleware.make()
        with Traffic(lambda: Middleware(crm, stage.url()), seed=stage.seed, rest_s=0.01) as traffic:
            spoil(middleware, stage.faults, stage.chance)
            traffic.wait(20)
            if stage.naive:
                naive(stage, crm, middleware)
            else:
                repair(stage, traffic, crm)
        stage.end(middleware.wrong(), traffic.writes)


def repair(stage: Stage, traffic: Traffic, crm: Legacy) -> None:
    stage.say("What is wrong? The CRM is read page by page, while it refuses one request in eight.")
    stage.trueup("check", "customers", code=1)
    stage.score(stage.found("customers"))

    stage.say("The shop gets what the CRM says.")
    stage.trueup("run", "customers", code=0)
    traffic.wait(50)
    stage.trueup("check", "customers", code=0)
    bad = crm.refused[503] > 0
    stage.promise("the CRM had bad moments meanwhile, and none of them was taken for an empty answer", bad)


def naive(stage: Stage, crm: Legacy, middleware: Middleware) -> None:
    """Delete everybody who was not in the answer; an error is an answer with nobody in it."""
    stage.say("A script loads all customers, passes over pages that fail, and deletes whoever it did not see:")
    failed = 0
    while not failed:  # every night; on a good one it does no harm
        seen: set[int] = set()
        for after in range(0, CUSTOMERS, 50):
            code, answer = crm.answer(f"/KUNDEN?NACH={after}")
            failed += code != 200
            seen |= {record["KDNR"] for record in answer.get("KUNDEN", ())}
        for number in range(1, CUSTOMERS + 1):
            if number not in seen:
                middleware.shop.run("DELETE FROM customers WHERE id = ?", number)


if __name__ == "__main__":
    example(play, __file__)
