"""Half an hour of everything at once: what grows, and whether every row is right in the end.

    python -m tests.campaign.soak [--minutes 30] [--nodes 2] [--seed N]
    python -m tests.campaign.soak --minutes 10 --leaking         # the control: it has to find something

Real `trueup serve` processes with five projections (`soak_world.py`): one database, two databases, Redis; on schedules,
by events, in continuous mode; paced, with the API and alerts; writers go on all the time. Faults are mixed at random
from a seed (`soak_faults.py`): rows made wrong, nodes killed, stopped and cut off, sessions ended, servers killed,
rows that the target refuses, columns that come and go, storms of events, lock convoys. `keep` is one minute, and the
audit log is pruned as an operator would.

Sampled all the time: memory, open files, threads and connections of the node that is never killed; rows of all tables
of the ledger and of what is kept in the targets; sizes on disk; the queue. In the end nothing of it may have grown
(`flat.py` says what that means), every row has to be right, no unit open, no fault of Trueup's in any log, no row of
`live` written more often than it was made wrong, and the audit log has to be verified.

Exits 1 and says what was not so; with `--leaking`, if the judge saw nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import trueup
from tests.campaign.flat import Series, Trend
from tests.campaign.nodes import end
from tests.campaign.soak_faults import Faults
from tests.campaign.soak_world import KEEP_S, World, world, writers
from tests.servers import run_sql
from trueup.errors import TrueupError, UsageError

#: Shorter than this nothing is said about growth, minutes: `keep` alone is one.
TREND_FROM_MIN = 8.0
#: Between two faults, at most, seconds.
APART_S = 6.0
#: Longest wait for all rows to be right, once the last fault is over, seconds.
SETTLE_S = 240


@dataclass(kw_only=True)
class Found:
    """What a soak came to."""

    seconds: float = 0.0
    samples: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    planted: int = 0
    #: Runs, and rows that they repaired, by projection.
    runs: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    settled_s: float = 0.0
    alerts: int = 0
    trends: list[Trend] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def growing(self) -> list[Trend]:
        return [trend for trend in self.trends if trend.grows]

    def __str__(self) -> str:
        head = [
            f"{self.seconds / 60:.1f} min, {self.samples} samples, faults {dict(self.faults)}",
            f"{self.planted} rows made wrong; repaired {self.repaired} in {self.runs} runs",
            f"right {self.settled_s:.0f} s after the last fault; {self.alerts} alerts",
        ]
        return "\n".join([*head, *(f"  {trend}" for trend in self.trends)])


def soak(*, minutes: float, count: int, seed: int, module: str = "trueup", folder: Path) -> Found:
    """All of it. Times are this machine's."""
    found, chance, series = Found(), random.Random(seed), Series()
    with world(folder, count=count, module=module) as made:
        for node in made.nodes:
            node.start()
        try:
            _wait_for_nodes(made)
            begun = time.monotonic()
            with writers(made), _sampled(made, series, max(0.5, minutes / 6)):
                faults = Faults(made, chance)
                while time.monotonic() - begun < minutes * 60:
                    faults.one()
                    time.sleep(chance.uniform(0, min(APART_S, minutes * 60 / 20)))
                faults.end_all()
                ended = time.monotonic()
            found.faults, found.seconds = faults.done, ended - begun
            _settle(made, found)
        finally:
            codes = end([node for node in made.nodes if node.process is not None])
        if any(codes):
            found.problems.append(f"nodes ended with {codes}")
        _judge(made, found)
    found.samples = max((len(points) for points in series.of.values()), default=0)
    if minutes >= TREND_FROM_MIN:
        found.trends = series.trends(begun, ended)
        found.problems += [f"grows: {trend}" for trend in found.growing]
    return found


def _wait_for_nodes(made: World) -> None:
    end_ = time.monotonic() + 120
    for node, port in zip(made.nodes, made.ports, strict=True):
        assert node.process is not None
        while not _asked(port, "/health/live"):
            if time.monotonic() > end_ or node.process.poll() is not None:
                raise TimeoutError(f"{node.name} does not answer: {(node.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.2)


def _asked(port: int, path: str, token: str = "") -> bool:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"})
    with suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
        return bool(answer.status == 200 and answer.read())
    return False


@contextmanager
def _sampled(made: World, series: Series, every_s: float) -> Iterator[None]:
    """Meanwhile all series are sampled, the API is asked, and the audit log pruned."""
    ended = threading.Event()

    with _engine(made) as engine:
        token = engine.tokens.create("soak", "viewer", now=datetime.now(UTC), by=engine.actor)

    def work() -> None:
        pruned = time.monotonic()
        while not ended.wait(every_s):
            series.add(time.monotonic(), made.sample())
            for port in made.ports:
                _asked(port, "/metrics", token)
                _asked(port, "/health/ready")
            if time.monotonic() - pruned > KEEP_S / 2:
                pruned = time.monotonic()
                _prune_audit(made)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)


def _prune_audit(made: World) -> None:
    """`trueup audit prune`, as somebody has it in a crontab."""
    with suppress(TrueupError), _engine(made) as engine, suppress(UsageError):
        engine.audit.prune(datetime.now(UTC) - timedelta(seconds=KEEP_S))


def _engine(made: World) -> trueup.Trueup:
    return trueup.Trueup(databases={}, projections=[], ledger=made.ledger)


# --- the end ---------------------------------------------------------------------------------------------------------

_OPEN = "SELECT count(*) FROM trueup_units WHERE closed_at IS NULL"
_HELD = "SELECT projection, key, reason FROM trueup_quarantine WHERE state = 'held'"


def _settle(made: World, found: Found) -> None:
    """Faults are over and nobody writes: soon everything is right, and nothing is left lying about."""
    begun = time.monotonic()
    left: list[object] = []
    while time.monotonic() - begun < SETTLE_S:
        left = [made.wrong(), run_sql(made.ledger, _OPEN)[0][0], run_sql(made.ledger, _HELD)]
        if not any(left):
            found.settled_s = time.monotonic() - begun
            return
        time.sleep(1)
    found.problems.append(f"{SETTLE_S} s after the last fault are wrong, open, in quarantine: {left}")


def _judge(made: World, found: Found) -> None:
    found.planted, found.alerts = sum(made.planted.values()), len(made.alerts.got)
    told = "SELECT projection, sum(runs)::int, sum(repaired)::int FROM trueup_tallies GROUP BY 1 ORDER BY 1"
    for name, runs, repaired in run_sql(made.ledger, told):
        found.runs[name], found.repaired[name] = runs, repaired
    ((written,),) = run_sql(made.app, "SELECT coalesce(sum(times), 0)::int FROM written")
    if written > made.planted.get("live", 0):
        found.problems.append(f"live: {written} rows were written, {made.planted.get('live', 0)} were made wrong")
    for node in made.nodes:
        log = (node.folder / "log").read_text(errors="replace")
        if "Traceback" in log:
            at = log.index("Traceback")
            found.problems.append(
                f"{node.name}: {log.count('Traceback')} faults of Trueup's: {log[at - 300 : at + 3000]}"
            )
    with _engine(made) as engine:
        engine.audit.seal()
        found.problems += [f"audit log: {problem}" for problem in engine.audit.verify().problems[:5]]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--leaking", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep configuration and logs of the nodes here")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # everything that was started is ended
    print(f"seed {asked.seed}", flush=True)
    module = "tests.campaign.leaking" if asked.leaking else "trueup"
    with TemporaryDirectory(prefix="trueup-soak-") as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        found = soak(minutes=asked.minutes, count=asked.nodes, seed=asked.seed, module=module, folder=folder)
    print(found)
    print(json.dumps(found.problems, indent=1))
    return int(not found.growing) if asked.leaking else int(bool(found.problems))


if __name__ == "__main__":
    sys.exit(main())
