"""Text keys under collations that order or equate otherwise than bytes do: order is binary, and so is identity."""

from __future__ import annotations

import pytest

from tests.conformance.test_keys import TEXTS
from tests.conformance.worlds import Place, World
from trueup import Verdict, side_by_side
from trueup.adapters import _results


def has_icu(place: Place) -> bool:
    return bool(place.sql("SELECT 1 FROM pg_collation WHERE collname = 'en-x-icu'"))


def loose(place: Place) -> str:
    """A column type under which `a` equals `A`; the unique index over it, if the caller makes one, need not agree."""
    if place.engine == "mysql":
        return "varchar(190) COLLATE utf8mb4_general_ci"  # takes `a ` and `á` for `a`, too
    if place.engine == "sqlite":
        return "TEXT COLLATE NOCASE"
    if not has_icu(place):
        pytest.skip("this PostgreSQL was built without ICU")
    place.sql(
        "CREATE COLLATION IF NOT EXISTS loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
    )
    return "text COLLATE loose"


def by_language(place: Place) -> str:
    """A column type that orders text as a dictionary does."""
    if place.engine == "mysql":
        return "varchar(190) COLLATE utf8mb4_unicode_ci"
    if place.engine == "sqlite":
        return "TEXT COLLATE NOCASE"
    return 'text COLLATE "en-x-icu"' if has_icu(place) else "text"


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (_results, side_by_side):
        monkeypatch.setattr(module, "BATCH_ROWS", 2)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.every_pairing
def test_order_is_binary_whatever_the_columns_say(world: World) -> None:
    source = [(text, at) for at, text in enumerate(TEXTS) if at % 4 != 1]
    target = [(text, at) for at, text in enumerate(TEXTS) if at % 4 != 2]
    world.source.table("src", f"id {by_language(world.source)} NOT NULL, v {{integer}}", source)
    world.target.table("dst", f"id {by_language(world.target)} NOT NULL, v {{integer}}", target)
    report = world.app().check("p", rows=0)
    assert (report.source_rows, report.target_rows) == (len(source), len(target))
    assert {row["key"]["id"] for row in report.drift if row["kind"] == "missing"} == set(TEXTS[2::4])
    assert {row["key"]["id"] for row in report.drift if row["kind"] == "extra"} == set(TEXTS[1::4])
    assert report.different == 0


@pytest.mark.every_pairing
def test_values_are_compared_by_their_bytes(world: World) -> None:
    world.source.table("src", f"id {{integer}} PRIMARY KEY NOT NULL, v {loose(world.source)}", [(1, "Ann"), (2, "x")])
    world.target.table("dst", f"id {{integer}} PRIMARY KEY NOT NULL, v {loose(world.target)}", [(1, "ANN"), (2, "x")])
    app = world.app()
    assert (app.check("p").different, app.run("p").repaired) == (1, 1)
    assert world.target.rows("dst") == {(1, "Ann"), (2, "x")}


def binary_unique(place: Place) -> None:
    """A unique index that tells `a` from `A` on a column that does not."""
    collation = "BINARY" if place.engine == "sqlite" else '"C"'
    place.sql(f"CREATE UNIQUE INDEX one ON dst (id COLLATE {collation})")


def test_a_look_at_one_key_does_not_see_its_other_spelling(world: World) -> None:
    """`a` and `A` are two rows; asked for `a`, the other must neither be reported nor deleted."""
    if world.target.engine == "mysql":
        pytest.skip("no unique index but in the column's own collation")
    world.source.table("src", "id {text} NOT NULL, v {integer}", [("a", 1), ("b", 2)])
    world.target.table("dst", f"id {loose(world.target)} NOT NULL, v {{integer}}", [("a", 9), ("A", 5), ("b", 2)])
    binary_unique(world.target)
    app = world.app(on_extra="delete")
    report = app.check("p", keys=[{"id": "a"}])
    assert (report.source_rows, report.target_rows, report.extra, report.different) == (1, 1, 0, 1)
    run = app.run("p", keys=[{"id": "a"}])
    assert (run.verdict, run.repaired) == (Verdict.REPAIRED, 1)
    assert world.target.rows("dst") == {("a", 1), ("A", 5), ("b", 2)}


def test_a_source_with_two_spellings_is_no_duplicate(world: World) -> None:
    world.source.table("src", f"id {loose(world.source)} NOT NULL, v {{integer}}", [("a", 1), ("A", 2)])
    world.target.table("dst", "id {text} PRIMARY KEY NOT NULL, v {integer}", [("a", 9), ("A", 9)])
    app = world.app()
    assert app.check("p", keys=[{"id": "A"}]).different == 1
    run = app.run("p", keys=[{"id": "A"}])
    assert (run.verdict, run.repaired) == (Verdict.REPAIRED, 1)
    assert world.target.rows("dst") == {("a", 9), ("A", 2)}
    assert app.run("p").verdict is Verdict.REPAIRED
    assert world.target.rows("dst") == {("a", 1), ("A", 2)}


def test_a_row_that_the_targets_index_takes_for_another_is_left_with_evidence(world: World) -> None:
    """The target can hold `a` or `A`, not both: the other is never overwritten, and the run says so."""
    world.source.table("src", "id {text} PRIMARY KEY NOT NULL, v {integer}", [("a", 1), ("A", 2), ("b", 3)])
    world.target.table("dst", f"id {loose(world.target)} PRIMARY KEY NOT NULL, v {{integer}}", [("a", 1), ("b", 9)])
    app = world.app()
    report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 1, 1)
    assert world.target.rows("dst") == {("a", 1), ("b", 3)}
