"""Handlers: what they are told, what is claimed of them, and what an error or a lost answer leads to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.handlers import billing
from tests.handlers.shop import BILL, Shop
from trueup import Outcome, Projection, Refused, Side, Verdict, calling, load
from trueup.core.guarantee import Guarantee
from trueup.core.handlers import Handler
from trueup.core.projection import Limits, Recurring
from trueup.errors import ConfigError, DesignProblem, Transient, UsageError
from trueup.python import Call, DataProblem


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    for app in made.opened:
        app.close()


def nothing(call: Call) -> str:
    return "queued"


def test_what_is_missing_is_handed_over_and_read_again(shop: Shop) -> None:
    app = shop.app()
    report = app.run("invoices")
    assert (report.verdict, report.repaired, report.guarantee) == (Verdict.REPAIRED, 3, Guarantee.CONVERGENT)
    assert shop.invoices() == [(1, 10), (2, 20), (3, 30)]
    call = billing.CALLS[0]
    assert (call.kind, call.key, call.expected, call.observed) == ("missing", {"id": 1}, {"total": 10}, None)
    assert (call.projection, call.run, call.plan, call.attempt) == ("invoices", report.run, "", 1)
    assert len({call.idempotency_key for call in billing.CALLS}) == 3
    done = app.outcomes(report.run)
    assert {(row.outcome, row.action, row.witness) for row in done} == {(Outcome.APPLIED, "call", "handler")}
    assert "answered" in done[0].evidence
    assert app.run("invoices").verdict is Verdict.IN_SYNC
    assert len(billing.CALLS) == 3
    with pytest.raises(UsageError, match="changed no row"):  # what others did is theirs to undo
        app.rollback(report.run)


def test_what_does_not_show_is_never_claimed(shop: Shop) -> None:
    app = shop.app(nothing)
    report = app.run("invoices")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 0, 3)
    assert {row.outcome for row in app.outcomes(report.run)} == {Outcome.CALLED}
    assert "billing:bill: answered (queued), and the row does not show it yet" in app.drift("invoices")[0].reason
    keys = [call.idempotency_key for call in billing.CALLS]
    billing.DOES[:] = [shop.bill]
    assert app.run("invoices").repaired == 3
    assert [call.idempotency_key for call in billing.CALLS] == keys * 2  # the same correction, and so the same key
    assert [call.attempt for call in billing.CALLS] == [1, 1, 1, 2, 2, 2]


def test_the_next_time_that_a_row_is_wrong_is_another_correction(shop: Shop) -> None:
    app = shop.app(recurring=Recurring(times=0))
    for _ in range(2):
        app.run("invoices", keys=[{"id": 1}])
        shop.sql("DELETE FROM invoices")
    app.run("invoices", keys=[{"id": 1}])
    assert len({call.idempotency_key for call in billing.CALLS}) == 3
    # Also where nobody noticed when it became right.
    shop.sql("DELETE FROM invoices")
    billing.DOES[:] = [nothing]
    app.run("invoices", keys=[{"id": 1}])
    shop.sql("INSERT INTO invoices VALUES (1, 10)")
    app.run("invoices", keys=[{"id": 1}])
    shop.sql("DELETE FROM invoices")
    app.run("invoices", keys=[{"id": 1}])
    assert len({call.idempotency_key for call in billing.CALLS}) == 5


def test_what_may_be_on_its_way_is_not_handed_over_again(shop: Shop) -> None:
    app = shop.app(nothing, on_missing=BILL.model_copy(update={"within": 600.0}))
    assert app.run("invoices").left == 3
    report = app.run("invoices")
    assert (report.left, len(billing.CALLS)) == (3, 3)
    assert "may be on its way until" in app.drift("invoices")[0].reason
    shop.clock.wait(601)
    shop.sql("INSERT INTO invoices VALUES (1, 10)")
    app.run("invoices")
    assert [call.key["id"] for call in billing.CALLS] == [1, 2, 3, 2, 3]


def test_after_three_answers_that_did_not_help_a_row_is_left_to_people(shop: Shop) -> None:
    app = shop.app(nothing)
    for _ in range(3):
        app.run("invoices", keys=[{"id": 1}])
    report = app.run("invoices", keys=[{"id": 1}])
    assert (report.quarantined, len(billing.CALLS)) == (1, 3)
    app.run("invoices", keys=[{"id": 1}])
    assert len(billing.CALLS) == 3
    billing.DOES[:] = [shop.bill]
    assert app.quarantine_retry("invoices", keys=[{"id": 1}]).repaired == 1
    assert len({call.idempotency_key for call in billing.CALLS}) == 2


def test_errors_that_would_pass_are_tried_again_with_the_same_key(shop: Shop) -> None:
    def fails(call: Call) -> None:
        raise TimeoutError("billing is slow")

    def lost(call: Call) -> None:
        shop.bill(call)
        raise ConnectionResetError

    billing.DOES[:] = [fails, lost, shop.bill]
    app = shop.app()
    report = app.run("invoices")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 2)  # who made the first cannot be known
    assert [call.key["id"] for call in billing.CALLS] == [1, 1, 2, 3]
    assert len({call.idempotency_key for call in billing.CALLS}) == 3
    assert app.last_outcomes(report.run, [(1,)])[1,].outcome is Outcome.CONVERGED
    shop.sql("DELETE FROM invoices")
    with pytest.raises(Transient, match=r"billing:bill: TimeoutError: billing is slow.*tried 3 times.*Paused"):
        shop.app(fails).run("invoices", keys=[{"id": 2}])
    assert shop.ledger("SELECT count(*) FROM trueup_units WHERE closed_at IS NULL") == [(0,)]


def test_a_row_that_a_handler_refuses_is_left_out_and_the_others_go_on(shop: Shop) -> None:
    def refuses(call: Call) -> None:
        if call.key["id"] == 2:
            raise DataProblem("no address")
        shop.bill(call)

    report = shop.app(refuses).run("invoices")
    assert (report.repaired, report.quarantined, report.verdict) == (2, 1, Verdict.DRIFT)
    assert report.quarantined_rows[0]["reason"] == "call tests.handlers.billing:bill: no address"


def test_any_other_error_ends_the_run(shop: Shop) -> None:
    def breaks(call: Call) -> None:
        raise KeyError("tax")

    app = shop.app(breaks)
    with pytest.raises(DesignProblem, match=r"KeyError: 'tax' \(.*test_calls.py:\d+\)"):
        app.run("invoices")
    assert len(billing.CALLS) == 1
    billing.DOES[:] = [shop.bill]
    assert app.run("invoices").verdict is Verdict.REPAIRED  # it goes on, with the same key
    assert billing.CALLS[0].idempotency_key == billing.CALLS[1].idempotency_key


def test_rows_that_moved_are_not_handed_over(shop: Shop) -> None:
    """What is right by now is let be; what is another difference by now is another decision."""

    def meanwhile(call: Call) -> None:
        shop.bill(call)
        shop.sql("INSERT OR REPLACE INTO invoices VALUES (2, 20)", "INSERT OR REPLACE INTO invoices VALUES (3, 31)")
        shop.clock.wait(2)  # the look at the others no longer holds

    app = shop.app(meanwhile)
    report = app.run("invoices")
    assert len(billing.CALLS) == 1
    last = app.last_outcomes(report.run, [(1,), (2,), (3,)])
    assert [last[n,].outcome for n in (1, 2, 3)] == [Outcome.APPLIED, Outcome.SUPERSEDED, Outcome.CAS_LOST]


def test_the_control_without_the_second_look(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "LOOK_HOLDS_S", 1e9)
    with pytest.raises(AssertionError):
        test_rows_that_moved_are_not_handed_over(shop)


def test_limits_approvals_and_switches_hold_as_for_writes(shop: Shop) -> None:
    app = shop.app(limits=Limits(rows=2, share=1.0))
    report = app.run("invoices")
    assert (report.verdict, billing.CALLS) == (Verdict.REFUSED, [])
    assert app.statements("invoices") == {"call": "call tests.handlers.billing:bill"}
    app.stop("invoices", reason="enough")
    with pytest.raises(Refused, match="stopped"):
        shop.app().run("invoices")
    app.resume("invoices")
    assert shop.app(canary=1).run("invoices").repaired == 3
    shop.sql("DELETE FROM invoices")
    plan = shop.app(approval="one").plan("invoices").plan
    app = shop.app(approval="one")
    with pytest.raises(Refused, match="approval"):
        app.apply(plan)
    app.approve(plan, reason="as agreed")
    assert app.apply(plan).repaired == 3
    assert (billing.CALLS[-1].plan, len(billing.CALLS[-1].approved_by)) == (plan, 1)
    assert (
        shop.app(limits=Limits(rows=100, daily=5, share=1.0)).ledger.written("invoices", shop.clock.now().min) != set()
    )


def test_a_recurring_row_is_not_handed_over_for_ever(shop: Shop) -> None:
    app = shop.app()
    for _ in range(4):
        report = app.run("invoices", keys=[{"id": 1}])
        shop.sql("DELETE FROM invoices")
    assert (report.quarantined, len(billing.CALLS)) == (1, 3)


def test_written_and_handed_over_in_one_projection(shop: Shop) -> None:
    shop.sql("INSERT INTO invoices VALUES (2, 99)", "INSERT INTO invoices VALUES (7, 70)")
    target = Side(database="shop", table="invoices", columns={"id": "order_id"})
    app = shop.app(target=target, on_different="update", on_extra=BILL, writers="same_transaction")
    billing.DOES[:] = [shop.bill, shop.bill, lambda call: shop.sql("DELETE FROM invoices WHERE order_id = 7")]
    report = app.run("invoices")
    assert (report.verdict, report.repaired, report.guarantee) == (Verdict.REPAIRED, 4, Guarantee.CONVERGENT)
    assert shop.invoices() == [(1, 10), (2, 20), (3, 30)]
    assert [(call.kind, call.key["id"]) for call in billing.CALLS] == [("missing", 1), ("missing", 3), ("extra", 7)]
    assert app.rollback(report.run).repaired == 1  # of what it wrote itself
    assert shop.invoices() == [(1, 10), (2, 99), (3, 30)]


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        ({"call": "a:b", "emit": "x", "to": "y"}, "either `call` or `emit`"),
        ({"call": "no colon"}, "write module:name"),
        ({"call": "a:b", "to": "x"}, "about what is emitted"),
        ({"emit": "x"}, "`to` is missing"),
        ({"emit": "x", "to": "y", "values": {"a": "kay.x"}}, "'kay.x' is nothing"),
        ({"emit": "x", "to": "y", "values": {"a": "key.x"}}, "has to get the `id`"),
    ],
)
def test_a_wrong_handler_is_refused(handler: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Handler.model_validate(handler)


def test_increments_are_not_handed_over(shop: Shop) -> None:
    assert shop.app(writers="increments").explain("invoices").promise.guarantee is Guarantee.REPORT_ONLY


def test_a_handler_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "app.csv").write_text("id,n\n1,2\n")
    text = (
        '[projections.p]\nsource = { file = "app.csv", types = { id = "integer", n = "integer" } }\n'
        'target = { file = "app.csv", types = { id = "integer", n = "integer" } }\nkey = "id"\non_missing = '
    )
    for handler, why in (
        ('{ cal = "a:b" }', r"projections.p.on_missing.cal: unknown key 'cal'; did you mean 'call'\?"),
        ('"insrt"', "projections.p.on_missing: Input should be 'insert' or 'report'"),
        ('{ emit = "bus", to = "x" }', "projections.p.on_missing.emit: 'bus' is not declared"),
        (
            '{ call = "not_there:b" }\non_different = "report"',
            "projections.p.on_missing: not_there:b: not_there cannot be imported",
        ),
    ):
        (tmp_path / "trueup.toml").write_text(text + handler)
        with pytest.raises(ConfigError, match=why), load(tmp_path / "trueup.toml") as app:
            app.run("p")
    (tmp_path / "handlers_here.py").write_text("def bill(call): ...\n")
    (tmp_path / "trueup.toml").write_text(text + '{ call = "handlers_here:bill" }\non_different = "report"')
    with load(tmp_path / "trueup.toml") as app:
        assert app.run("p").verdict is Verdict.IN_SYNC


def test_what_hands_over_needs_no_writers() -> None:
    side = Side(database="a", table="t")
    projection = Projection(name="p", source=side, target=side, key="k", on_missing=BILL, on_different="report")
    assert (projection.written, projection.by_itself) == (False, "run")
    assert Projection(name="p", source=side, target=side, key="k", on_missing=BILL).written
