"""Storms of events from every kind of broker, which is killed and started again in the middle.

    python -m tests.campaign.events [--events 100000] [--kinds redis_stream,nats] [--nodes 2] [--seed N]

Real `trueup serve` processes listen, and nothing else asks them to run: no schedule. In ten batches rows are broken,
each once, and told of by thousands of events about a few keys: doubled, in any order, those of earlier batches again.
In the middle the broker is killed and started (PostgreSQL, which others use too: every session of the database is
ended). In the end every row is right, each was repaired exactly once, and no node took more memory than at the start,
but for what one batch needs.

Exits 1 and says what was not as promised. Starts brokers of its own; PostgreSQL is the local one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import servers
from tests.cli.shop import toml
from tests.own_servers import some_postgres
from tests.servers import run_sql
from tests.triggers.buses import BUSES, Bus

BATCHES = 10
#: Rows that are broken in a batch, each of them once.
BROKEN = 20
#: Most that a node's memory may grow by, MB.
GROWTH_MB = 100
#: Longest wait for all rows to be right, once the last event was sent, seconds.
WAIT_S = 180

CONFIG = """
[trueup]
ledger = "{ledger}"
[databases.app]
url = "{target}"
[brokers.bus]
url = "{broker}"
[projections.p]
source = {{ database = "app", table = "s" }}
target = {{ database = "app", table = "t" }}
key = ["id"]
writers = "same_transaction"
limits = {{ rows = 100000, share = "100%", collapse = "0%" }}
triggers = [{trigger}]
"""


@dataclass(kw_only=True)
class Found:
    """What a storm came to."""

    kind: str
    events: int = 0
    #: Events that requests stand for, runs, and how long it all took.
    merged: int = 0
    runs: int = 0
    seconds: float = 0.0
    #: Times that listening broke off.
    failures: int = 0
    growth_mb: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kind}: {self.events:,} events, {self.merged:,} in requests, {self.runs} runs, {self.seconds:.0f} s"
            f", broke off {self.failures} times, memory grew by {self.growth_mb:.0f} MB at most"
        )


# --- brokers ---------------------------------------------------------------------------------------------------------


class Server(ABC):
    """A broker that this campaign started, and may kill."""

    name = ""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def command(self) -> list[str]: ...

    def environment(self) -> dict[str, str]:
        return {}

    def start(self) -> None:
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.home, env=os.environ | self.environment(), stdout=log, stderr=log
            )
        known = servers.SERVERS[self.name]
        end = time.monotonic() + 120
        while why := servers.why_not(known, {known.variable: self.url}):
            assert time.monotonic() < end, why
            time.sleep(0.2)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()


class Redis(Server):
    name = "redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return [*f"redis-server --port {self.port} --dir {self.home} --appendonly yes --save".split(), ""]


class Nats(Server):
    name = "nats"

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return f"nats-server -js -sd {self.home} -a 127.0.0.1 -p {self.port}".split()


class Rabbit(Server):
    name = "rabbitmq"

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def command(self) -> list[str]:
        return ["/usr/lib/rabbitmq/bin/rabbitmq-server"]

    def environment(self) -> dict[str, str]:
        config = self.home / "rabbitmq.conf"
        config.write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        folder = str(self.home)
        ports = {"RABBITMQ_DIST_PORT": str(self.port + 1), "ERL_EPMD_PORT": str(self.port + 2)}
        return ports | {
            "HOME": folder,
            "RABBITMQ_NODENAME": f"trueup{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_MNESIA_BASE": folder,
            "RABBITMQ_LOG_BASE": folder,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "plugins"),
        }

    def kill(self) -> None:
        """The wrapper is a shell, and its child is what counts."""
        for pid in (self.home / "pids").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def start(self) -> None:
        super().start()
        assert self.process is not None
        (self.home / "pids").write_text(" ".join(map(str, _descendants(self.process.pid))))


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += _descendants(int(child))
    return found


STARTED: dict[str, type[Server]] = {"redis_stream": Redis, "rabbitmq": Rabbit, "nats": Nats}


# --- the storm -------------------------------------------------------------------------------------------------------


@contextmanager
def serving(folder: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-m", "trueup", "serve", "--log-level", "warning"]
        nodes = [subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) for _ in range(count)]
    try:
        yield nodes
    finally:
        for node in nodes:
            node.send_signal(signal.SIGTERM)
        for node in nodes:
            node.wait(60)


def storm(kind: str, *, events: int, count: int, seed: int) -> Found:
    """One kind of trigger, from the first event to the last repair."""
    found, chance = Found(kind=kind), random.Random(seed)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trueup-events-")))
        postgres = stack.enter_context(some_postgres())
        target, ledger = (stack.enter_context(servers.scratch_database(postgres, part)) for part in ("app", "ledger"))
        server = None
        if kind in STARTED:
            server = STARTED[kind](home, chance.randrange(21_000, 29_000))
            stack.callback(server.kill)
        place = target if server is None else server.url
        bus = BUSES[kind][0](place)
        stack.callback(lambda: bus.close())  # noqa: PLW0108 - it is another one after the restart
        _prepare(home, bus, target, ledger, place)
        with serving(home, count) as nodes:
            _wait(lambda: _listening(ledger, count, kind) and not _open(ledger), "nobody listens")
            before, begun = [_memory_mb(node, "VmRSS") for node in nodes], time.monotonic()
            told: list[int] = []
            for batch in range(BATCHES):
                ids = range(batch * BROKEN + 1, (batch + 1) * BROKEN + 1)
                run_sql(target, f"DELETE FROM t WHERE id BETWEEN {ids[0]} AND {ids[-1]}")
                told += ids
                about = [*ids, *(chance.choice((*ids, chance.choice(told))) for _ in range(events // BATCHES - BROKEN))]
                chance.shuffle(about)
                bus.publish(*({"id": id_, "n": f"{batch}/{n}"} for n, id_ in enumerate(about)))
                found.events += len(about)
                if batch == BATCHES // 2:
                    bus = _broken(bus, server, target)
            # What was told while nobody listened is not heard by `listen`; of all others no event is lost.
            heard = 0 if kind == "listen" else found.events
            try:
                _wait(lambda: not _wrong(target), "rows are wrong still", WAIT_S)
                _wait(lambda: not _open(ledger) and _merged(ledger) >= heard, "events are not settled", WAIT_S)
            except TimeoutError as late:
                found.problems.append(f"{late}: {_wrong(target)}, {_merged(ledger):,} events")
            found.seconds = time.monotonic() - begun
            after = [_memory_mb(node, "VmHWM") for node in nodes]
            found.growth_mb = max(b - a for a, b in zip(before, after, strict=True))
            ((found.failures,),) = run_sql(ledger, "SELECT sum(failures)::int FROM trueup_listeners")
        _judge(ledger, found)
    return found


def _prepare(home: Path, bus: Bus, target: str, ledger: str, place: str) -> None:
    rows = BATCHES * BROKEN
    for side in "st":
        make = f"CREATE TABLE {side} AS SELECT id, id * 10 AS n FROM generate_series(1, {rows}) id"
        run_sql(target, make, f"ALTER TABLE {side} ADD PRIMARY KEY (id)")
    trigger = bus.trigger(window=0.5).model_dump(mode="json", exclude_defaults=True)
    broker = place if bus.section == "brokers" else "redis://127.0.0.1:1"
    text = CONFIG.format(ledger=ledger, target=target, broker=broker, trigger=toml(trigger))
    (home / "trueup.toml").write_text(text)


def _broken(bus: Bus, server: Server | None, target: str) -> Bus:
    """The broker dies and comes back, and who publishes connects again."""
    if server is None:
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        run_sql(target, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        return bus
    bus.leave()
    server.restart()
    return type(bus)(bus.url, bus.name)


def _judge(ledger: str, found: Found) -> None:
    applied: dict[str, int] = dict(
        run_sql(ledger, "SELECT key, count(*)::int FROM trueup_outcomes WHERE outcome = 'applied' GROUP BY key")
    )
    often = {key: times for key, times in applied.items() if times != 1}
    if often or len(applied) != BATCHES * BROKEN:
        found.problems.append(f"{len(applied)} of {BATCHES * BROKEN} rows were repaired, not once: {often}")
    if others := run_sql(ledger, "SELECT outcome, count(*) FROM trueup_outcomes WHERE outcome <> 'applied' GROUP BY 1"):
        # A run over all keys beside one over keys may find a row repaired that it had decided on.
        print(f"{found.kind}: also {others}")
    found.merged = _merged(ledger)
    ((found.runs,),) = run_sql(ledger, "SELECT count(*) FROM trueup_requests")
    if failed := run_sql(ledger, "SELECT answer FROM trueup_requests WHERE state = 'failed'"):
        found.problems.append(f"requests failed: {failed}")
    if found.failures == 0:
        found.problems.append("nothing broke off: the restart was not noticed, so it proves nothing")
    if found.growth_mb > GROWTH_MB:
        found.problems.append(f"memory grew by {found.growth_mb:.0f} MB")


def _wrong(target: str) -> list[tuple[Any, ...]]:
    return run_sql(target, "SELECT id FROM s LEFT JOIN t USING (id) WHERE s.n IS DISTINCT FROM t.n ORDER BY id")


def _listening(ledger: str, count: int, kind: str) -> bool:
    """All do; of an outbox one does, and the others wait for it."""
    if not run_sql(ledger, "SELECT to_regclass('trueup_listeners')")[0][0]:
        return False
    states = [state for (state,) in run_sql(ledger, "SELECT state FROM trueup_listeners")]
    wanted = ["listening"] * count if kind != "outbox" else ["elsewhere"] * (count - 1) + ["listening"]
    return sorted(states) == sorted(wanted)


def _merged(ledger: str) -> int:
    """Events that requests stand for."""
    return int(run_sql(ledger, "SELECT coalesce(sum(merged), 0) FROM trueup_requests")[0][0])


def _open(ledger: str) -> bool:
    return bool(run_sql(ledger, "SELECT 1 FROM trueup_requests WHERE state IN ('waiting', 'running') LIMIT 1"))


def _memory_mb(node: subprocess.Popen[bytes], what: str) -> float:
    status = Path(f"/proc/{node.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(what))


def _wait(holds: Any, what: str, within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--kinds", default=",".join(BUSES))
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    problems = []
    for kind in asked.kinds.split(","):
        found = storm(kind, events=asked.events, count=asked.nodes, seed=asked.seed)
        print(found, flush=True)
        problems += [f"{kind}: {problem}" for problem in found.problems]
    print(json.dumps(problems, indent=1))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
