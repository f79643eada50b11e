"""`trueup doctor` as a user types it."""

from __future__ import annotations

from tests.cli.shop import Shop


def test_all_is_well(shop: Shop) -> None:
    shop.fill([(1, 2)], [(1, 2)])
    ran = shop.run("doctor")
    assert ran.code == 0, ran.out + ran.err
    assert "p  EXACT by exclusive (probed)" in ran.out
    assert "ok            unique key: a unique index on exactly (id)" in ran.out
    assert "race  probed" in ran.out
    assert "EXACT by exclusive (probed)" in shop.run("explain", "p").out


def test_a_warning_and_what_to_do(shop: Shop) -> None:
    shop.sql("CREATE TRIGGER noted AFTER UPDATE ON tgt BEGIN SELECT 1; END")
    ran = shop.run("doctor", "p")
    assert ran.code == 1
    assert "warn          triggers: noted" in ran.out
    assert "to do: see what they do: .schema tgt" in ran.out


def test_a_document_for_programs(shop: Shop) -> None:
    shop.sql("DROP TABLE tgt", "CREATE VIEW tgt AS SELECT * FROM src")
    ran = shop.run("doctor", "--json")
    (told,) = ran.json["projections"]
    assert told["guarantee"] == "REPORT-ONLY"
    assert told["exit_code"] == ran.code
    assert {"check", "state", "seen"} <= set(ran.json["checks"][0])


def test_a_declaration_that_cannot_work(shop: Shop) -> None:
    shop.declare("q", key=["nowhere"])
    ran = shop.run("doctor")
    assert ran.code == 2
    assert "nowhere" in ran.out
    assert "p  EXACT" in ran.out


def test_a_name_that_is_not_declared(shop: Shop) -> None:
    ran = shop.run("doctor", "pp")
    assert ran.code == 2
    assert "did you mean 'p'" in ran.err
