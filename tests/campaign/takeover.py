"""How long nobody works on what a node held that stopped: measured with real nodes, at the default lease.

    python -m tests.campaign.takeover [--times 4]

Two `trueup serve` on one PostgreSQL ledger. One is in the middle of a run when it is stopped (SIGSTOP), at a random
moment between two renewals; the clock runs until the other has begun what it left. Then they change places. In the end
one is killed, which on the same machine is seen at once. Exits 1 if one took longer than promised.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trueup
from tests import servers
from tests.own_servers import some_postgres
from tests.servers import run_sql
from trueup.core.queue import ATTEMPTS_MAX
from trueup.store.lease import LEASE_S

#: Promised, seconds.
MOST_S = 40.0

CONFIG = """
[trueup]
ledger = "{ledger}"
[databases.app]
url = "{target}"
[projections.p]
source = {{ database = "app", table = "s" }}
target = {{ database = "app", table = "t" }}
key = ["id"]
writers = "dual_write"
settle = "1h"
"""


@contextmanager
def two_nodes(folder: Path) -> Iterator[dict[int, subprocess.Popen[bytes]]]:
    """Their processes, by number."""
    command = [sys.executable, "-m", "trueup", "serve", "--log-level", "error"]
    made = [subprocess.Popen(command, cwd=folder) for _ in range(2)]
    try:
        yield {process.pid: process for process in made}
    finally:
        for process in made:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def begun(ledger: str, after: float, within_s: float) -> tuple[float, int]:
    """When a request was begun, by the server's clock, and by which process; `after` that moment."""
    asked = (
        "SELECT extract(epoch FROM begun_at)::float8, pid FROM trueup_requests r JOIN trueup_nodes n ON n.id = r.node "
        f"WHERE r.state = 'running' AND begun_at > to_timestamp({after})"
    )
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if rows := run_sql(ledger, asked):
            return float(rows[0][0]), int(rows[0][1])
        time.sleep(0.1)
    raise TimeoutError(f"nobody began it within {within_s:.0f} s")


def measured(times: int, chance: random.Random) -> tuple[list[float], float]:
    """Seconds until another had begun, of a node that was stopped, each time; and of one that was killed."""
    stopped: list[float] = []
    with ExitStack() as stack:
        server = stack.enter_context(some_postgres())
        target, ledger = (stack.enter_context(servers.scratch_database(server, f"takeover{n}")) for n in "tl")
        run_sql(target, *(f"CREATE TABLE {name} (id integer PRIMARY KEY)" for name in "st"), "INSERT INTO s VALUES (1)")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "trueup.toml").write_text(CONFIG.format(ledger=ledger, target=target))
        with trueup.load(folder / "trueup.toml") as engine:
            engine.request("p", reason="to be taken over")
        processes = stack.enter_context(two_nodes(folder))
        at, pid = begun(ledger, 0.0, 60)
        for _ in range(times):
            time.sleep(chance.uniform(0, LEASE_S / 3))
            processes[pid].send_signal(signal.SIGSTOP)
            at, other = begun(ledger, lost := _now(ledger), 2 * MOST_S)
            stopped.append(at - lost)
            print(f"stopped: begun by the other after {stopped[-1]:.1f} s", flush=True)
            processes[pid].send_signal(signal.SIGCONT)
            pid = other
        lost = _now(ledger)
        processes[pid].kill()
        processes[pid].wait()
        return stopped, begun(ledger, lost, 2 * MOST_S)[0] - lost


def _now(ledger: str) -> float:
    return float(run_sql(ledger, "SELECT extract(epoch FROM clock_timestamp())::float8")[0][0])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=3, choices=range(1, ATTEMPTS_MAX - 1))
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked = parser.parse_args()
    stopped, killed = measured(asked.times, random.Random(asked.seed))
    print(f"lease {LEASE_S:g} s; stopped: {max(stopped):.1f} s at most of {len(stopped)}; killed: {killed:.1f} s")
    return 0 if max(*stopped, killed) < MOST_S else 1


if __name__ == "__main__":
    sys.exit(main())
