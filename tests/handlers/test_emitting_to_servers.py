"""Corrections that become rows of PostgreSQL and MariaDB: made once, also where the answer to the commit is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.proxy import proxied
from tests.handlers import billing
from tests.handlers.shop import Shop
from tests.servers import run_mariadb, run_sql
from trueup import Outcome, Side, Trueup, Verdict
from trueup.core.handlers import Handler
from trueup.emitting import emitter
from trueup.errors import DesignProblem, Transient

SUMS = "SELECT order_id AS id, sum(amount) AS total FROM entries GROUP BY order_id"


@dataclass(frozen=True, kw_only=True)
class Books:
    """A server with the entries that the target is the sum of."""

    url: str
    run: Callable[..., list[tuple[Any, ...]]]
    #: How a commit is said, and no isolation level of that name.
    commit: bytes

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        return self.run(self.url, *statements)

    def made(self) -> list[tuple[int, int]]:
        """What was entered by corrections."""
        return [(order, amount) for order, amount in self.sql(
            "SELECT order_id, amount FROM entries WHERE ref NOT IN ('a', 'b', 'c') ORDER BY order_id"
        )]  # fmt: skip


@pytest.fixture(params=["postgres", "mariadb"])
def books(request: pytest.FixtureRequest) -> Books:
    """Order 1 lacks 1 of 10, order 2 is right, order 3 has nothing."""
    url = request.getfixturevalue(request.param)
    run, commit = (run_sql, b"COMMIT\0") if request.param == "postgres" else (run_mariadb, b"COMMIT")
    made = Books(url=url, run=run, commit=commit)
    made.sql(
        "CREATE TABLE entries (ref varchar(64) UNIQUE, order_id bigint, amount integer CHECK (amount <> 31))",
        "INSERT INTO entries VALUES ('a', 1, 4), ('b', 1, 5), ('c', 2, 20)",
    )
    return made


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    for app in made.opened:
        app.close()


def entries(to: str = "entries") -> Handler:
    values = {"ref": "id", "order_id": "key.id", "amount": "difference.total"}
    return Handler.model_validate({"emit": "sent", "to": to, "values": values, "within": 0})


def booked(shop: Shop, books: Books, by: str = "", to: str = "entries", **declared: Any) -> Trueup:
    """Corrections go to the books by the URL `by`; what is there is read directly."""
    handler = entries(to)
    target = Side(database="books", query=SUMS)
    given: dict[str, Any] = {"on_missing": handler, "on_different": handler, "target": target, **declared}
    return shop.app(databases={"books": books.url, "sent": by or books.url}, **given)


def test_a_sum_is_put_right_by_an_entry(shop: Shop, books: Books) -> None:
    app = booked(shop, books)
    report = app.run("invoices")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 2)
    assert books.made() == [(1, 1), (3, 30)]
    assert app.run("invoices").verdict is Verdict.IN_SYNC


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_correction_is_made_once_wherever_the_connection_is_cut(shop: Shop, books: Books, cut: str) -> None:
    """`after`: it is committed, and nobody is told. The next try has the same key, and the unique column refuses it."""
    with proxied(books.url) as (proxy, through):
        app = booked(shop, books, through)
        app.run("invoices", keys=[{"id": 1}])  # what is looked up first is committed too
        proxy.word, proxy.armed = books.commit, cut
        report = app.run("invoices")
        assert proxy.cuts == 1
    assert (report.verdict, report.left) == (Verdict.REPAIRED, 0)
    assert books.made() == [(1, 1), (3, 30)]
    # Committed, and the answer lost: the row was right when it was looked at again, and who did it is not claimed.
    done = app.last_outcomes(report.run, [(3,)])[3,]
    assert done.outcome is {"before": Outcome.APPLIED, "after": Outcome.CONVERGED}[cut]
    tried = shop.ledger("SELECT count(*) FROM trueup_calls")
    assert tried == [(2,)], "one correction a row, however often it is tried"
    assert app.run("invoices").verdict is Verdict.IN_SYNC


def test_after_a_lost_answer_the_same_key_is_there_already(shop: Shop, books: Books) -> None:
    """Where the target does not show it yet, as in a sum that somebody else computes later."""
    shop.app().run("invoices", keys=[{"id": 1}, {"id": 2}])
    first, second = billing.CALLS
    with proxied(books.url) as (proxy, through):
        sent = emitter(entries(), "databases.sent", through)
        sent.send(first)
        proxy.word, proxy.armed = books.commit, "after"
        with pytest.raises(Transient, match=r"databases\.sent"):
            sent.send(second)
        assert proxy.cuts == 1
        assert sent.send(second).endswith("was there already")
        sent.close()
    assert books.made() == [(1, 10), (2, 20)]


def test_an_entry_that_the_table_refuses_leaves_its_row_out(shop: Shop, books: Books) -> None:
    shop.sql("UPDATE orders SET total = 31 WHERE id = 3")
    report = booked(shop, books).run("invoices")
    assert (report.repaired, report.quarantined) == (1, 1)
    assert books.made() == [(1, 1)]


def test_a_table_that_would_keep_entries_twice_is_refused(shop: Shop, books: Books) -> None:
    books.sql("CREATE TABLE often (ref varchar(64), order_id bigint, amount integer)")
    with pytest.raises(DesignProblem, match="CREATE UNIQUE INDEX ON often"):
        booked(shop, books, to="often").run("invoices")
    with pytest.raises(DesignProblem, match="there is no table 'nowhere'"):
        booked(shop, books, to="nowhere").run("invoices")
