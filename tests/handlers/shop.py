"""Shipped orders and their invoices, in one SQLite file; what is missing is billed by a handler."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.conformance.worlds import UNLIMITED, EngineClock
from tests.handlers import billing
from trueup import Database, Projection, Side, Trueup
from trueup.core.handlers import Handler
from trueup.python import Call

BILL = Handler(call="tests.handlers.billing:bill")


class Shop:
    def __init__(self, folder: Path, orders: int = 3) -> None:
        self.folder = folder
        self.clock = EngineClock()
        self.opened: list[Trueup] = []
        self.sql(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, total INTEGER NOT NULL)",
            "CREATE TABLE invoices (order_id INTEGER PRIMARY KEY, total INTEGER NOT NULL)",
            *(f"INSERT INTO orders VALUES ({n}, {n * 10})" for n in range(1, orders + 1)),
        )
        billing.CALLS.clear()
        billing.DOES[:] = [self.bill]

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "shop.db")) as c, c:
            for statement in statements:
                rows = c.execute(statement).fetchall()
        return rows

    def bill(self, call: Call) -> str:
        assert call.expected is not None
        self.sql(f"INSERT OR REPLACE INTO invoices VALUES ({call.key['id']}, {call.expected['total']})")
        return f"invoice {call.key['id']}"

    def invoices(self) -> list[tuple[Any, ...]]:
        return self.sql("SELECT order_id, total FROM invoices ORDER BY 1")

    def app(
        self,
        does: Callable[[Call], object] | None = None,
        *,
        bus: str = "",
        databases: Mapping[str, str] = MappingProxyType({}),
        **declared: Any,
    ) -> Trueup:
        if does is not None:
            billing.DOES[:] = [does]
        target = Side(database="shop", query="SELECT order_id AS id, total FROM invoices")
        defaults: dict[str, Any] = {"on_missing": BILL, "on_different": "report", "settle": 5, "limits": UNLIMITED}
        defaults["target"] = target
        projection = Projection(
            name="invoices",
            source=Side(database="shop", table="orders"),
            key="id",
            **(defaults | declared),
        )
        self.opened.append(
            Trueup(
                databases={
                    name: Database(url=url)
                    for name, url in {"shop": f"sqlite:///{self.folder / 'shop.db'}", **databases}.items()
                },
                projections=[projection],
                brokers={"bus": bus} if bus else {},
                ledger=f"sqlite:///{self.folder / 'ledger.db'}",
                clock=self.clock,
                retry={"tries": 3},
            )
        )
        return self.opened[-1]

    def ledger(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "ledger.db")) as c:
            return c.execute(query).fetchall()
