"""Two tables of one PostgreSQL database are joined and counted, and joined once more only where something differs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from tests.servers import run_sql
from trueup import Database, Projection, Side, diff
from trueup.adapters import Look, connect
from trueup.adapters._postgresql_lots import PostgresqlPacker
from trueup.adapters._unequal import unequal
from trueup.adapters.postgresql import PostgresqlAdapter
from trueup.core.binding import Binding, bind
from trueup.core.plan import Everything, Keys, Leaves, Range, Segment

ROWS = 1_000
SOME = Range(lower=(100,), upper=(900,))


@pytest.fixture
def adapter(postgres: str) -> Iterator[PostgresqlAdapter]:
    run_sql(postgres, f"CREATE TABLE src AS SELECT i AS id, i AS v, i AS w FROM generate_series(1, {ROWS}) i")
    run_sql(postgres, "ALTER TABLE src ADD PRIMARY KEY (id)", "CREATE TABLE dst AS TABLE src")
    run_sql(postgres, "ALTER TABLE dst ADD PRIMARY KEY (id)", "CREATE VIEW seen AS SELECT * FROM src")
    run_sql(postgres, "CREATE TABLE loose AS TABLE src", "ANALYZE")
    made = connect("app", Database(url=postgres))
    assert isinstance(made, PostgresqlAdapter)
    with closing(made):
        yield made


def bound(adapter: PostgresqlAdapter, *, exact: bool = False, **source: str) -> Binding:
    sides = Side(database="app", **source), Side(database="app", table="dst")
    more: dict[str, Any] = {"writers": "same_transaction", "exact": exact}
    projection = Projection(name="p", source=sides[0], target=sides[1], key=("id",), **more)
    return bind(projection, *(adapter.describe(side) for side in sides), writing=False)


def plan(adapter: PostgresqlAdapter, binding: Binding, segment: Segment, *, lots: bool = False) -> str:
    """What the server did for a comparison; `lots`: of the kind that keeps rows together."""
    packer = adapter.packer
    assert isinstance(packer, PostgresqlPacker)
    statement = (packer._comparison if lots else adapter.comparison)(binding, segment)
    with adapter.reading() as connection:
        told = adapter.explain(connection, "EXPLAIN (ANALYZE, COSTS OFF)", statement)
    return "\n".join(line for (line,) in told)


@pytest.mark.parametrize("lots", [False, True], ids=["rows", "lots"])
@pytest.mark.parametrize("segment", [SOME, Everything()], ids=["a range", "everything"])
def test_where_nothing_differs_nothing_is_kept_and_nothing_read_twice(
    adapter: PostgresqlAdapter, postgres: str, segment: Segment, lots: bool
) -> None:
    binding = bound(adapter, table="src")
    told = plan(adapter, binding, segment, lots=lots)
    assert told.count("never executed") >= 3, "the join for the list, and both of its tables"
    assert "CTE Scan on trueup_j" not in told
    run_sql(postgres, "UPDATE dst SET v = 0 WHERE id = 500")
    assert "never executed" not in plan(adapter, binding, segment, lots=lots), "the control"


@pytest.mark.parametrize(
    ("source", "segment"),
    [
        ({"table": "seen"}, SOME),
        ({"query": "SELECT * FROM src"}, SOME),
        ({"table": "loose"}, SOME),
        ({"table": "src"}, Keys(keys=((1,), (2,)))),
    ],
    ids=["view", "query", "keys that may repeat", "some keys"],
)
def test_what_may_be_dear_or_different_the_second_time_is_kept(
    adapter: PostgresqlAdapter, source: dict[str, str], segment: Segment
) -> None:
    told = plan(adapter, bound(adapter, **source), segment)
    assert told.count("CTE Scan on trueup_j") == 2
    assert "never executed" not in told


@pytest.mark.parametrize("source", ["src", "seen"])
def test_both_ways_find_the_same(adapter: PostgresqlAdapter, postgres: str, source: str) -> None:
    changes = [
        "UPDATE dst SET v = 0 WHERE id IN (100, 899, 900)",
        "UPDATE dst SET v = NULL, w = 1 WHERE id = 300",
        "DELETE FROM dst WHERE id IN (99, 200)",
        "DELETE FROM src WHERE id IN (400, 1000)",
    ]
    run_sql(postgres, *changes)
    look = adapter.differences(bound(adapter, table=source), SOME)
    assert look is not None
    found: dict[str, list[Any]] = {}
    for row in sorted(look.suspects, key=lambda row: row.key):
        found.setdefault(row.kind, []).append(row.key[0])
    assert found == {"different": [100, 300, 899], "missing": [200], "extra": [400]}
    counts = look.counts
    assert (counts.source_rows, counts.target_rows) == (799, 799)
    assert (counts.missing, counts.extra, counts.different) == (1, 1, 3)


def test_the_list_ends_at_its_limit(adapter: PostgresqlAdapter, postgres: str) -> None:
    run_sql(postgres, "UPDATE dst SET v = 0")
    binding = bound(adapter, table="src")
    statement = adapter.relations.differences(binding, SOME, partial(unequal, adapter, binding), 7)
    with adapter.reading() as connection:
        figures, *rows = adapter.answered(connection, statement)
    assert (figures.figures.split(",")[4], len(rows)) == ("800", 7)


def test_rows_that_lie_in_another_order_are_not_looked_up_one_by_one(
    adapter: PostgresqlAdapter, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planner expects nearly all of them to differ, so that a list with a limit would soon be complete."""
    monkeypatch.setattr("trueup.adapters._sql.DIFFERENCES_MAX", 100)
    for table in ("src", "dst"):
        run_sql(postgres, f"TRUNCATE {table}")
        run_sql(postgres, f"INSERT INTO {table} SELECT i * 7919 % 20000, i, i FROM generate_series(1, 20000) i")
    run_sql(postgres, "UPDATE dst SET v = 0 WHERE id = 500", "ANALYZE")
    told = plan(adapter, bound(adapter, table="src"), Everything())
    assert told.count("Hash Full Join") == 2
    assert "Index Scan" not in told


def looked(adapter: PostgresqlAdapter, binding: Binding, monkeypatch: pytest.MonkeyPatch) -> tuple[Look, list[Any]]:
    """Everything compared, and what of it was joined."""
    joined: list[Any] = []
    real = PostgresqlAdapter.compared

    def compared(self: PostgresqlAdapter, connection: Any, binding: Binding, segment: Any) -> Any:
        joined.append(segment)
        return real(self, connection, binding, segment)

    with monkeypatch.context() as patch:
        patch.setattr(PostgresqlAdapter, "compared", compared)
        look = adapter.differences(binding, Everything())
    assert look is not None
    return look, joined


@pytest.mark.parametrize("exact", [False, True], ids=["digests", "the control"])
def test_one_pass_joins_nothing_where_nothing_differs(
    adapter: PostgresqlAdapter, monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    look, joined = looked(adapter, bound(adapter, table="src", exact=exact), monkeypatch)
    assert joined == [Everything()] * exact
    assert look.suspects == []
    assert (look.counts.source_rows, look.counts.target_rows, look.counts.differing) == (ROWS, ROWS, 0)


def test_lots_are_of_the_leaves_that_differ(
    adapter: PostgresqlAdapter, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[Any] = []
    real = PostgresqlPacker._joined

    def noted(self: PostgresqlPacker, binding: Binding, segment: Any) -> Look | None:
        joined.append(segment)
        return real(self, binding, segment)

    monkeypatch.setattr(PostgresqlPacker, "_joined", noted)
    found = []
    for changes in ("DELETE FROM dst WHERE id = 7", "UPDATE dst SET v = 0 WHERE id IN (500, 501)"):
        run_sql(postgres, changes)
        look = adapter.packer.compared(bound(adapter, table="src"), Everything())
        exactly = adapter.packer.compared(bound(adapter, table="src", exact=True), Everything())
        assert look is not None
        assert exactly is not None
        assert look.counts == exactly.counts
        found.append([(str(lot.kind), lot.count) for lot in look.lots])
    assert found == [[("missing", 1)], [("different", 2), ("missing", 1)]]
    assert [type(part) for part in joined] == [Leaves, Everything] * 2


def test_one_pass_joins_the_leaves_that_differ(
    adapter: PostgresqlAdapter, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sql(postgres, "UPDATE dst SET v = 0 WHERE id = 500", "DELETE FROM dst WHERE id = 7")
    run_sql(postgres, "INSERT INTO dst VALUES (5000, 1, 1)")
    look, (part,) = looked(adapter, bound(adapter, table="src"), monkeypatch)
    assert isinstance(part, Leaves)
    assert len(part.leaves) == 3
    exactly, _ = looked(adapter, bound(adapter, table="src", exact=True), monkeypatch)
    assert look.counts == exactly.counts
    by_key = [sorted(of.suspects, key=lambda suspect: suspect.key) for of in (look, exactly)]
    assert by_key[0] == by_key[1] != []


@pytest.mark.parametrize("change", ["UPDATE dst SET v = 0", "TRUNCATE dst", "UPDATE dst SET id = -id"])
def test_where_much_differs_everything_is_joined(
    adapter: PostgresqlAdapter, postgres: str, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    run_sql(postgres, change)
    look, joined = looked(adapter, bound(adapter, table="src"), monkeypatch)
    assert joined == [Everything()]
    assert look.counts.source_rows == ROWS


@pytest.mark.parametrize("source", [{"table": "seen"}, {"query": "SELECT * FROM src"}, {"table": "loose"}], ids=str)
def test_what_is_no_table_with_unique_keys_is_joined(
    adapter: PostgresqlAdapter, monkeypatch: pytest.MonkeyPatch, source: dict[str, str]
) -> None:
    assert looked(adapter, bound(adapter, **source), monkeypatch)[1] == [Everything()]


def test_keys_that_may_be_null_are_joined(
    adapter: PostgresqlAdapter, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in ("src", "dst"):
        run_sql(postgres, f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey", f"CREATE UNIQUE INDEX ON {table} (id)")
        run_sql(postgres, f"ALTER TABLE {table} ALTER id DROP NOT NULL", f"INSERT INTO {table} VALUES (NULL, 1, 1)")
    look, joined = looked(adapter, bound(adapter, table="src"), monkeypatch)
    assert joined == [Everything()]
    assert (look.counts.null_keys_source, look.counts.null_keys_target) == (1, 1)


@pytest.mark.parametrize("name", ["j", "f", "o", "s", "t", "u", "d"])
def test_tables_may_have_any_name(postgres: str, name: str) -> None:
    """Names of our own parts of a statement hid tables of the same name."""
    for table in (name, "dst"):
        run_sql(postgres, f'CREATE TABLE "{table}" (id int, v int)', f'INSERT INTO "{table}" VALUES (1, 1), (2, 2)')
    run_sql(postgres, "UPDATE dst SET v = 0 WHERE id = 2")
    for unique in (False, True):
        if unique:
            run_sql(postgres, *(f'ALTER TABLE "{table}" ADD PRIMARY KEY (id)' for table in (name, "dst")))
        report = diff(f"{postgres}#{name}", f"{postgres}#dst", key="id")
        assert (report.source_rows, report.different) == (2, 1)
        query = f'{postgres}#SELECT * FROM "{name}"'
        assert diff(query, f"{postgres}#dst", key="id").different == 1
