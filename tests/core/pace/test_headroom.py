"""What the cores have free: more where fewer take them, nothing where all are taken, and never beyond the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.pace.headroom import HARDLY, LONGER, SPREAD_MAX, longer, room, slowed, spread, wait

cores = st.sampled_from([1, 2, 4, 16, 64])


def test_one_core_is_the_queue_of_the_textbooks() -> None:
    assert wait(1, 0.5) == pytest.approx(1.0)
    assert wait(1, 0.8) == pytest.approx(4.0)
    assert slowed(1, 0.5, 0.25) == pytest.approx(1.0)


@given(cores, st.floats(0, 1.2), st.floats(0.01, 4))
def test_what_is_free_keeps_the_budget(count: int, share: float, budget: float) -> None:
    free = room(count, count * share, budget)
    assert 0 <= free <= count
    assert slowed(count, count * share, free) <= budget * max(HARDLY / max(share, 1e-9), 1.0) * (1 + 1e-6)
    assert room(count, count * share, budget * 2) >= free


@given(cores, st.floats(0, 0.9), st.floats(0, 0.3), st.floats(0, 2))
def test_more_of_others_or_of_ours_is_never_better(count: int, share: float, more: float, ours: float) -> None:
    assert room(count, count * (share + more), 0.4) <= room(count, count * share, 0.4) + 1e-6
    assert slowed(count, count * share, ours + more) >= slowed(count, count * share, ours) >= 0


def test_two_cores() -> None:
    free = [round(room(2, 2 * share, 0.1), 3) for share in (0.01, 0.05, 0.1, 0.4, 0.5, 0.6, 0.8, 1.0)]
    assert free == [1.036, 0.26, 0.13, 0.13, 0.095, 0.061, 0.007, 0.0]


def test_a_delay_spreads_with_the_load_of_others() -> None:
    assert [spread(2, taken) for taken in (0.0, 1.0, 2.0)] == [1.0, 2.0, SPREAD_MAX]


def test_statements_are_longer_only_while_a_core_stays_free() -> None:
    assert (longer(2, 0.2), longer(2, 1.1), longer(1, 0.0), longer(16, 3.0)) == (LONGER, 1.0, 1.0, LONGER)
    assert 1.0 < longer(2, 0.75) < LONGER
