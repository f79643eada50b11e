"""Two PostgreSQL databases whose segments are digested by one statement that goes on: the answer is the same."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

import trueup
from tests.live.harness import until
from tests.servers import Pair, run_sql
from trueup import Database, by_digest, in_time
from trueup.adapters import _postgresql_one_statement as one_statement
from trueup.adapters import _postgresql_survey, connect, postgresql
from trueup.adapters._hashing import Hashed
from trueup.core.digest import Digests, Prints
from trueup.errors import BrokenRead, StatementTimeout

ROWS = 3_000
_MAKE = "CREATE TABLE t (id bigint PRIMARY KEY, v integer, s text)"
_FILL = f"INSERT INTO t SELECT n, n % 7, md5(n::text) FROM generate_series(1, {ROWS}) n"
#: Key -> kind; in several segments, at their ends, beyond both ends.
PLANTED = {0: "extra", 1: "different", 700: "missing", 701: "different", 1500: "different", 3000: "missing"}


@pytest.fixture
def tables(postgres_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Segments of about 100 rows."""
    monkeypatch.setattr(_postgresql_survey, "SEGMENT_ROWS", 100)
    monkeypatch.setattr(_postgresql_survey, "RANGES_PAY_BELOW", 1e9)
    for url in postgres_pair:
        run_sql(url, "DROP TABLE IF EXISTS t", _MAKE, _FILL, "ANALYZE t")
    return postgres_pair


def planted(pair: Pair) -> None:
    keys = {kind: [str(key) for key, k in PLANTED.items() if k == kind] for kind in set(PLANTED.values())}
    run_sql(
        pair.target,
        f"DELETE FROM t WHERE id IN ({', '.join(keys['missing'])})",
        f"UPDATE t SET v = -1 WHERE id IN ({', '.join(keys['different'])})",
        *(f"INSERT INTO t VALUES ({key}, 0, NULL)" for key in keys["extra"]),
    )


def compared(pair: Pair) -> trueup.Report:
    return trueup.diff(f"{pair.source}#t", f"{pair.target}#t", key="id", rows=0)


def found(report: trueup.Report) -> dict[Any, str]:
    return {row["key"]["id"]: row["kind"] for row in report.drift}


def watched(patch: pytest.MonkeyPatch, method: str = "digests_of") -> list[int]:
    """How many segments each statement was asked for."""
    asked: list[int] = []
    real = getattr(Hashed, method)

    def noting(self: Hashed, on: Any, side: Any, parts: Any, hashing: Any) -> Any:
        asked.append(len(parts))
        return real(self, on, side, parts, hashing)

    patch.setattr(Hashed, method, noting)
    return asked


def limit(patch: pytest.MonkeyPatch, together: int) -> None:
    patch.setattr(one_statement.PostgresqlOneStatement, "most", together)


@pytest.mark.parametrize("compiled", [2, 1_000], ids=["compiled", "not compiled"])
@pytest.mark.parametrize("together", [7, 1_000])
def test_each_row_is_compared_once(tables: Pair, monkeypatch: pytest.MonkeyPatch, together: int, compiled: int) -> None:
    monkeypatch.setattr(one_statement, "COMPILED_MIN", compiled)
    limit(monkeypatch, together)
    asked = watched(monkeypatch)
    report = compared(tables)
    assert (found(report), report.source_rows, report.target_rows) == ({}, ROWS, ROWS)
    assert report.segments["planned"] > 20
    assert len(asked) == 2 * (1 if together > 20 else -(-max(sum(asked) // 2, 1) // together))
    planted(tables)
    report = compared(tables)
    assert found(report) == PLANTED
    assert (report.source_rows, report.target_rows) == (ROWS, ROWS - 1)


_OPEN = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND xact_start IS NOT NULL AND query LIKE 'FETCH %'"""


def test_where_other_answers_are_wanted_nothing_is_left_open(tables: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the statement for digests, once the hashes of rows are asked for: a server ends it only after ten seconds."""
    run_sql(tables.target, "UPDATE t SET v = v + 1")
    digesting: list[list[int]] = []
    printing: list[object] = []
    by_leaves, by_prints = by_digest._by_leaves, by_digest._by_prints

    def going_on() -> list[int]:
        return [int(str(row[0])) for url in tables for row in run_sql(url, _OPEN)]

    def after_digests(*given: Any) -> Any:
        answer = by_leaves(*given)
        digesting.append(going_on())
        return answer

    def after_prints(*given: Any) -> Any:
        answer = by_prints(*given)
        until(lambda: max(going_on()) <= 1, timeout_s=5)
        printing.append(answer)
        return answer

    monkeypatch.setattr(by_digest, "_by_leaves", after_digests)
    monkeypatch.setattr(by_digest, "_by_prints", after_prints)
    assert len(found(compared(tables))) == ROWS
    assert any(map(any, digesting)), "the server tells of those that go on"
    assert len(printing) > 10


@pytest.mark.parametrize("lost", [0, 1], ids=["control", "one lost"])
def test_digests_that_do_not_arrive_are_no_answer(tables: Pair, monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    from trueup.adapters import _hashing

    real = _hashing._digests

    def losing(*given: Any) -> Digests:
        told = real(*given)
        return dict(list(told.items())[lost:]) if 10 in told else told

    monkeypatch.setattr(_hashing, "_digests", losing)
    if not lost:
        assert not found(compared(tables))
        return
    with pytest.raises(BrokenRead, match="were to arrive"):
        compared(tables)


def cut_in_two(patch: pytest.MonkeyPatch) -> list[Any]:
    """What was cut because a statement took too long."""
    cut, real = list[Any](), in_time.halves

    def noting(span: Any, at: Any) -> Any:
        cut.append(span)
        return real(span, at)

    patch.setattr(in_time, "halves", noting)
    return cut


def test_what_a_statement_takes_too_long_for_is_cut_in_two(tables: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(tables)
    cut = cut_in_two(monkeypatch)
    real, failed = Hashed.digests_of, list[int]()

    def failing(self: Hashed, on: Any, side: Any, parts: Any, hashing: Any) -> Any:
        for at, digests in enumerate(real(self, on, side, parts, hashing)):
            if at == 3 and not failed:
                failed.append(at)
                raise StatementTimeout("as the server would")
            yield digests

    monkeypatch.setattr(Hashed, "digests_of", failing)
    assert found(compared(tables)) == PLANTED
    assert (len(failed), len(cut)) == (1, 1)


def rows(prints: Prints) -> list[bytes]:
    """In any order, the key before the row; but for the first, where its hash is not there."""
    start, half = prints.width // 2 * prints.headless, prints.width // 2
    found = [prints.packed[at : at + prints.width] for at in range(start, len(prints.packed), prints.width)]
    return sorted(row[half:] + row[:half] for row in found) if prints.headless else sorted(found)


def test_the_answers_are_those_of_single_statements(tables: Pair) -> None:
    """Also where an integer key cannot hold an end that the other side gave."""
    run_sql(tables.source, "ALTER TABLE t ALTER id TYPE smallint")
    from trueup.access import hashing_of
    from trueup.comparison import comparing
    from trueup.core.plan import Range, Ranges, slices

    spans = [Range(lower=(low,), upper=(low + 500,)) for low in (-40_000, -100, 400, 900, 32_500, 2**40)]
    parts = [Ranges(within=span, ranges=tuple(slices(span, 16))) for span in spans]
    with comparing(f"{tables.source}#t", f"{tables.target}#t", key=["id"]) as comparison:
        pair = comparison.engine.pair(comparison.binding)
        hashing, _ = hashing_of(pair)
        assert hashing is not None
        for url, side in ((tables.source, pair.binding.source), (tables.target, pair.binding.target)):
            with closing(connect("x", Database(url=url))) as adapter:
                together = adapter.one_statement
                assert together is not None
                assert list(together.digests_of(side, parts, hashing)) == [
                    adapter.digests(side, part, hashing) for part in parts
                ]
                for prints, span in zip(together.prints_of(side, spans, hashing), spans, strict=True):
                    alone = adapter.prints(side, span, hashing)
                    assert (len(prints), prints.headless) == (len(alone), url == tables.target and len(alone) > 0)
                    first = prints.packed[:8] if prints.headless else None
                    assert rows(prints) == [row for row in rows(alone) if row[:8] != first]
                    assert len(rows(prints)) == len(alone) - prints.headless
                assert len(prints) == 0


# --- the hashes of all rows, where differences are everywhere ---------------------------------------------------------


def scattered(pair: Pair, patch: pytest.MonkeyPatch) -> dict[int, str]:
    """Differences in every leaf, of each kind, and rows that have moved to another place in the table."""
    adapter = postgresql.PostgresqlAdapter
    patch.setattr(adapter, "capabilities", replace(adapter.capabilities, slices=8))
    run_sql(
        pair.target,
        "UPDATE t SET v = -1 WHERE id % 9 = 0",
        "DELETE FROM t WHERE id % 90 = 1",
        "UPDATE t SET id = 10000 + id WHERE id % 90 = 2",
        "UPDATE t SET s = s WHERE id % 7 = 0",
    )
    kinds = {key: "different" for key in range(1, ROWS + 1) if key % 9 == 0}
    kinds |= dict.fromkeys((key for key in range(1, ROWS + 1) if key % 90 in (1, 2)), "missing")
    return kinds | dict.fromkeys((10_000 + key for key in range(1, ROWS + 1) if key % 90 == 2), "extra")


@pytest.mark.parametrize("compiled", [2, 1_000], ids=["compiled", "not compiled"])
@pytest.mark.parametrize("together", [7, 1_000])
def test_scattered_rows_are_found_once(
    tables: Pair, monkeypatch: pytest.MonkeyPatch, together: int, compiled: int
) -> None:
    monkeypatch.setattr(one_statement, "COMPILED_MIN", compiled)
    limit(monkeypatch, together)
    asked, wanted = watched(monkeypatch, "prints_of"), scattered(tables, monkeypatch)
    report = compared(tables)
    assert found(report) == wanted
    assert len(report.drift) == len(wanted), "a row was told twice"
    assert (report.source_rows, report.target_rows) == (ROWS, ROWS - len(range(1, ROWS + 1, 90)))
    assert max(asked) <= together
    assert sum(asked) > 40, "segments were not asked for by one statement"


@pytest.mark.parametrize("lost", [0, 1], ids=["control", "one lost"])
def test_hashes_that_do_not_arrive_are_no_answer(tables: Pair, monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    from trueup.adapters import _hashing

    wanted, real, fetched = scattered(tables, monkeypatch), _hashing._next, list[str]()

    def losing(on: Any, many: int, **options: Any) -> Any:
        if options:
            fetched.append("rows")
        if lost and len(fetched) == 5:
            real(on, many, **options).all()
        return real(on, many, **options)

    monkeypatch.setattr(_hashing, "_next", losing)
    if not lost:
        assert found(compared(tables)) == wanted
        assert len(fetched) > 5
        return
    with pytest.raises(BrokenRead, match="were to arrive"):
        compared(tables)


def test_what_takes_too_long_to_hash_is_cut_in_two(tables: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = cut_in_two(monkeypatch)
    wanted, real, failed = scattered(tables, monkeypatch), Hashed.prints_of, list[int]()

    def failing(self: Hashed, on: Any, side: Any, parts: Any, hashing: Any) -> Any:
        for at, prints in enumerate(real(self, on, side, parts, hashing)):
            if at == 3 and not failed:
                failed.append(at)
                raise StatementTimeout("as the server would")
            yield prints

    monkeypatch.setattr(Hashed, "prints_of", failing)
    assert found(compared(tables)) == wanted
    assert (len(failed), len(cut)) == (1, 1)


def test_first_rows_of_segments_which_come_without_a_hash_are_compared(
    tables: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = scattered(tables, monkeypatch)
    firsts, real = set[int](), by_digest.keys_that_differ

    def noting(source: Prints, target: Prints) -> list[bytes]:
        firsts.update(int.from_bytes(side.packed[:8], "big") for side in (source, target) if side.headless)
        return real(source, target)

    monkeypatch.setattr(by_digest, "keys_that_differ", noting)
    assert found(compared(tables)) == wanted
    assert len(firsts - set(wanted)) > 10
    run_sql(tables.target, f"UPDATE t SET v = -2 WHERE id IN ({', '.join(map(str, firsts))})")
    assert found(compared(tables)) == dict.fromkeys(firsts, "different") | wanted


def test_hashes_of_many_segments_come_as_bytes(tables: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    from trueup.adapters import _hashing

    scattered(tables, monkeypatch)
    forms, real = set[int](), _hashing._next

    def noting(on: Any, many: int, **options: Any) -> Any:
        result = real(on, many, **options)
        if options:
            forms.add(int(result.cursor.format))
        return result

    monkeypatch.setattr(_hashing, "_next", noting)
    compared(tables)
    assert forms == {1}


@pytest.mark.parametrize(("what", "order"), [("digests_of", True), ("prints_of", False)], ids=["control", "hashes"])
def test_hashes_of_rows_are_read_page_by_page_where_digests_need_an_order(
    tables: Pair, monkeypatch: pytest.MonkeyPatch, what: str, order: bool
) -> None:
    """MD5 is digested in order, along the index; the hashes of rows are compared in any."""
    hashes = postgresql.PostgresqlAdapter.hashes
    monkeypatch.setattr(
        postgresql.PostgresqlAdapter,
        "hashes",
        lambda self: [way for way in hashes(self) if way.name == "md5"],
    )
    settings: list[str] = []
    asked = getattr(Hashed, what)

    def noting(self: Hashed, on: Any, *given: Any) -> Any:
        settings.extend(on.exec_driver_sql("SHOW enable_indexscan").scalars())
        return asked(self, on, *given)

    monkeypatch.setattr(Hashed, what, noting)
    if not order:
        scattered(tables, monkeypatch)
    compared(tables)
    assert set(settings) == {"on" if order else "off"}
