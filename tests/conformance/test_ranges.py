"""Key ranges, batches and pieces: however the keys are cut, each row is compared exactly once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.worlds import Pairing, Row, Sqlite, World
from trueup import Report, Verdict, side_by_side
from trueup.adapters import _mysql_survey, _postgresql_survey, _results, duckdb, sqlite
from trueup.adapters._walk import walked
from trueup.core.plan import Range
from trueup.core.row import Key

ROWS = 3000


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants so small that a thousand rows need several of everything."""
    for module in (_results, side_by_side):
        monkeypatch.setattr(module, "BATCH_ROWS", 200)
    monkeypatch.setattr(side_by_side, "PIECE_ROWS", 1500)
    for adapter in (duckdb, _mysql_survey, _postgresql_survey, sqlite):
        monkeypatch.setattr(adapter, "SEGMENT_ROWS", 500)
    monkeypatch.setattr(_postgresql_survey, "COST_PER_SEGMENT", 20.0)
    monkeypatch.setattr(_postgresql_survey, "CUTS_MAX", 60)  # of repeated keys the planner expects millions of pairs
    monkeypatch.setattr(_postgresql_survey, "RANGES_PAY_BELOW", 1e9)
    monkeypatch.setattr(_postgresql_survey, "SERVED_BELOW", 1e9)


def source_rows() -> list[Row]:
    return [(n * 3, n % 7, f"t{n}") for n in range(ROWS)]


def target_rows() -> list[Row]:
    """Every 300th row missing, every 300th different, extra keys below the first, between, and above the last."""
    rows = [(k, v + (k % 900 == 0), t) for k, v, t in source_rows() if k % 900 != 3]
    return [*rows, *((k, 0, "extra") for k in (-1000, -1, 1, 1501, ROWS * 3, 10**9))]


COLUMNS = "id {integer} PRIMARY KEY NOT NULL, v {integer}, t {text}"


@pytest.mark.usefixtures("small")
@pytest.mark.every_pairing
def test_ranges_cover_every_row_once(world: World) -> None:
    world.tables(COLUMNS, source_rows(), target_rows())
    for place, table in ((world.source, "src"), (world.target, "dst")):
        place.analyze(table)
    app = world.app(on_extra="delete")
    cuts = [segment.lower for segment in app.explain("p").route.segments if isinstance(segment, Range)]
    assert len(cuts) > 3, "the data must be cut, or this proves nothing"
    report = app.check("p", rows=0)
    assert_found(world, report)
    assert report.segments["done"] >= len(cuts)
    if not world.together:  # where both databases hash alike, that was digests
        assert_found(world, world.app(exact=True).check("p", rows=0))
    run = app.run("p")
    assert (run.verdict, run.repaired) == (Verdict.REPAIRED, report.drifted)
    assert world.target.rows("dst") == set(source_rows())


@pytest.mark.usefixtures("small")
def test_a_key_with_more_rows_than_a_segment_is_passed(world: World) -> None:
    """The walk along the index ended at that key again and again."""
    held = [(max(n - 1200, 1), n % 7, "t") for n in range(ROWS)]
    for place, table in ((world.source, "src"), (world.target, "dst")):
        place.table(table, "id {integer}, v {integer}, t {text}", held)
        place.sql(f"CREATE INDEX by_id_{table} ON {table} (id)")
        place.analyze(table)
    app = world.app()
    cuts = [segment.lower for segment in app.explain("p").route.segments if isinstance(segment, Range)][1:]
    assert cuts == sorted({cut for cut in cuts if cut is not None}), "ascending, each once"
    if "mysql" in str(world.pairing) or "sqlite" in str(world.pairing):
        assert max(cut for cut in cuts if cut is not None) > (1000,), "the others are cut too"
    report = app.check("p")
    assert (report.verdict, report.source_rows) == (Verdict.IN_SYNC, ROWS)


def test_walking_along_an_index_comes_to_an_end() -> None:
    keys = [(1,)] * 500 + [(2,)] + [(3,)] * 40 + [(n,) for n in range(4, 1000)]
    asked = 0

    def after(span: Range, rows: int) -> Key | None:
        nonlocal asked
        asked += 1
        rest = [key for key in keys if span.lower is None or key >= span.lower]
        return rest[rows] if rows < len(rest) else None

    cuts = walked(after, 10, 1000)
    assert cuts[0] == (1,)
    assert cuts[1:] == [(n,) for n in range(cuts[1][0], 1000, 10)]
    assert cuts[1] < (200,), "no more is passed than the key has rows"
    assert asked < len(cuts) + 9
    assert walked(after, 10, 2) == cuts[:2]
    assert walked(after, 10_000, 1000) == []


@pytest.mark.usefixtures("small")
def test_one_ordered_pass_is_cut_into_pieces(world: World) -> None:
    """Views have no index that serves ranges of an expression: both sides are read in one pass each."""
    world.tables(COLUMNS, source_rows(), target_rows())
    world.source.sql("CREATE VIEW v AS SELECT id + 0 AS id, v, t FROM src WHERE id >= 0 OR v > 0")
    report = world.app(source="v", exact=True).check("p", rows=0)
    assert_found(world, report)
    if not world.together:
        assert report.segments["done"] > 3


def assert_found(world: World, report: Report) -> None:
    source, target = source_rows(), target_rows()
    assert (report.source_rows, report.target_rows) == (len(source), len(target))
    assert (world.source.count("src"), world.target.count("dst")) == (len(source), len(target))
    held = {row[0]: row for row in target}
    true = {row[0]: row for row in source}
    listed = Counter((row["kind"], row["key"]["id"]) for row in report.drift)
    assert listed == Counter(
        [("missing", key) for key in true.keys() - held.keys()]
        + [("extra", key) for key in held.keys() - true.keys()]
        + [("different", key) for key in true.keys() & held.keys() if true[key] != held[key]]
    )
    assert report.drifted == listed.total() > 10
    assert report.segments["planned"] == report.segments["done"] > 0


@pytest.mark.usefixtures("small")
def test_composite_text_keys_are_cut_too(world: World) -> None:
    rows = [(f"{'aAäÄzZ é'[n % 8]}{n % 5}", n, n) for n in range(1200)]
    world.tables(
        "a {text} NOT NULL, b {integer} NOT NULL, v {integer}, PRIMARY KEY (a, b)", rows, rows[:300] + rows[303:]
    )
    for exact in (False, True):
        report = world.app(key=["a", "b"], exact=exact).check("p")
        assert (report.source_rows, report.target_rows, report.missing, report.drifted) == (1200, 1197, 3, 3)


@pytest.mark.usefixtures("small")
def test_many_rows_with_one_key_across_batches(world: World) -> None:
    """A key whose rows fill more than a batch is compared as a whole."""
    source = [(1, 0)] + [(2, n) for n in range(200)] + [(3, 0)]
    world.tables("id {integer} NOT NULL, v {integer}", source, [(k, v) for k, v in source if (k, v) != (2, 100)])
    report = world.app().check("p")
    assert [(row["kind"], row["key"]["id"]) for row in report.drift] == [("different", 2)]
    assert (report.source_rows, report.target_rows) == (202, 201)


KEYS = st.one_of(st.none(), st.integers(-9, 9))
TABLE = st.lists(st.tuples(KEYS, st.sampled_from(["a", "A", "", "b"]), st.sampled_from([None, 0, 1])), max_size=40)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(source=TABLE, target=TABLE, batch=st.integers(1, 9), piece=st.integers(1, 20), together=st.booleans())
def test_any_two_tables_agree_with_an_oracle(
    source: list[Row], target: list[Row], batch: int, piece: int, together: bool, new_ledger: Path
) -> None:
    """Counts and keys against a set-based oracle, duplicates and NULLs included, whatever the batch sizes."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        for module in (_results, side_by_side):
            patch.setattr(module, "BATCH_ROWS", batch)
        patch.setattr(side_by_side, "PIECE_ROWS", piece)
        (Path(folder) / "ledger.db").write_bytes(new_ledger.read_bytes())
        a = Sqlite(f"sqlite:///{folder}/a.db")
        pairing = Pairing(source="sqlite", target="sqlite", together=together)
        world = World(pairing, a, a if together else Sqlite(f"sqlite:///{folder}/b.db"), Path(folder))
        world.tables("k {integer}, l {text}, v {integer}", source, target)
        try:
            report = world.app(key=["k", "l"]).check("p", rows=0)
        finally:
            world.close()
    expected = oracle(source, target)
    assert Counter((row["kind"], row["key"]["k"], row["key"]["l"]) for row in report.drift) == Counter(expected)
    assert (report.source_rows, report.target_rows) == (len(source), len(target))
    assert report.verdict is (Verdict.DRIFT if expected else Verdict.IN_SYNC)
    assert report.null_keys == {"source": nulls(source), "target": nulls(target)}


def oracle(source: list[Row], target: list[Row]) -> list[tuple[Any, ...]]:
    found = []
    for key in {row[:2] for row in source + target}:
        true, held = (Counter(row[2:] for row in rows if row[:2] == key) for rows in (source, target))
        if true != held:
            found.append(("missing" if not held else "extra" if not true else "different", *key))
    return found


def nulls(rows: list[Row]) -> int:
    return sum(row[0] is None for row in rows)
