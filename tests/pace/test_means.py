"""What is known of others only as a mean: what of the cores they take, and when that has changed."""

from __future__ import annotations

import pytest

from trueup.adapters import Looked
from trueup.core.pace.tails import Tails
from trueup.pace.means import LATELY_S, SHIFT, Means


def taken(means: Means, cores: float, seconds: float, *, runnable: float | None = 0.0) -> int:
    """Let others take so many cores for a while; how often that was said to be a change, of two cores."""
    said = 0
    for _ in range(int(seconds / 0.5)):
        means.add_taken(0.5, cores, runnable)
        said += means.shifted(2)
    return said


def test_a_change_is_said_once_and_so_is_the_way_back() -> None:
    means = Means()
    assert taken(means, 0.8, 60.0) == 0
    assert taken(means, 0.8 + 3 * SHIFT, 4 * LATELY_S) == 1
    assert taken(means, 0.8 + 3 * SHIFT, 30.0) == 0
    assert taken(means, 0.8, 4 * LATELY_S) == 1


def test_what_moves_a_little_is_no_change() -> None:
    means = Means()
    assert sum(taken(means, 0.8 + part, 5.0) for part in (0.0, SHIFT, -SHIFT, SHIFT) * 5) == 0


def test_a_slow_drift_is_no_change_and_cores_that_are_not_known_say_nothing() -> None:
    means = Means()
    assert sum(taken(means, at / 600, 1.0) for at in range(600)) == 0
    assert not means.shifted(None)
    assert not Means().shifted(2)


def test_what_a_load_is_bound_by_is_steadier_than_what_is_taken_and_yields_as_soon_when_others_come() -> None:
    def room(means: Means) -> float:
        (_, free) = means.effect(Tails(), 0.0, cores=2, protect=0.1, busy_s=0.0, flown_s=0.0)
        assert free is not None
        return free

    means = Means()
    assert taken(means, 1.0, 60.0) == 0
    free = room(means)
    assert taken(means, 1.0 + SHIFT, LATELY_S) == 0
    assert room(means) == pytest.approx(free, rel=0.1)
    assert taken(means, 1.0 + 4 * SHIFT, LATELY_S) == 1
    assert room(means) < free / 2


def test_a_statement_has_its_part_of_the_cores_where_more_wait_for_one() -> None:
    means = Means()
    assert means.of_a_core(2) == 1.0
    taken(means, 0.5, 10.0, runnable=0.5)
    assert means.of_a_core(2) == 1.0
    taken(means, 2.0, 30.0, runnable=3.0)
    assert means.of_a_core(2) == pytest.approx(0.5, rel=0.01)
    assert means.of_a_core(None) == 1.0


@pytest.mark.parametrize(("theirs", "idle"), [(0, True), (10, False)])
def test_whether_others_are_at_work_is_what_they_commit_besides_us(theirs: int, idle: bool) -> None:
    means = Means()
    for second in range(60):
        ours = 20 * second
        looked = Looked(values={}, active=0.01, transactions=ours + theirs * second)
        means.add(float(second), looked, ours)
    assert means.idle is idle
    assert means.rate == pytest.approx(theirs)


@pytest.mark.parametrize("how", ["hidden", "failed"])
def test_who_is_hidden_is_not_taken_for_nobody(how: str) -> None:
    """A session that we may not see into, or a look that fails, after a while in which nobody was there."""
    means = Means()
    for second in range(60):
        means.add(float(second), Looked(values={}, active=0.0, transactions=0.0), 0, quiet=True)
    assert means.idle
    if how == "failed":
        means.unseen()
    else:
        means.add(60.0, Looked(values={}, transactions=0.0), 0, quiet=True)
    assert not means.idle
    assert means.active_lately is None
    means.add(62.0, Looked(values={}, active=2.0, transactions=4.0), 0, quiet=True)
    assert means.active_lately == 2.0
