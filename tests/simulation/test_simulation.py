"""Seeds of the simulation: none breaks an invariant; without any one of the guards, some do."""

from __future__ import annotations

import pytest

from tests.simulation.guards import GUARDS, Guard
from tests.simulation.world import TOPOLOGIES, Topology, simulate

#: Seeds in all, over the topologies.
SEEDS = 20_000
BLOCKS = 8
#: A guard that is missing has to be found within so many.
FOUND_WITHIN = 1000

EACH = SEEDS // (len(TOPOLOGIES) * BLOCKS) + 1


@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda topology: topology.name)
def test_no_seed_breaks_an_invariant(topology: Topology, block: int) -> None:
    units = repaired = 0
    for seed in range(block * EACH, (block + 1) * EACH):
        world = simulate(seed, topology)
        assert not world.wrong, f"seed {seed} on {topology.name}: {world.wrong}"
        units += len(world.truth)
        repaired += sum(map(len, world.truth.values()))
    assert units > EACH, "hardly anything was repaired: these seeds prove nothing"
    assert repaired > EACH / 2


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda topology: topology.name)
def test_a_seed_is_the_same_each_time(topology: Topology) -> None:
    for seed in range(20):
        first, again = simulate(seed, topology), simulate(seed, topology)
        assert (first.scheduler.trace, first.scheduler.now) == (again.scheduler.trace, again.scheduler.now)
        assert first.truth == again.truth
    assert simulate(0, topology).scheduler.trace != simulate(1, topology).scheduler.trace


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_missing_guard_is_found(guard: Guard) -> None:
    topology = next(topology for topology in TOPOLOGIES if topology.name == guard.topology)
    with guard.removed():
        assert any(simulate(seed, topology).wrong for seed in range(FOUND_WITHIN))


def test_there_are_enough_guards() -> None:
    assert len(GUARDS) >= 20
    assert len({guard.name for guard in GUARDS}) == len(GUARDS)
