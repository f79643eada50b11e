"""The judgement of `bench/pacing.py`: each promise holds with good figures, and is missed with bad ones."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ALONE = {"share": 0.5, "kind": "", "p95": 1.0, "rows_per_s": 0.0}
GOVERNOR = {
    **{"share": 0.5, "kind": "governor", "p95": 1.2, "rows_per_s": 50_000.0, "believed": 0.2, "ramp_p95": 1.2},
    **{"reversals_per_min": 0.0, "promised_s": 3.0, "least_s": 3.0, "thread_share": 0.006, "session_share": 0.003},
}
OTHER = {"share": 0.5, "kind": "another rule", "p95": 1.4, "rows_per_s": 60_000.0}
STOPPED = {"way": "stop copy", "middle": "a statement", "took_s": 1.4, "statement_s": 0.6}
ONE_LEDGER = {"what": "one ledger", "in_flight": 0.6, "budget": 0.62}
KILLED = {"what": "killed", "after_s": 6.0, "modes": ["recovery", "normal"], "good": [0.6, 0.55]}


@pytest.fixture
def aims(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    import _pacing_aims

    return _pacing_aims


def missed(aims: ModuleType, **told: Any) -> list[str]:
    return [aim for aim, _, holds in aims.judged(told) if not holds]


def test_the_least_of_any_minute_shows_a_gap(aims: ModuleType) -> None:
    steady = [(at * 0.25, at * 0.25 * 0.05) for at in range(400)]
    assert aims.least_in(steady) == pytest.approx(3.0)
    held_up = [(at, min(total, 2.0) if at < 60 else total - 1.0) for at, total in steady]  # 20 s with nothing
    assert aims.least_in(held_up) == pytest.approx(2.0)
    assert aims.least_in(steady[:200]) is None


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        ({"least_s": 2.9}, "minimum"),
        ({"thread_share": 0.008}, "sensor"),
        ({"reversals_per_min": 2.0}, "reversals"),
        ({"ramp_p95": 2.0}, "ramp"),
        ({"believed": 1.0}, "believes"),
        ({"p95": 1.5, "believed": 0.4}, "no other rule"),
        ({}, ""),
    ],
)
def test_a_governor_that_keeps_no_promise_is_told(aims: ModuleType, bad: dict[str, Any], what: str) -> None:
    told = missed(aims, governor=[ALONE, {**GOVERNOR, **bad}], baselines=[ALONE, OTHER])
    assert [what in aim for aim in told] == [True] * bool(what)


@pytest.mark.parametrize(
    ("part", "good", "bad", "what"),
    [
        ("stop", STOPPED, {"took_s": 1.7}, "nothing runs"),
        ("shared", ONE_LEDGER, {"in_flight": 0.65}, "budget"),
        ("shared", {**ONE_LEDGER, "what": "a ledger each", "in_flight": 1.2}, {"in_flight": 0.5}, "control"),
        ("shared", KILLED, {"after_s": None}, "decides"),
        ("shared", KILLED, {"modes": ["normal"]}, "recovery"),
        ("shared", KILLED, {"good": [0.6, 0.0]}, "learnt"),
    ],
)
def test_a_promise_that_is_broken_is_told(
    aims: ModuleType, part: str, good: dict[str, Any], bad: dict[str, Any], what: str
) -> None:
    assert missed(aims, **{part: [good]}) == []
    assert [what in aim for aim in missed(aims, **{part: [{**good, **bad}]})] == [True]


def test_each_rule_is_set_beside_the_governor(aims: ModuleType) -> None:
    rules = [
        {**OTHER, "kind": kind, "p95": p95, "rows_per_s": rows}
        for kind, p95, rows in [
            ("worse", 1.4, 20_000.0),
            ("beyond", 1.5, 900_000.0),
            ("bolder", 1.4, 90_000.0),
            ("shyer", 1.1, 9_000.0),
            ("best", 1.1, 90_000.0),
        ]
    ]
    verdicts = {
        kind: verdict
        for _, kind, verdict, _ in aims.against({"governor": [ALONE, GOVERNOR], "baselines": [ALONE, *rules]})
    }
    assert verdicts == {
        "worse": "beaten",
        "beyond": "beaten",
        "bolder": "neither",
        "shyer": "neither",
        "best": "better",
    }
