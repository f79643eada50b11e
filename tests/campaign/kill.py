"""kill -9 at every point of every topology, the points after a call and before the next both.

    python -m tests.campaign.kill [NAME...]

PostgreSQL comes from where the tests have it: TRUEUP_TEST_POSTGRES, a local server, or the wheel. NAME is part of a
topology's name, `"one sqlite"`; all of them take about half an hour on two cores. Exits 1 and names each point after
which something was not as promised.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests import servers
from tests.faults.crash import Case, kill_everywhere, scratch
from tests.servers import Pair

POLICIES = ("delete", "report")


def cases(stack: ExitStack) -> list[Case]:
    """Every topology with every policy, with markers and without, run and planned."""
    home = servers.new_embedded_home()
    stack.callback(servers.remove_embedded_home, home)
    server = stack.enter_context(servers.postgres_server(os.environ, home))
    one, two = (stack.enter_context(servers.scratch_database(server, f"campaign{at}")) for at in (1, 2))
    found = []
    for kind, policy, markers, command in itertools.product(
        ("one sqlite", "two sqlite", "one postgresql", "two postgresql"), POLICIES, (True, False), ("run", "apply")
    ):
        folder = scratch(Path(tempfile.mkdtemp(prefix="trueup-kill-")))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        files = Pair(f"sqlite:///{folder / 'source.db'}", f"sqlite:///{folder / 'target.db'}")
        pair = files if kind.endswith("sqlite") else Pair(one, two)
        name = f"{kind}, {policy}, {'markers' if markers else 'no markers'}, {command}"
        target = pair.source if kind.startswith("one") else pair.target
        case = Case(
            name=name,
            source=pair.source,
            target=target,
            folder=folder,
            markers=markers,
            on_extra=policy,
            command=command,
        )
        found.append(case)
    return found


def main(names: list[str]) -> int:
    failed = 0
    with ExitStack() as stack:
        for case in cases(stack):
            if names and not any(name in case.name for name in names):
                continue
            for url in {case.source, case.target}:
                if url.startswith("postgres"):
                    servers.reset_database(url)
            started = time.monotonic()
            case.build()
            points, bad = kill_everywhere(case, every=0)
            print(
                f"{case.name}: killed at {points} points, {len(bad)} bad, {time.monotonic() - started:.0f} s",
                flush=True,
            )
            for point, wrong in bad.items():
                print(f"    {point}: {'; '.join(wrong)}")
            failed += len(bad)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
