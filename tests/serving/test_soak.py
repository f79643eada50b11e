"""The short form of `python -m tests.campaign.soak`, and its judge on series that grow and that do not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.campaign.flat import Series, Trend
from tests.campaign.soak import soak
from tests.own_servers import ServerMissingError


def trend(name: str, values: list[float]) -> Trend:
    series = Series()
    for at, value in enumerate(values):
        series.add(float(at), {name: value})
    (found,) = series.trends(0.0, float(len(values)))
    return found


def noisy(chance: random.Random, *, level: float, noise: float, growth: float = 0.0, of: int = 300) -> list[float]:
    """`growth`: over the whole series; every twentieth value is a spike."""
    return [
        level + growth * at / of + chance.gauss(0, noise) + (level / 2 if chance.random() < 0.05 else 0.0)
        for at in range(of)
    ]


@pytest.mark.parametrize(
    ("name", "level", "leak"),
    [
        ("rss n", 150.0, 30.0),
        ("files n", 40.0, 20.0),
        ("threads n", 20.0, 10.0),
        ("connections n to app", 8.0, 12.0),
        ("rows trueup_runs", 200.0, 400.0),
        ("size ledger", 30.0, 30.0),
        ("queue", 1.0, 20.0),
    ],
)
def test_the_judge_finds_what_grows_and_nothing_else(name: str, level: float, leak: float) -> None:
    chance = random.Random(1)
    for _ in range(20):
        assert not trend(name, noisy(chance, level=level, noise=level / 10)).grows
        assert trend(name, noisy(chance, level=level, noise=level / 10, growth=leak)).grows


def test_a_warm_up_a_spike_and_what_falls_do_not_grow() -> None:
    warm = [float(min(at, 50)) * 3 for at in range(300)]
    spike = [100.0 + (500.0 if 150 < at < 180 else 0.0) for at in range(300)]
    sawtooth = [100.0 + at % 40 for at in range(300)]
    for values in (warm, spike, sawtooth, list(reversed(warm))):
        assert not trend("rss n", values).grows
    stairs = [100.0 + 10 * (at // 30) for at in range(300)]
    assert trend("rss n", stairs).grows


def test_too_few_samples_say_nothing() -> None:
    series = Series()
    for at in range(10):
        series.add(float(at), {"rss n": float(at) * 1000})
    assert series.trends(0.0, 10.0) == []


def test_a_short_soak(tmp_path: Path) -> None:
    """Real nodes and servers, faults of all kinds; too short for a trend."""
    try:
        found = soak(minutes=0.1, count=2, seed=5, folder=tmp_path)
    except ServerMissingError as missing:
        pytest.skip(f"no server: {missing}")
    assert found.problems == []
    assert found.samples > 0
    assert sum(found.faults.values()) > 5
    assert found.planted > 0
    assert sum(found.repaired.values()) > 0
