"""How an invoice comes to be, in two transactions. The application calls it, and so does Trueup where one is missing.

    shipped --(1)--> invoicing --(2, with the invoice)--> invoiced

Each step asks for the state that it starts from and is nothing if it was made, so it may be run again from anywhere.
"""

from __future__ import annotations

import os
from contextlib import closing

from examples._kit import Database, transaction
from trueup.python import Call, DataProblem

#: The application's database; a file is seen from the folder in which the commands are typed.
URL = os.environ.get("DATABASE_URL", "sqlite:///app.db")


def invoice(db: Database, order: int, key: str) -> int:
    """The order's invoice, made if there is none."""
    with transaction(db):
        db.run("UPDATE orders SET state = 'invoicing' WHERE id = ? AND state = 'shipped'", order)
    # A crash here leaves an order in `invoicing`, and no invoice.
    with transaction(db):
        owes = "FROM orders WHERE id = ? AND state IN ('invoicing', 'invoiced')"
        db.run(
            f"INSERT INTO invoices (order_id, total, key) SELECT id, total, ? {owes} ON CONFLICT DO NOTHING", key, order
        )
        db.run("UPDATE orders SET state = 'invoiced' WHERE id = ? AND state = 'invoicing'", order)
    return int(db.one("SELECT number FROM invoices WHERE order_id = ? AND cancelled = 0", order) or 0)


def create_invoice(call: Call) -> str:
    """A shipped order without an invoice."""
    with closing(Database(URL)) as db:
        number = invoice(db, call.key["order_id"], call.idempotency_key)
    if not number:
        raise DataProblem("the order owes no invoice any more")
    return f"invoice {number}"


def cancel_invoice(call: Call) -> str:
    """An invoice whose order was never shipped."""
    with closing(Database(URL)) as db:
        db.run("UPDATE invoices SET cancelled = 1 WHERE order_id = ? AND cancelled = 0", call.key["order_id"])
    return "cancelled"
