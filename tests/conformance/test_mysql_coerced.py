"""MariaDB makes a value of one that is none ('n/a' is the number 0), and says so only in a warning: that is no answer,
whoever asked, and nothing is written of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import _open
from tests.conformance.hashed import HashedWorld, open_hashed
from tests.conformance.worlds import Mysql, Pairing, World
from tests.live.harness import instead
from tests.servers import Pair
from trueup import Database, Outcome, Projection, Side, Verdict, diff
from trueup.adapters._steps import UnitTransaction
from trueup.adapters.mysql import MysqlAdapter
from trueup.core.binding import bind
from trueup.core.digest import agree
from trueup.core.plan import Range
from trueup.errors import DataProblem


def found(report: Any) -> set[tuple[str, Any]]:
    return {(row["kind"], *row["key"].values()) for row in report.drift}


ORDERS = "CREATE TABLE o (id bigint PRIMARY KEY, u bigint NOT NULL, amount varchar(20))"
SUMMED = "SELECT u, CAST(SUM(CAST(amount AS SIGNED)) AS SIGNED) AS total FROM o GROUP BY u"


@pytest.fixture
def orders(mariadb_pair: Pair) -> Pair:
    """Texts, one of them no number, and in the other database what MariaDB makes of them."""
    Mysql(mariadb_pair.source).sql(ORDERS, "INSERT INTO o VALUES (1, 1, '10'), (2, 1, 'n/a'), (3, 2, '5')")
    assert Mysql(mariadb_pair.source).sql(SUMMED) == [(1, 10), (2, 5)], "the trap"
    Mysql(mariadb_pair.target).sql("CREATE TABLE t (u bigint PRIMARY KEY, total bigint)")
    Mysql(mariadb_pair.target).insert("t", [(1, 10), (2, 5)])
    return mariadb_pair


@pytest.mark.parametrize("exact", [False, True])
def test_a_query_that_coerces_is_not_equal_to_what_it_makes(orders: Pair, exact: bool) -> None:
    source, target = f"{orders.source}#{SUMMED}", f"{orders.target}#t"
    with pytest.raises(DataProblem, match="coerced: Truncated incorrect INTEGER value: 'n/a'"):
        diff(source, target, key="u", exact=exact)
    Mysql(orders.source).sql("UPDATE o SET amount = '0' WHERE id = 2")
    assert diff(source, target, key="u", exact=exact).verdict is Verdict.IN_SYNC, "the positive control"


@pytest.fixture
def hashed(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[HashedWorld]:
    """Two MariaDB databases, compared by MD5."""
    yield from open_hashed((Pairing(source="mysql", target="mysql"), "md5"), request, new_ledger, tmp_path)


def test_the_row_is_named_and_the_others_are_compared(hashed: HashedWorld) -> None:
    """A column that the server computes when it is read; digests found it equal."""
    with closing(hashed.source.connect()) as c, c.cursor() as cursor:
        cursor.execute("CREATE TABLE src (id bigint PRIMARY KEY, s varchar(9), v int AS (CAST(s AS SIGNED)) VIRTUAL)")
        cursor.execute("SET sql_mode = ''")
        cursor.execute("INSERT INTO src (id, s) VALUES (1, '1'), (2, 'n/a'), (3, '3'), (4, '4')")
        c.commit()
    hashed.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v int", [(1, 1), (2, 0), (3, 9), (4, 4)])
    report, differing = hashed.found(columns=["v"])
    assert "digests" in hashed.steps()
    assert differing == {("different", 3)}
    assert "could not be compared" in report.reason
    aside = {row["key"]["id"] for row in report.quarantined_rows}
    assert 2 in aside
    assert aside <= {1, 2}, "the server may compute the column of a neighbour, too"


def test_the_partitions_without_it_are_compared(hashed: HashedWorld) -> None:
    """The server computes the sums also to list the partitions: that one is none of a number keeps no other waiting."""
    hashed.source.sql("CREATE TABLE o (id bigint PRIMARY KEY, u bigint, p int, amount varchar(20))")
    hashed.source.sql("INSERT INTO o VALUES (1, 1, 1, '10'), (2, 1, 1, 'n/a'), (3, 2, 1, '5'), (4, 3, 2, '7')")
    columns = "u {integer} PRIMARY KEY NOT NULL, p int, total {integer}"
    hashed.target.table("dst", columns, [(1, 1, 10), (2, 1, 5), (3, 2, 8)])
    app = hashed.app(
        source=SUMMED.replace(" AS total", " AS total, p") + ", p",
        key=["u"],
        columns=["total"],
        partition={"by": "column", "column": "p"},
    )
    report = app.check("p")
    assert found(report) == {("different", 3)}
    assert "all keys of partition 1: databases.a: a value was coerced" in report.reason


def test_every_question_about_such_a_query_is_refused(orders: Pair) -> None:
    """Digests and hashes of its rows, its greatest key, how many rows it has."""
    reader = MysqlAdapter("a", Database(url=orders.source))
    side = Side(database="a", query=SUMMED)
    projection = Projection(name="p", source=side, target=side, key=["u"])
    shape = reader.describe(side)
    binding = bind(projection, shape, shape, writing=False)
    hashing, _ = agree(binding, *[reader.hashes()] * 2)
    assert hashing is not None
    asked: dict[str, Callable[[], Any]] = {
        "digests": lambda: reader.digests(binding.source, Range(), hashing),
        "prints": lambda: reader.prints(binding.source, Range(), hashing),
        "greatest": lambda: reader.greatest(binding.source),
        "tally": lambda: reader.tally(binding.source, Range(), []),
    }
    for name, ask in asked.items():
        with pytest.raises(DataProblem, match="a value was coerced"):
            pytest.fail(f"{name}: {ask()}")
    Mysql(orders.source).sql("UPDATE o SET amount = '0' WHERE id = 2")
    assert all(ask() for ask in asked.values()), "the positive control"
    reader.close()


@pytest.fixture
def alone(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    """One MariaDB database."""
    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    yield from _open(Pairing(source="mysql", target="mysql", together=True), request, tmp_path)


def test_what_became_no_number_before_its_repair_is_not_written(alone: World) -> None:
    """The application changes the source between our look and our lock."""
    alone.source.sql("CREATE TABLE src (id bigint PRIMARY KEY, amount varchar(20))")
    alone.source.insert("src", [(1, "10"), (2, "5")])
    alone.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(1, 99), (2, 98)])
    read = UnitTransaction.read_source_here

    def after_the_application(self: UnitTransaction, keys: Any) -> Any:
        alone.source.sql("UPDATE src SET amount = 'n/a' WHERE id = 1")
        return read(self, keys)

    app = alone.app(source="SELECT id, CAST(amount AS SIGNED) AS v FROM src GROUP BY id")
    with instead(UnitTransaction, "read_source_here", after_the_application):
        report = app.run("p")
    assert alone.target.rows("dst") == {(1, 99), (2, 5)}, "a made-up value was written"
    assert (report.verdict, report.repaired) == (Verdict.INCONCLUSIVE, 1)
    (refused,) = [outcome for outcome in app.outcomes(report.run) if outcome.outcome is Outcome.FAILED]
    assert (refused.key, "a value was coerced" in refused.evidence) == ((1,), True)
