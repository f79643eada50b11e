"""A new column that has to be filled, and money that was computed wrongly for a week."""

from __future__ import annotations

import random
import shutil
from contextlib import closing
from pathlib import Path

from examples._kit import Database, Faults, Stage, Traffic, example

HERE = Path(__file__).parent
CUSTOMERS, INVOICES = 600, 300
#: The judge: customers whose name is not what it should be, and invoices whose sums are not.
WRONG = """
SELECT (SELECT count(*) FROM customers WHERE full_name IS NULL OR full_name <> first || ' ' || last)
     + (SELECT count(*) FROM invoices WHERE tax <> (net * 19 + 50) / 100 OR total <> net + tax)"""


class Shop:
    """The application. Its new version gives each new customer a full name, and keeps it right."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)

    def make(self, chance: random.Random) -> None:
        self.db.script(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, first TEXT NOT NULL, last TEXT, full_name TEXT);"
            "CREATE TABLE invoices (id INTEGER PRIMARY KEY, country TEXT NOT NULL, issued TEXT NOT NULL,"
            " net INTEGER NOT NULL, tax INTEGER NOT NULL, total INTEGER NOT NULL, paid INTEGER NOT NULL DEFAULT 0);"
        )
        people = [(n, f"Ada{n}", f"Byron{n}", f"Ada{n} Byron{n}" if n <= 50 else None) for n in range(1, CUSTOMERS)]
        self.db.many("INSERT INTO customers VALUES (?, ?, ?, ?)", people)
        rows = []
        for n in range(1, INVOICES):
            day, net = n % 30 + 1, chance.randint(100, 99_999)
            rate = 16 if 4 <= day <= 10 else 19
            tax = (net * rate + 50) // 100
            rows.append((n, "DE", f"2024-11-{day:02}", net, tax, net + tax))
        self.db.many("INSERT INTO invoices (id, country, issued, net, tax, total) VALUES (?, ?, ?, ?, ?, ?)", rows)

    def write(self, chance: random.Random) -> None:
        """Somebody gets another name, or pays."""
        if chance.random() < 0.5:
            self.rename(chance.randint(1, 50), f"King{chance.randint(1, 999)}")
        else:
            # PostgreSQL's version of a row counts every change of it: it would be left to the next run, and then again.
            which = "id = ?" if self.db.is_sqlite else "id = ? AND issued > '2024-11-10'"
            self.db.run(f"UPDATE invoices SET paid = 1 WHERE {which}", chance.randint(1, INVOICES))

    def rename(self, customer: int, last: str) -> None:
        """The full name is kept right where there is one."""
        name = "CASE WHEN full_name IS NULL THEN NULL ELSE first || ' ' || ? END"
        self.db.run(f"UPDATE customers SET last = ?, full_name = {name} WHERE id = ?", last, last, customer)

    def close(self) -> None:
        self.db.close()


def spoil(shop: Shop, faults: Faults, chance: random.Random) -> None:
    """An import that knew no last names."""
    for customer in chance.sample(range(100, CUSTOMERS), 3):
        shop.db.run("UPDATE customers SET last = NULL WHERE id = ?", customer)
        faults.note("import without a last name", customer)


def play(stage: Stage) -> None:
    for name in ("full_names.py", "tax.sql"):
        shutil.copy(HERE / name, stage.folder / name)
    with closing(Shop(stage.url())) as shop:
        shop.make(stage.chance)
        with Traffic(lambda: Shop(stage.url()), seed=stage.seed) as traffic:
            if stage.naive:
                naive(stage, shop, traffic)
            else:
                spoil(shop, stage.faults, stage.chance)
                fill(stage, shop)
                correct(stage, shop)
                traffic.wait(50)
        stage.end(shop.db.one(WRONG), traffic.writes)


def fill(stage: Stage, shop: Shop) -> None:
    stage.say("The new column: what would happen?")
    stage.trueup("backfill", "full_names.py", "--rows", "5", code=1)

    stage.say("Done. Three rows cannot be dealt with, and hold up no other.")
    stage.trueup("backfill", "full_names.py", "--apply", "--rows", "3", code=1)
    stage.score(stage.found("full_names"))

    stage.say("Somebody looks the names up, and the same command does what is left.")
    for (customer,) in stage.faults.happened:
        shop.rename(int(str(customer)), "Hopper")
    stage.trueup("backfill", "full_names.py", "--apply", "--rows", "3", code=0)

    stage.say("They were other people's names: that run is put back, they are mended, and it is done again.")
    stage.trueup("rollback", newest(stage, "full_names"), "--rows", "1", code=0)
    for (customer,) in stage.faults.happened:
        shop.rename(int(str(customer)), "Turing")
    stage.trueup("backfill", "full_names.py", "--apply", "--rows", "3", code=0)


def newest(stage: Stage, name: str) -> str:
    """The last run that wrote."""
    import trueup

    with trueup.load(stage.folder / "trueup.toml") as app:
        return next(row.id for row in app.runs(name) if row.command in ("run", "apply"))


def correct(stage: Stage, shop: Shop) -> None:
    import trueup

    stage.say("Money: tried on a copy, planned, and approved by somebody.")
    stage.trueup("backfill", "tax.sql", "--sandbox", "--rows", "1", code=0)
    stage.trueup("backfill", "tax.sql", "--plan", "--rows", "1", code=1)
    with trueup.load("trueup.toml") as app:
        plan = app.listed_plans("tax")[0].plan.id
    stage.trueup("approve", plan, "--reason", "letter of the tax office", code=0)
    stage.trueup("apply", plan, "--canary", "5", "--rows", "1", code=0)
    paid = shop.db.one("SELECT sum(total) FROM invoices")

    stage.say("Once more does nothing, though the invoices are still of that week: the ledger knows what was done.")
    stage.trueup("backfill", "tax.sql", "--apply", code=0)
    stage.promise("no cent was added twice", shop.db.one("SELECT sum(total) FROM invoices") == paid)

    stage.say("To put it back somebody has to approve, too.")
    with trueup.load("trueup.toml") as app:
        run = next(row.id for row in app.runs("tax") if row.command == "apply")
    stage.trueup("rollback", run, "--plan", "--rows", "1", code=1)

    stage.say("What the auditors get: every row before and after, who approved it, and which file it was.")
    stage.trueup("audit", "export", "audit.jsonl", "--projection", "tax", code=0)
    told = Path("audit.jsonl").read_text()
    stage.promise("the approval and its reason are in it", "letter of the tax office" in told)


def naive(stage: Stage, shop: Shop, traffic: Traffic) -> None:
    """Read, compute, write: whoever gets another name in between is called by the old one."""
    stage.say("A script reads the customers, and writes their names:")
    people = shop.db.run("SELECT id, first, last FROM customers WHERE full_name IS NULL")
    shop.rename(77, "Lovelace")
    traffic.wait(20)
    shop.db.many("UPDATE customers SET full_name = ? WHERE id = ?", [(f"{a} {b}", n) for n, a, b in people])
    shop.db.run("UPDATE invoices SET tax = (net * 19 + 50) / 100, total = net + (net * 19 + 50) / 100")


if __name__ == "__main__":
    example(play, __file__)
