"""The law in the plant of `bench/pacing_simulated.py`: it neither hurts, nor starves, nor swings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from trueup.core.pace.governor import Limits

#: What a transaction asks of a core, seconds, and how many a second are 100 %: fewer and longer ones than in the bench,
#: so that a minute of them takes two seconds.
MEAN_S, CAPACITY = 0.0005, 3_600.0
LEAST = Limits().least


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    import pacing_simulated

    monkeypatch.setattr(pacing_simulated, "MEAN_S", MEAN_S)
    monkeypatch.setattr(pacing_simulated, "CAPACITY", CAPACITY)
    return pacing_simulated


def course(
    bench: ModuleType, make: Any, load: Callable[[float], float], begin: float, end: float, until: float
) -> tuple[float, Any]:
    """How many times as long as alone the slowest twentieth took from `begin` to `end`, and who was beside it."""
    alone, _ = bench.course(None, load, until)
    foreground, background = bench.course(make, load, until)
    p95 = [bench.felt(each, None, begin, end)["p95"] for each in (foreground, alone)]
    return p95[0] / p95[1], background


def test_beside_half_a_load_it_works_within_its_budget_and_does_not_swing(bench: ModuleType) -> None:
    most = 1 + bench.Governor.BUDGET
    run = partial(course, bench, load=lambda _: 0.5, begin=20, end=65, until=65)
    slowed, governor = run(make=bench.Governor)
    did = bench.governed(governor, 20)
    assert slowed <= most
    assert did["u"] >= 2 * LEAST
    assert did["reversals_per_min"] <= 1
    assert did["least_s"] >= did["promised_s"]
    unpaced, _ = run(make=partial(bench.FixedU, u=1.0, statement_s=0.02))
    assert unpaced > most  # the control: it is not the plant that feels nothing


def test_where_the_cores_are_not_known_its_readings_keep_it_within_its_budget(bench: ModuleType) -> None:
    most = 1 + bench.Governor.BUDGET
    run = partial(course, bench, load=lambda _: 0.5, begin=20, end=65, until=65)
    slowed, governor = run(make=partial(bench.Governor, uncounted=True))
    assert slowed <= most
    assert bench.governed(governor, 20)["u"] >= 2 * LEAST
    deaf, _ = run(make=partial(bench.Governor, uncounted=True, canary_alone=True))
    assert deaf > most  # the control: one that feels nothing goes beyond its budget


def test_in_a_burst_of_others_it_goes_to_the_minimum_and_comes_back(bench: ModuleType) -> None:
    def load(now: float) -> float:
        return 0.85 if 40 <= now < 55 else 0.1

    run = partial(course, bench, load=load, begin=50, end=55, until=70)
    slowed, governor = run(make=bench.Governor)
    u = {at: u for at, u, *_ in governor.trace}
    assert u[40] >= 2 * LEAST
    assert u[50] <= 1.1 * LEAST
    assert u[70] >= 0.5 * u[40]
    unpaced, _ = run(make=partial(bench.FixedU, u=1.0, statement_s=0.02))
    assert slowed < unpaced / 2  # the control: it is not the plant that feels nothing
