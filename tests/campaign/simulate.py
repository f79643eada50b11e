"""Many seeds of the simulation, on all cores.

    python -m tests.campaign.simulate [SEEDS] [FIRST]         (200000, from seed 0)

Prints, for each topology, how many runs, units and repaired rows that were, and each seed that broke an invariant.
Exits 1 if one did. About 100 seeds a second and core.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter

from tests.simulation.world import TOPOLOGIES, simulate

BLOCK = 500


def block(of: tuple[int, int]) -> tuple[int, Counter[str], list[str]]:
    """Topology and first seed -> the topology, what was counted, what was wrong."""
    at, first = of
    counted: Counter[str] = Counter()
    wrong: list[str] = []
    for seed in range(first, first + BLOCK):
        world = simulate(seed, TOPOLOGIES[at])
        counted.update(
            seeds=1,
            steps=world.scheduler.now,
            units=len(world.truth),
            rows=sum(map(len, world.truth.values())),
        )
        if world.wrong:
            wrong.append(f"seed {seed} on {TOPOLOGIES[at].name}: {world.wrong}")
    return at, counted, wrong


def main(seeds: int, first: int) -> int:
    each = -(-seeds // len(TOPOLOGIES))
    blocks = [(at, first + start) for start in range(0, each, BLOCK) for at in range(len(TOPOLOGIES))]
    total = [Counter[str]() for _ in TOPOLOGIES]
    bad = 0
    with multiprocessing.Pool() as pool:
        for at, counted, wrong in pool.imap_unordered(block, blocks):
            total[at] += counted
            bad += len(wrong)
            for line in wrong:
                print(f"BAD {line}", flush=True)
    for topology, counted in zip(TOPOLOGIES, total, strict=True):
        print(f"{topology.name}: " + ", ".join(f"{count:,} {name}" for name, count in counted.items()))
    print(f"{bad} of {sum(counted['seeds'] for counted in total):,} seeds broke an invariant")
    return 1 if bad else 0


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:3]]
    sys.exit(main(*(given + [200_000, 0][len(given) :])))
