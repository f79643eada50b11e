"""The paired estimate finds what is there, in the tail, whatever the base is."""

from __future__ import annotations

import random

import pytest

from trueup.core.pace.tails import FIRST, MEMORY_S, Tails


def filled(slower: float, *, base_ms: float = 1.0, hit: float = 0.5, readings: int = 800, seed: int = 1) -> Tails:
    """`hit` of the readings with ours in flight take `slower` milliseconds more."""
    chance, tails = random.Random(seed), Tails()
    for at in range(readings):
        own = at % 2 == 0
        ms = chance.expovariate(1 / base_ms) + (slower if own and chance.random() < hit else 0.0)
        tails.add(at * MEMORY_S / readings, ms, own=own)
    return tails


def test_no_effect_is_no_effect() -> None:
    impact = filled(0.0).impact(MEMORY_S, busy=0.5, budget=0.4)
    assert impact.slowed == pytest.approx(0.0, abs=0.2)
    assert impact.share == 1.0
    assert impact.sure


def test_the_effect_is_weighed_by_the_share_of_the_time_and_not_by_how_often_it_was_looked_at() -> None:
    tails = filled(10.0)
    little = tails.impact(MEMORY_S, busy=0.05, budget=0.4).slowed
    much = tails.impact(MEMORY_S, busy=0.6, budget=0.4).slowed
    assert little is not None
    assert much is not None
    assert little < 0.5 < 2.0 < much


def test_what_it_allows_keeps_the_budget() -> None:
    tails = filled(10.0)
    allowed = tails.impact(MEMORY_S, busy=0.6, budget=0.4).share
    assert allowed is not None
    assert 0.02 < allowed < 0.3
    kept = tails.impact(MEMORY_S, busy=allowed, budget=0.4).slowed
    assert kept == pytest.approx(0.4, abs=0.15)


def test_others_who_take_longer_than_the_canary_are_slowed_by_less() -> None:
    tails = filled(1.0, base_ms=0.1)
    plain = tails.impact(MEMORY_S, busy=0.6, budget=0.4)
    scaled = tails.impact(MEMORY_S, busy=0.6, budget=0.4, scale_ms=5.0)
    assert plain.slowed is not None
    assert scaled.slowed is not None
    assert scaled.slowed < 0.3 < 2 < plain.slowed
    assert scaled.share == 1.0


def test_too_few_or_too_old_readings_say_nothing() -> None:
    tails = filled(10.0, readings=2 * FIRST - 2)
    assert tails.impact(MEMORY_S, busy=0.5, budget=0.4).slowed is None
    old = filled(10.0)
    assert old.impact(3 * MEMORY_S, busy=0.5, budget=0.4).share is None
    gone = filled(10.0)
    gone.forget_own()
    assert gone.impact(MEMORY_S, busy=0.5, budget=0.4).on == 0
    assert gone.count(0.0) == (0, 400)
    gone.forget()
    assert gone.count(0.0) == (0, 0)
