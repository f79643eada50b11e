"""`trueup quarantine`: what is left out of repairs, as a user sees it."""

from __future__ import annotations

from tests.cli.shop import Shop

NO = "CREATE TRIGGER no BEFORE UPDATE ON tgt WHEN old.id = 2 BEGIN SELECT RAISE(ABORT, 'not this one'); END"
ROWS = [(1, 10), (2, 20), (3, 30)]


def test_a_refused_row_is_listed_tried_again_and_taken_out(shop: Shop) -> None:
    shop.fill(ROWS, [(1, 11), (2, 21), (3, 30)])
    shop.sql(NO)
    assert shop.run("run", "p").code == 1
    listed = shop.run("quarantine", "list", "--json")
    assert listed.code == 1
    (row,) = listed.json["quarantine"]
    assert (row["projection"], row["key"], row["trouble"], row["attempts"]) == ("p", {"id": 2}, "refused", 1)
    assert "not this one" in row["reason"]
    assert "not this one" in shop.run("quarantine", "list", "p").out
    status = shop.run("status", "--json").json["projections"][0]
    assert (status["quarantined"], status["known_drift"]) == (1, 1)
    assert shop.run("quarantine", "retry", "p", "--key", "id=2").code == 1
    shop.sql("DROP TRIGGER no")
    assert shop.run("quarantine", "retry", "p").code == 0
    assert shop.run("quarantine", "list").code == 0
    assert "nothing is in quarantine" in shop.run("quarantine", "list").out


def test_drop_needs_a_key_that_is_there(shop: Shop) -> None:
    shop.fill(ROWS, [(1, 10), (2, 21), (3, 30)])
    shop.sql(NO)
    shop.run("run", "p")
    wrong = shop.run("quarantine", "drop", "p", "--key", "id=3")
    assert wrong.code == 2
    assert "is not in quarantine" in wrong.err
    assert "1 taken out" in shop.run("quarantine", "drop", "p", "--key", "id=2").out
    assert shop.run("quarantine", "list").code == 0
