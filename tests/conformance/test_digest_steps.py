"""The way from digests to values: which step is taken when, what happens between two of them, and what may break."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.hashed import HASHED, HASHED_IDS, NATIVE, HashedWorld, open_hashed
from tests.conformance.worlds import Place, Postgresql, Row
from tests.servers import Postgres, run_sql, with_database
from trueup import Trueup, Verdict, access, by_digest
from trueup import narrow as narrowing
from trueup.adapters import _hashing, _mysql_survey, _postgresql_survey, mysql, postgresql
from trueup.adapters._postgresql_by_key import RowsByKey
from trueup.ahead import AHEAD
from trueup.core.digest import Hashing, agree
from trueup.core.plan import KeyHashes, Leaves, Range, Ranges, ranges
from trueup.errors import BrokenRead, DesignProblem
from trueup.side_by_side import both

COLUMNS = "id {integer} PRIMARY KEY NOT NULL, v {integer}"
ROWS = [(n, n % 7) for n in range(-300, 900)]


@pytest.fixture(params=HASHED, ids=HASHED_IDS)
def world(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[HashedWorld]:
    yield from open_hashed(request.param, request, new_ledger, tmp_path)


@pytest.fixture(params=NATIVE, ids=str)
def native(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[HashedWorld]:
    yield from open_hashed(request.param, request, new_ledger, tmp_path)


@pytest.fixture(params=[mix for mix in HASHED if mix[0].source == "postgresql"], ids=lambda mix: f"{mix[0]}-{mix[1]}")
def from_postgresql(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[HashedWorld]:
    yield from open_hashed(request.param, request, new_ledger, tmp_path)


def tune(
    patch: pytest.MonkeyPatch, *, leaves: int = 16, prints: int = 10**6, keys: int = 5, share: float = 0.2
) -> None:
    """The constants of the strategy, so small that a few rows need all of it."""
    patch.setattr(by_digest, "LEAVES_OF_ALL", leaves)
    patch.setattr(by_digest, "LEAVES", leaves)
    for adapter in (mysql.MysqlAdapter, postgresql.PostgresqlAdapter):
        patch.setattr(adapter, "capabilities", replace(adapter.capabilities, slices=leaves))
    patch.setattr(access, "agree", partial(agree_on, leaves))
    patch.setattr(by_digest, "KEYS_AT_ONCE", keys)
    patch.setattr(by_digest, "ROWS_SHARE", share)
    for module in (by_digest, _hashing):
        patch.setattr(module, "PRINTS_MAX", prints)


def agree_on(leaves: int, *given: Any) -> tuple[Hashing | None, str]:
    hashing, why = agree(*given)
    return None if hashing is None else replace(hashing, leaves=leaves), why


def in_ranges(patch: pytest.MonkeyPatch) -> None:
    """Segments of some 100 rows."""
    for adapter in (_mysql_survey, _postgresql_survey):
        patch.setattr(adapter, "SEGMENT_ROWS", 100)
    patch.setattr(_postgresql_survey, "RANGES_PAY_BELOW", 1e9)
    patch.setattr(_postgresql_survey, "SERVED_BELOW", 1e9)


def changed(rows: list[Row], *keys: int) -> list[Row]:
    return [(key, v + 1000 * (key in keys)) for key, v in rows]


def different(*keys: int) -> set[Row]:
    return {("different", key) for key in keys}


# --- each step is taken where it should be ----------------------------------------------------------------------


def test_gaps_between_keys_are_told_by_digests_too(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A range without rows has no sum and no hash, which is no reason to look closer."""
    tune(monkeypatch)
    in_ranges(monkeypatch)
    rows = [(n if n < 600 else n + 10**6, n) for n in range(1200)]
    world.tables(COLUMNS, rows, rows)
    world.source.analyze("src")
    world.target.analyze("dst")
    assert world.found()[1] == set()
    assert any(isinstance(part, Ranges) for _, _, part in world.asked), "ranges of keys were digested"
    assert world.steps() == {"digests"}


def test_equal_tables_are_told_by_digests_alone(world: HashedWorld) -> None:
    world.tables(COLUMNS, ROWS, ROWS)
    report, found = world.found()
    assert (found, report.verdict, world.steps()) == (set(), Verdict.IN_SYNC, {"digests"})
    assert (report.source_rows, report.target_rows) == (len(ROWS), len(ROWS))


def test_few_differences_are_sought_in_their_leaves(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(monkeypatch)
    world.tables(COLUMNS, ROWS, [*changed(ROWS, 5, 21)[1:], (5000, 0)])
    report, found = world.found()
    assert found == different(5, 21) | {("missing", -300), ("extra", 5000)}
    assert (report.source_rows, report.target_rows) == (len(ROWS), len(ROWS))
    parts = [part for _, what, part in world.asked if what == "prints"]
    assert [type(part) for part in parts] == [Leaves, Leaves]
    assert len(parts[0].leaves) < 16
    assert "stream KeyHashes" in world.steps()
    assert "stream Range" not in world.steps()


def test_more_keys_than_one_statement_takes(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(monkeypatch, keys=4, share=1)
    keys = tuple(range(0, 30, 3))
    world.tables(COLUMNS, ROWS, changed(ROWS, *keys))
    assert world.found()[1] == different(*keys)
    sizes = [len(part.hashes) for side, _, part in world.asked if isinstance(part, KeyHashes) and side == "source"]
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize("limits", [{"prints": 100}, {"share": 0.0, "keys": 1}], ids=["too many hashes", "rows"])
def test_where_hardly_a_row_is_equal_rows_are_read_side_by_side(
    world: HashedWorld, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any]
) -> None:
    tune(monkeypatch, **limits)
    keys = tuple(key for key, _ in ROWS)
    world.tables(COLUMNS, ROWS, changed(ROWS, *keys))
    report, found = world.found()
    assert found == different(*keys)
    assert (report.source_rows, report.target_rows, report.different) == (len(ROWS), len(ROWS), len(ROWS))
    assert "stream Range" in world.steps()


@pytest.mark.parametrize("passes", [1000, 0], ids=["by range", "the control"])
def test_what_is_too_much_in_one_pass_is_gone_through_by_range(
    native: HashedWorld, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    """It need not be read in key order for that: the control does."""
    tune(monkeypatch, prints=200)
    in_ranges(monkeypatch)
    monkeypatch.setattr(_postgresql_survey, "RANGES_PAY_BELOW", 0.0)
    monkeypatch.setattr(access, "IN_ORDER", passes)
    keys = tuple(range(-300, 900, 41))
    native.tables(COLUMNS, ROWS, changed(ROWS, *keys))
    for place, table in ((native.source, "src"), (native.target, "dst")):
        place.analyze(table)
    report, found = native.found()
    assert found == different(*keys)
    assert (report.source_rows, report.target_rows) == (len(ROWS), len(ROWS))
    assert ("stream Range" in native.steps()) is (not passes)

    app = native.app()
    pair = app.pair(app.binding("p", writing=False))
    (whole,) = narrowing.route(pair, app.clock.now()).segments
    pieces = list(narrowing.narrow(pair, whole))
    assert [piece.span for piece in pieces] == (ranges(access.cuts_that_pay(pair)) if passes else [whole])
    assert [piece.rest for piece in pieces] == [
        *(Range(lower=piece.span.upper) for piece in pieces[:-1] if isinstance(piece.span, Range)),
        None,
    ]


def test_many_differences_make_the_next_segments_begin_with_hashes(
    world: HashedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where they end, digests are asked for again."""
    tune(monkeypatch, leaves=8, keys=1000)
    in_ranges(monkeypatch)
    keys = tuple(range(-300, 300, 7))
    world.tables(COLUMNS, ROWS, changed(ROWS, *keys))
    for place, table in ((world.source, "src"), (world.target, "dst")):
        place.analyze(table)
    report, found = world.found()
    assert found == different(*keys)
    assert (report.source_rows, report.target_rows) == (len(ROWS), len(ROWS))
    whole = [part for side, what, part in world.asked if side == "source" and what == "prints" and type(part) is Range]
    assert len(whole) > 2, "no segment began with the hashes of its rows"
    digested = [part for side, what, part in world.asked if side == "source" and what == "digests"]
    assert digested[0].lower is None
    assert len(digested) > 2, "digests were not tried again"
    in_vain = len(whole) + len(digested) - report.segments["planned"]
    assert 0 <= in_vain <= AHEAD + by_digest.PRINTS_AHEAD, "no more than were asked for before they were wanted"


def test_integers_are_looked_for_along_their_index(native: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are not hashed as what they are stored as."""
    native.tables("id integer PRIMARY KEY NOT NULL, v {integer}", ROWS, changed(ROWS, 5, -7))
    assert native.found()[1] == different(5, -7)
    (part,) = (part for side, _, part in native.asked if isinstance(part, KeyHashes) and side == "source")
    app = native.app()
    adapter: Any = app._adapter("a")
    binding = app.binding("p", writing=False)

    def plan() -> str:
        rows = adapter.relations.rows(binding.source, part, tokens=False, order=False)
        with adapter.reading() as connection:
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
            return " ".join(line for (line,) in adapter.explain(connection, "EXPLAIN", rows))

    assert "Cond: (id = ANY" in plan()
    monkeypatch.setattr(adapter.hashed.ways[native.way], "keys_of", lambda *_: None)
    assert "Cond: (id = ANY" not in plan(), "the control has to read them all"


def test_rows_of_integer_keys_are_read_in_one_round_trip(
    from_postgresql: HashedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the statement that is built once gives is what any other statement for these hashes gives."""
    in_ranges(monkeypatch)
    world = from_postgresql
    world.tables("id integer PRIMARY KEY NOT NULL, v {integer}", ROWS, changed(ROWS, -6, 5, 7, 300))
    for place, table in ((world.source, "src"), (world.target, "dst")):
        place.analyze(table)
    assert world.found()[1] == different(-6, 5, 7, 300)
    parts = [part for side, _, part in world.asked if isinstance(part, KeyHashes) and side == "source"]
    app = world.app()
    adapter: Any = app._adapter("a")
    binding = app.binding("p", writing=False)
    bounded = [part for part in parts if RowsByKey.of(adapter, binding, binding.source, part, tokens=True)]
    assert bounded, "no rows of a range were asked for by key"
    for part in bounded:
        (quick,), (slow,) = (
            list(read.stream(binding, binding.source, part, tokens=True))
            for read in (adapter, super(type(adapter), adapter))
        )
        assert len(quick) == len(part.hashes)
        assert sorted(zip(*quick.keys, *quick.values, quick.tokens, strict=True)) == sorted(
            zip(*slow.keys, *slow.values, slow.tokens, strict=True)
        )
    far = (2**40).to_bytes(8, "big")
    beyond = replace(
        bounded[0], hashes=(*bounded[0].hashes, far.hex().encode() if bounded[0].hashing.name == "md5" else far)
    )
    (found,) = adapter.stream(binding, binding.source, beyond, tokens=False)
    assert len(found) == len(bounded[0].hashes), "a key that the column cannot hold is an error of the statement"


def test_hashes_come_as_bytes_and_not_as_digits(native: HashedWorld) -> None:
    native.tables(COLUMNS, ROWS, changed(ROWS, 5))
    app = native.app()
    forms: dict[bool, set[int]] = {True: set(), False: set()}

    def note(_c: object, cursor: Any, sql: str, *_: object) -> None:
        forms["int8send" in sql].add(int(cursor.format))

    for name in ("a", "b"):
        adapter: Any = app._adapter(name)
        sa.event.listen(adapter.engine, "after_cursor_execute", note)
    assert app.check("p").different == 1
    assert forms == {True: {1}, False: {0}}


def test_borders_of_ranges_and_beyond(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(monkeypatch)
    in_ranges(monkeypatch)
    world.tables(COLUMNS, ROWS, ROWS)
    for place, table in ((world.source, "src"), (world.target, "dst")):
        place.analyze(table)
    cuts = [part.lower[0] for part in world.app().explain("p").route.segments if isinstance(part, Range) and part.lower]
    assert len(cuts) > 3, "the data must be cut, or this proves nothing"
    at = sorted({key for cut in cuts for key in (cut - 1, cut, cut + 1)} & {key for key, _ in ROWS})
    world.target.sql(f"UPDATE dst SET v = v + 1000 WHERE id IN ({', '.join(map(str, at))})")
    world.target.insert("dst", [(-(10**12), 0), (10**12, 0)])
    assert world.found()[1] == different(*at) | {("extra", -(10**12)), ("extra", 10**12)}
    ranged = {what for _, what, part in world.asked if isinstance(part, Ranges)}
    assert ranged == {"digests", "prints"}, "leaves were not what they should be"


def test_integers_that_have_the_same_digits(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """-5 in one column and 2**64 - 5 in another are spelt with the same sixteen digits, and are two keys."""
    if world.way != "md5" or "mysql" not in (world.source.engine, world.target.engine):
        pytest.skip("no unsigned column, or no digits")
    tune(monkeypatch)
    side = "source" if world.source.engine == "mysql" else "target"
    for role, place, table in (("source", world.source, "src"), ("target", world.target, "dst")):
        key, far = ("bigint unsigned", 2**64 - 5) if role == side else ("{integer}", -5)
        place.table(table, f"id {key} PRIMARY KEY NOT NULL, v {{integer}}", [(1, 1), (far, 1)])
    kinds = ("missing", "extra") if side == "source" else ("extra", "missing")
    assert world.found()[1] == {(kinds[0], str(2**64 - 5)), (kinds[1], -5)}


def test_rows_of_unsigned_keys_are_read_by_key(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond 2**63 the digits of a key are those of a negative number, too."""
    if {world.source.engine, world.target.engine} != {"mysql"}:
        pytest.skip("no unsigned column")
    tune(monkeypatch)
    far = [2**63 - 1, 2**63, 2**64 - 1]
    rows = [*ROWS[300:], *((key, 1) for key in far)]
    world.tables("id bigint unsigned PRIMARY KEY NOT NULL, v {integer}", rows, changed(rows, 5, *far))
    assert world.found()[1] == different(5, *(key if key <= 2**53 else str(key) for key in far))
    assert "stream KeyHashes" in world.steps()
    assert "stream Range" not in world.steps(), "no row was looked up by its key"


# --- any two tables, whatever the constants -----------------------------------------------------------------------

VALUES = st.tuples(
    st.sampled_from([None, 0, 1, 2**32]),
    st.sampled_from([None, "", "a", "A", "a ", "1:a", "~,"]),
    st.sampled_from([None, True, False]),
)
TABLE = st.dictionaries(st.sampled_from([-513, -8, -1, 0, 1, 7, 8, 512, 2**32]), VALUES, max_size=9)
TABLES = st.tuples(TABLE, TABLE, st.booleans()).map(
    lambda drawn: (drawn[0], drawn[0] | drawn[1] if drawn[2] else drawn[1])
)
LIMITS = st.fixed_dictionaries(
    {
        "leaves": st.sampled_from([1, 4, 16]),
        "prints": st.sampled_from([2, 10**6]),
        "keys": st.integers(1, 3),
        "share": st.sampled_from([0.0, 1.0]),
    }
)


def oracle(source: dict[int, Row], target: dict[int, Row]) -> set[Row]:
    kinds = {
        key: "missing" if key not in target else "extra" if key not in source else "different"
        for key in {*source, *target}
    }
    return {(kinds[key], key) for key in kinds if source.get(key) != target.get(key)}


def test_any_two_tables_agree_with_an_oracle_and_with_values(world: HashedWorld) -> None:
    world.tables("id {integer} PRIMARY KEY NOT NULL, v {integer}, t {text}, b {boolean}")
    taken: set[str] = set()

    @settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(tables=TABLES, limits=LIMITS)
    def same(tables: tuple[dict[int, Row], dict[int, Row]], limits: dict[str, Any]) -> None:
        for place, name, rows in ((world.source, "src", tables[0]), (world.target, "dst", tables[1])):
            place.sql(f"DELETE FROM {name}")
            place.insert(name, [(key, *values) for key, values in rows.items()])
        with pytest.MonkeyPatch.context() as patch:
            tune(patch, **limits)
            report, found = world.found()
            taken.update(world.steps())
        assert found == oracle(*tables) == world.found(exact=True)[1]
        assert (report.source_rows, report.target_rows) == tuple(map(len, tables))

    same()
    assert taken >= {"digests", "prints", "stream KeyHashes", "stream Range"}, "not every branch was taken"


# --- writers at work ------------------------------------------------------------------------------------------------


def before(app: Trueup, what: str, kind: type, act: Callable[[], object]) -> None:
    """Do `act` once, just before the source is asked for `what` of such a part."""
    adapter: Any = app._adapter("a")
    real = getattr(adapter, what)
    left = [act]

    def asked(*given: Any, **named: Any) -> Any:
        if any(isinstance(part, kind) for part in given) and left:
            left.pop()()
        return real(*given, **named)

    setattr(adapter, what, asked)


MOMENTS = [("prints", Leaves), ("stream", KeyHashes)]
#: What writers do to rows 5 and 6, which the digests found different; row 9 stays wrong.
WRITES: dict[str, Callable[[Place, str], object]] = {
    "put right": lambda place, table: place.sql(f"UPDATE {table} SET v = 77 WHERE id IN (5, 6)"),
    "gone": lambda place, table: place.sql(f"DELETE FROM {table} WHERE id IN (5, 6)"),
    "and others come": lambda place, table: (
        place.sql(f"UPDATE {table} SET v = 77 WHERE id IN (5, 6)"),
        place.insert(table, [(10**6, 1)]),
    ),
}


@pytest.mark.parametrize("written", WRITES)
@pytest.mark.parametrize(("what", "kind"), MOMENTS, ids=["before the hashes", "before the rows"])
def test_rows_that_move_between_two_steps_are_no_drift(
    world: HashedWorld, what: str, kind: type, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(monkeypatch, leaves=4096)
    world.tables(COLUMNS, ROWS, changed(ROWS, 5, 6, 9))
    app = world.app()
    done: list[str] = []

    def write() -> None:
        for place, table in ((world.source, "src"), (world.target, "dst")):
            WRITES[written](place, table)
        done.append(written)

    before(app, what, kind, write)
    report = app.check("p", rows=0)
    assert done, "nothing was written at that moment"
    assert [(row["kind"], row["key"]["id"]) for row in report.drift] == [("different", 9)]


# --- digests that are asked ahead ---------------------------------------------------------------------------------


def cut_up(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some ten segments with three differences."""
    tune(monkeypatch)
    in_ranges(monkeypatch)
    world.tables(COLUMNS, ROWS, changed(ROWS, -150, 5, 700))
    for place, table in ((world.source, "src"), (world.target, "dst")):
        place.analyze(table)


@pytest.mark.parametrize("readers", [1, 2])
def test_a_slow_side_is_read_by_as_many_connections_as_it_allows(
    world: HashedWorld, readers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target answers only when so many wait for it; the answer is the same."""
    cut_up(world, monkeypatch)
    app = world.app()
    adapter: Any = app._adapter("b")
    assert adapter.connections() == 2, "unless told otherwise"
    monkeypatch.setattr(adapter, "connections", lambda: readers)
    together, most = threading.Condition(), [0, 0]
    real = adapter.digests

    def slow(*given: Any) -> Any:
        with together:
            most[0] += 1
            most[1] = max(most)
            together.notify_all()
            together.wait_for(lambda: most[1] >= readers, 30)
        try:
            return real(*given)
        finally:
            with together:
                most[0] -= 1

    monkeypatch.setattr(adapter, "digests", slow)
    report = app.check("p", rows=0)
    assert {(row["kind"], row["key"]["id"]) for row in report.drift} == different(-150, 5, 700)
    assert (report.source_rows, report.target_rows) == (len(ROWS), len(ROWS))
    assert most[1] == readers
    assert report.segments["planned"] > AHEAD + 1


def test_an_error_ahead_ends_the_run_in_its_turn(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_up(world, monkeypatch)
    app = world.app()
    adapter: Any = app._adapter("b")
    real, error = adapter.digests, DesignProblem("the cable was pulled")

    def fails(side: Any, part: Any, hashing: Any) -> Any:
        span = part.within if isinstance(part, Ranges) else part
        if span.lower is not None and span.lower[0] >= 200:
            raise error
        return real(side, part, hashing)

    monkeypatch.setattr(adapter, "digests", fails)
    with pytest.raises(DesignProblem) as caught:
        app.check("p")
    assert caught.value is error
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("trueup")]
    monkeypatch.setattr(adapter, "digests", real)
    assert app.check("p").different == 3, "nothing of it is left"


def test_how_many_connections_is_explained(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_up(world, monkeypatch)
    app = world.app()
    told = "at most: source 2, target 2 (`readers`)"
    assert [reason for reason in app.explain("p").route.reasons if told in reason]
    for name in ("a", "b"):
        monkeypatch.setattr(app._adapter(name), "connections", lambda: 1)
    assert not [reason for reason in app.explain("p").route.reasons if "readers" in reason]


# --- who does not hash alike ----------------------------------------------------------------------------------------


def another_proof(app: Trueup, *names: str) -> None:
    """The target's server computes these hashes in another way."""
    adapter: Any = app._adapter("b")
    real = type(adapter).hashes
    adapter.hashes = lambda: [
        type(offer)(name=offer.name, proof=offer.proof + "?" * (offer.name in names), portable=offer.portable)
        for offer in real(adapter)
    ]
    source: Any = app._adapter("a")
    source.hashes = lambda: type(source).hashes(source)


def test_a_proof_that_differs_is_no_common_hash(world: HashedWorld) -> None:
    world.tables(COLUMNS, ROWS, changed(ROWS, 5))
    app = world.app()
    another_proof(app, *app._adapter("b").hashed.ways)  # type: ignore[attr-defined]
    route = app.explain("p").route
    assert route.strategy.startswith("rows read side by side")
    assert "the two databases have no row hash in common" in route.reasons
    world.asked.clear()
    assert app.check("p").different == 1
    assert not {"digests", "prints"} & world.steps()


def test_without_its_own_hash_md5_is_left(native: HashedWorld) -> None:
    native.tables(COLUMNS, ROWS, changed(ROWS, 5))
    app = native.app()
    assert f"rows are hashed by {native.way}" in app.explain("p").route.reasons
    another_proof(app, native.way)
    route = app.explain("p").route
    assert route.strategy.startswith("digests of leaves")
    assert "rows are hashed by md5" in route.reasons
    assert app.check("p").different == 1


def test_exact_asks_for_no_hash(world: HashedWorld) -> None:
    world.tables(COLUMNS, ROWS, ROWS)
    route = world.app(exact=True).explain("p").route
    assert route.strategy.startswith("rows read side by side")
    assert "exact: every value is compared" in route.reasons


def test_a_server_without_the_function_offers_what_it_has(native: HashedWorld) -> None:
    """As one before version 14."""
    native.tables(COLUMNS, ROWS, changed(ROWS, 5))
    rename = "ALTER FUNCTION pg_catalog.{}(record, bigint) RENAME TO {}"
    native.target.sql(rename.format("hash_record_extended", "hash_record_gone"))
    try:
        app = native.app()
        another_proof(app)
        assert "rows are hashed by md5" in app.explain("p").route.reasons
        assert app.check("p").different == 1
    finally:
        native.target.sql(rename.format("hash_record_gone", "hash_record_extended"))


def test_a_server_of_another_encoding_is_read_row_by_row(native: HashedWorld, postgres_server: Postgres) -> None:
    name = "trueup_test_latin_" + with_database(native.source.url, "").rpartition("/")[2] + str(id(native))
    run_sql(postgres_server.admin_url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        native.source = Postgresql(with_database(postgres_server.admin_url, name))
        columns = "id {integer} PRIMARY KEY NOT NULL, v {text}"
        native.tables(columns, [(1, "é"), (2, "ß"), (3, "c")], [(1, "é"), (2, "ss"), (3, "c")])
        app = native.app()
        another_proof(app)
        assert "the two databases have no row hash in common" in app.explain("p").route.reasons
        assert [row["key"]["id"] for row in app.check("p").drift] == [2]
        native.close()
    finally:
        run_sql(postgres_server.admin_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


# --- what breaks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 40])
def test_a_pack_that_arrives_short_is_a_broken_read(
    world: HashedWorld, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut in the middle of a row, and where a row ends."""
    world.tables(COLUMNS, ROWS, changed(ROWS, 5))
    app = world.app()
    way: Any = app._adapter("b").hashed.ways[world.way]  # type: ignore[attr-defined]
    real, length = way.packed, way.width if length == 40 else length
    monkeypatch.setattr(
        way, "packed", lambda key, row: sa.func.substring(real(key, row), 1, length, type_=real(key, row).type)
    )
    monkeypatch.setattr(by_digest, "LEAVES_OF_ALL", 1)
    with pytest.raises(BrokenRead, match="exact = true"):
        app.check("p")
    assert app.drift("p") == []
    monkeypatch.undo()
    assert app.check("p").different == 1, "the positive control"


def test_a_leaf_that_was_cut_off_is_looked_at_closer(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of a leaf joined are longer than this database makes a text, and differ at their end."""
    monkeypatch.setattr(mysql, "JOINED_MAX", 1000)
    monkeypatch.setattr(by_digest, "LEAVES_OF_ALL", 1)
    rows = [(n, "x" * 100) for n in range(30)]
    world.tables("id {integer} PRIMARY KEY NOT NULL, v {text}", rows, [*rows[:-1], (29, "y")])
    assert world.found()[1] == {("different", 29)}
    if {world.source.engine, world.target.engine} == {"mysql"}:
        cut = "SET STATEMENT group_concat_max_len = 1000 FOR SELECT md5(group_concat(v ORDER BY id)) FROM "
        assert world.source.sql(cut + "src") == world.target.sql(cut + "dst"), "the control has to fall for it"


@pytest.mark.parametrize("what", ["digests", "prints"])
def test_an_error_of_the_other_thread_arrives_as_itself(world: HashedWorld, what: str) -> None:
    world.tables(COLUMNS, ROWS, changed(ROWS, 5))
    app = world.app()
    error = DesignProblem("the cable was pulled")
    where: list[str] = []

    def fails(*_: Any) -> Any:
        where.append(threading.current_thread().name)
        raise error

    setattr(app._adapter("b"), what, fails)
    with pytest.raises(DesignProblem) as caught:
        app.check("p")
    assert caught.value is error
    assert where
    assert where[0].startswith("trueup-target")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("trueup")]


def test_the_source_fails_first_and_no_thread_stays() -> None:
    ended = threading.Event()

    def source() -> None:
        raise DesignProblem("source")

    with pytest.raises(DesignProblem, match="source"):
        both(source, ended.set)
    assert ended.is_set(), "the target was left to its end"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("trueup")]
