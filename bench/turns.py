"""What continuous mode costs after many turns: telling the age of the oldest data, what is next, and a turn itself.

    python bench/turns.py --turns 10 --turns 10000

A projection of six partitions in SQLite, the ledger beside it; the turns, of a partition each, are put into the ledger
as they would have left it, and the last is a real one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path[0] = str(Path(__file__).parents[1])  # in place of this folder, whose `events` is not the library

from tests.serving.test_continuous import declare  # noqa: E402
from tests.serving.test_covered import ASKED, many_turns  # noqa: E402
from tests.serving.worlds import World  # noqa: E402

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, action="append", required=True)
    for turns in parser.parse_args().turns:
        with tempfile.TemporaryDirectory() as folder:
            measure(World(f"sqlite:///{folder}/app.db", f"sqlite:///{folder}/ledger.db"), turns)


def measure(world: World, turns: int) -> None:
    declare(world)
    with world.engine() as engine:
        engine.run("p")
        many_turns(engine, world, turns)
        for what, ask in ASKED.items():
            print(f"{turns:>7,} turns  {what:<32} {1000 * seconds(lambda ask=ask: ask(engine)):8.1f} ms")
        print(f"{turns:>7,} turns  {'a turn':<32} {1000 * seconds(lambda: engine.in_turn('run', 'p')):8.1f} ms")


def seconds(fn: Callable[[], object]) -> float:
    took = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        fn()
        took.append(time.perf_counter() - begun)
    return median(took)


if __name__ == "__main__":
    main()
