"""kill -9 at every point of every topology, the points after a call and before the next both; of the engine's process,
or, with `servers`, of the database server under it, which then comes back; or, with `cuts`, no kill: the connection to
the target is cut before and after each COMMIT.

    python -m tests.campaign.kill [--part 1/4] [NAME...]            the engine is killed
    python -m tests.campaign.kill servers [--part 1/4] [NAME...]    servers of its own are killed
    python -m tests.campaign.kill cuts [--part 1/4] [NAME...]       connections are cut

The databases come from where the tests have them: TRUEUP_TEST_POSTGRES and the like, a local server, or the wheel. NAME
is part of a topology's name, `"one sqlite"`; `--part 2/4` takes every fourth topology, from the second on. All of them
take hours on two cores; `"delete, markers, run" "two sqlite, delete, no"` and so on, one at a time, two to ten minutes.
Exits 1 and names each point after which something was not as promised.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests import servers
from tests.faults.crash import Case, cut_everywhere, disaster_everywhere, kill_everywhere, scratch
from tests.faults.test_killed_server import SERVERS, killed, two_databases
from tests.own_servers import some_postgres
from tests.servers import Pair

POLICIES = ("delete", "report")
KINDS = ("sqlite", "postgresql", "mariadb")


def pairs(stack: ExitStack) -> dict[str, Pair]:
    """Two databases of each kind; files get theirs case by case."""
    postgres = stack.enter_context(some_postgres())
    mariadb = servers.mariadb_server(os.environ)
    return {
        "postgresql": Pair(*(stack.enter_context(servers.scratch_database(postgres, f"campaign{at}")) for at in "12")),
        "mariadb": Pair(*(stack.enter_context(servers.scratch_mariadb(mariadb, f"campaign{at}")) for at in "12")),
    }


def cases(stack: ExitStack, there: dict[str, Pair]) -> Iterator[Case]:
    """Every topology with every policy, with markers and without, run, planned, and rolled back."""
    one = there["postgresql"].source
    for command in ("run", "rollback"):
        folder = scratch(Path(tempfile.mkdtemp(prefix="trueup-kill-")))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        name = f"one postgresql, lots, {command}"
        yield Case(name=name, source=one, target=one, folder=folder, command=command, lots=True)
    for kind, topology, policy, markers, command in itertools.product(
        KINDS, ("one", "two"), POLICIES, (True, False), ("run", "apply", "rollback")
    ):
        folder = scratch(Path(tempfile.mkdtemp(prefix="trueup-kill-")))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        files = Pair(f"sqlite:///{folder / 'source.db'}", f"sqlite:///{folder / 'target.db'}")
        pair = there.get(kind, files)
        yield Case(
            name=f"{topology} {kind}, {policy}, {'markers' if markers else 'no markers'}, {command}",
            source=pair.source,
            target=pair.source if topology == "one" else pair.target,
            folder=folder,
            markers=markers,
            on_extra=policy,
            command=command,
            daily=3 if command == "run" and policy == "delete" else None,
        )


def emptied(case: Case) -> None:
    for url in {case.source, case.target}:
        if url.startswith("postgres"):
            servers.reset_database(url)
        elif url.startswith("mariadb"):
            servers.reset_mariadb(url)


def told(name: str, how: str, started: float, points: int, bad: dict[str, list[str]]) -> int:
    print(f"{name}: {how} {points} points, {len(bad)} bad, {time.monotonic() - started:.0f} s", flush=True)
    for point, wrong in bad.items():
        print(f"    {point}: {'; '.join(wrong)}")
    return len(bad)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which of the topologies are tried."""

    names: Sequence[str]
    #: Every so manieth, from this one on.
    first: int = 0
    every: int = 1

    def of(self, cases: Iterable[Case]) -> Iterator[Case]:
        for at, case in enumerate(c for c in cases if not self.names or any(name in c.name for name in self.names)):
            if at % self.every == self.first:
                yield case


def engines(choice: Choice) -> int:
    failed = 0
    with ExitStack() as stack:
        for case in choice.of(cases(stack, pairs(stack))):
            emptied(case)
            started = time.monotonic()
            case.build()
            failed += told(case.name, "killed at", started, *kill_everywhere(case, every=0))
    return failed


def cuts(choice: Choice) -> int:
    failed = 0
    with ExitStack() as stack:
        made = cases(stack, pairs(stack))
        for case in choice.of(case for case in made if not case.target.startswith("sqlite")):
            emptied(case)
            started = time.monotonic()
            case.build()
            failed += told(case.name, "cut at", started, *cut_everywhere(case))
    return failed


def own_servers(choice: Choice) -> int:
    failed = 0
    for kind, start in SERVERS.items():
        with ExitStack() as stack:
            server = stack.enter_context(start())
            here, there = two_databases(server)
            folder = scratch(Path(tempfile.mkdtemp(prefix="trueup-kill-")))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            made = [
                Case(name=f"{topology} {kind}, its server", source=here, target=target, folder=folder)
                for topology, target in (("two", there), ("one", here))
            ]
            for case in choice.of(made):
                emptied(case)
                started = time.monotonic()
                case.build()
                failed += told(case.name, "killed at", started, *disaster_everywhere(case, killed(server), every=1))
    return failed


WAYS = {"servers": own_servers, "cuts": cuts}


def main(words: list[str]) -> int:
    ways = argparse.ArgumentParser(usage=__doc__)
    ways.add_argument("--part", default="1/1")
    ways.add_argument("names", nargs="*")
    args = ways.parse_args(words)
    way = WAYS.get(args.names[0]) if args.names else None
    part, _, parts = args.part.partition("/")
    choice = Choice(names=args.names[1:] if way else args.names, first=int(part) - 1, every=int(parts))
    return 1 if (way or engines)(choice) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
