"""What was found lowers a class, never raises it, and says why."""

from __future__ import annotations

from itertools import product

import pytest

from trueup.core.findings import Finding, Race, State, capped, fact, from_json, lesser, raced, sentence, to_json, worst
from trueup.core.guarantee import Guarantee, Promise, Proof, Protocol

EXACT = Promise(guarantee=Guarantee.EXACT, protocol=Protocol.LOCK, reasons=("by design",))


def bad(cap: Guarantee | None) -> Finding:
    return Finding(check="rules", state=State.FAIL, seen="r1", why="it rewrites", remedy="DROP RULE r1", cap=cap)


def race(proof: Proof, protocol: Protocol = Protocol.LOCK) -> Race:
    return Race(protocol=protocol, one_database=True, proof=proof, told=("as it went",))


@pytest.mark.parametrize(("designed", "cap"), list(product(Guarantee, Guarantee)))
def test_a_class_is_only_ever_lowered(designed: Guarantee, cap: Guarantee) -> None:
    order = list(Guarantee)
    found = capped(Promise(guarantee=designed, protocol=Protocol.LOCK, reasons=()), [bad(cap)])
    assert order.index(found.guarantee) == max(order.index(designed), order.index(cap))
    assert bool(found.reasons) == (found.guarantee is not designed)


def test_the_lowest_cap_decides_and_every_reason_is_told() -> None:
    found = capped(EXACT, [bad(Guarantee.REPORT_ONLY), bad(Guarantee.CONVERGENT), bad(None)])
    assert found.guarantee is Guarantee.REPORT_ONLY
    assert found.protocol is Protocol.NONE
    assert found.reasons == ("by design", sentence(bad(None)), sentence(bad(None)))


def test_nothing_found_changes_nothing() -> None:
    assert capped(EXACT, []) == EXACT
    assert EXACT.proof is Proof.NOT_PROBED


@pytest.mark.parametrize("proof", list(Proof))
def test_a_race(proof: Proof) -> None:
    found = capped(EXACT, [], race(proof))
    assert found.proof is proof
    assert found.guarantee is (Guarantee.REPORT_ONLY if proof is Proof.BROKEN else Guarantee.EXACT)
    assert found.reasons[-1] == "as it went"


def test_a_race_under_another_protocol_says_nothing() -> None:
    assert capped(EXACT, [], race(Proof.BROKEN, Protocol.COMPARE_AND_SET)) == EXACT


def judged(safe: list[str], naive: list[str], trials: int = 5) -> Race:
    return raced(Protocol.LOCK, one_database=True, safe=safe, trials=trials, naive=naive, naive_trials=3, seconds=1.0)


def test_what_a_race_proves() -> None:
    assert judged([], ["before BEGIN: -1"]).proof is Proof.HELD
    assert judged([], []).proof is Proof.INCONCLUSIVE  # the positive control did not go wrong
    assert judged([], ["before BEGIN: -1"], trials=0).proof is Proof.INCONCLUSIVE
    assert judged(["before SELECT: -1"], ["before BEGIN: -1"]).proof is Proof.BROKEN
    assert judged(["before SELECT: -1"], []).proof is Proof.BROKEN


def test_a_missing_privilege_is_no_pass() -> None:
    states = [State.WARN, State.NOT_AVAILABLE, State.OK]
    assert worst(Finding(check="x", state=state, seen="") for state in states) is State.NOT_AVAILABLE
    assert worst([]) is State.OK


def test_a_fact_is_well_or_says_what_to_do() -> None:
    told = {"why": "because", "remedy": "do it"}
    assert fact("x", True, "seen", **told) == Finding(check="x", state=State.OK, seen="seen")
    assert fact("x", False, "seen", **told).state is State.WARN
    assert fact("x", False, "seen", **told, cap=Guarantee.CONVERGENT).state is State.FAIL


@pytest.mark.parametrize("finding", [bad(None), bad(Guarantee.CONVERGENT), fact("x", True, "y", why="", remedy="")])
def test_findings_come_back_from_the_ledger_as_they_were(finding: Finding) -> None:
    assert from_json(to_json(finding)) == finding


def test_the_order_of_classes() -> None:
    assert lesser(Guarantee.EXACT, Guarantee.REPORT_ONLY) is Guarantee.REPORT_ONLY
    assert next(iter(Guarantee)) is Guarantee.EXACT
    assert list(Guarantee)[-1] is Guarantee.REPORT_ONLY
