"""Several nodes on one PostgreSQL ledger: killed, stopped longer than their lease, cut off from the ledger, at random.

    python -m tests.campaign.nodes [--ticks 2000] [--nodes 5] [--seed N]
    python -m tests.campaign.nodes --ticks 150 --unfenced        # the control: it has to find something

Real `trueup serve` processes run five projections on a tick every two seconds, with a lease of two, while rows are
broken all the time. The judge sits in the targets, and in the ledger: with the marker of each repair transaction, and
with what is written down before it, a trigger notes which node it was of, under which fencing token and when. Two
exclusion constraints refuse a second node under one token, and two tokens whose times overlap. In the end every tick
has to be there, each exactly once, and every row right, each repaired once. At the end each judge is
shown two nodes under one token, and has to say so, or it was none.

Exits 1 and says what was not as promised; with `--unfenced`, where nodes go on after they lost their lease
(`unfenced.py`), if no judge saw anything. About ten minutes for 2,000 ticks on two cores.
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
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import servers
from tests.faults.proxy import Proxy, proxied
from tests.own_servers import some_postgres
from tests.servers import run_sql
from trueup import Database
from trueup.adapters import connect
from trueup.errors import LedgerFailed
from trueup.store.ledger import Ledger

PERIOD_S = 2
LEASE_S = 2
#: Within this after the last fault all is right; long enough for a pause that the engine made.
SETTLED_S = 150
NAMES = [f"p{n}" for n in range(5)]

CONFIG = """
[trueup]
ledger = "{ledger}"
lease = "{lease}s"
[serve]
poll = "0.2s"
workers = 2
"""
PROJECTION = """
[databases.{name}]
url = "{target}"
[projections.{name}]
source = {{ database = "{name}", table = "s" }}
target = {{ database = "{name}", table = "t" }}
settle = "500ms"
key = ["id"]
writers = "same_transaction"
limits = {{ rows = 100000, share = "100%", collapse = "0%" }}
recurring = {{ times = 0 }}
schedule = {{ every = "{period}s", misfire = "catch_up" }}
overlap = "queue"
"""

JUDGE = """
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE TABLE judge (lane text, token bigint, node text, during tstzrange,
  EXCLUDE USING gist (lane WITH =, token WITH =, node WITH <>),
  EXCLUDE USING gist (lane WITH =, token WITH <>, during WITH &&));
CREATE TABLE violations (node text, what text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION judged() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE mine bigint; what text; who text := coalesce(current_setting('judge.node', true), '?');
BEGIN
  {token}
  BEGIN
    UPDATE judge SET during = tstzrange(lower(during), clock_timestamp(), '[]')
      WHERE lane = what AND token = mine AND node = who;
    IF NOT FOUND THEN
      INSERT INTO judge VALUES (what, mine, who, tstzrange(clock_timestamp(), clock_timestamp(), '[]'));
    END IF;
  EXCEPTION WHEN exclusion_violation THEN
    INSERT INTO violations (node, what) VALUES (who, SQLERRM);
  END;
  RETURN NULL;
END $$;
CREATE TRIGGER judged AFTER INSERT ON {on} EXECUTE FUNCTION judged();
"""
IN_TARGET = {
    "token": "SELECT fence, token INTO what, mine FROM trueup_fence WHERE fence <> 'judge';",
    "on": "trueup_applied FOR EACH ROW WHEN (NOT NEW.closed)",
}
IN_LEDGER = {
    "token": "SELECT lane, token INTO what, mine FROM trueup_runs r JOIN trueup_lease_fences f ON f.name = r.lane "
    "WHERE r.id = NEW.run;",
    "on": "trueup_units FOR EACH ROW",
}


@dataclass(kw_only=True)
class Found:
    """What a campaign came to."""

    ticks: int = 0
    states: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    #: Holdings that the judges saw.
    judged: dict[str, int] = field(default_factory=dict)
    overlaps: int = 0
    #: Longest time between the loss of a node in the middle of a request and the next beginning of it, seconds.
    taken_over_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = f"{self.ticks} ticks {dict(self.states)}, faults {dict(self.faults)}, {self.rows} rows repaired"
        told += f", {sum(self.judged.values())} holdings judged"
        return f"{told}, {self.overlaps} overlaps, begun anew within {self.taken_over_s:.1f} s at most"


@dataclass(kw_only=True)
class NodeProcess:
    """One `trueup serve`, that is killed and started again."""

    folder: Path
    proxy: Proxy
    name: str
    #: What is run as `trueup`.
    module: str = "trueup"
    process: subprocess.Popen[bytes] | None = None
    #: When what was done to it is over; 0: nothing.
    until: float = 0.0
    after: str = ""

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, "serve", "--log-level", "warning"],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                stderr=log,
                stdout=log,
            )

    @property
    def ended_without_ledger(self) -> bool:
        """It ended by itself, and not by a fault of Trueup's."""
        assert self.process is not None
        return not self.until and self.process.poll() == LedgerFailed.exit_code and "Traceback" not in self.said

    @property
    def said(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-1500:]

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@contextmanager
def nodes(
    stack: ExitStack, ledger: str, targets: dict[str, str], count: int, module: str
) -> Iterator[list[NodeProcess]]:
    made = []
    for n in range(count):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        proxy, url = stack.enter_context(proxied(ledger))
        told = CONFIG.format(lease=LEASE_S, ledger=_judged(url, n) + f"&application_name=n{n}")
        for name, target in targets.items():
            told += PROJECTION.format(name=name, period=PERIOD_S, target=_judged(target, n))
        (folder / "trueup.toml").write_text(told)
        made.append(NodeProcess(folder=folder, proxy=proxy, name=f"n{n}", module=module))
    try:
        for node in made:
            node.start()
        yield made
    finally:
        end(made)


def end(made: Sequence[NodeProcess]) -> list[int]:
    """Let them end as they should, or else at once; their exit codes."""
    for node in made:
        node.proxy.down = False
        node.send(signal.SIGCONT)
        node.send(signal.SIGTERM)
    codes = []
    for node in made:
        assert node.process is not None
        try:
            codes.append(node.process.wait(60))
        except subprocess.TimeoutExpired:
            node.process.kill()
            codes.append(node.process.wait())
    return codes


def _judged(url: str, n: int) -> str:
    """The judge is told who connects."""
    return url + ("&" if "?" in url else "?") + f"options=-c%20judge.node%3Dn{n}"


def harm(node: NodeProcess, ledger: str, chance: random.Random, found: Found) -> None:
    """Do one thing to a node that is well."""
    what = chance.choice(["killed", "stopped", "stopped", "cut off"])
    found.faults[what] += 1
    befall(node, what, ledger, chance.uniform(0.3, 3 * LEASE_S))


def befall(node: NodeProcess, what: str, ledger: str, for_s: float) -> None:
    """It is `killed`, `stopped` or `cut off` for so long."""
    if what == "killed":
        node.send(signal.SIGKILL)
        assert node.process is not None
        node.process.wait()
    elif what == "stopped":
        node.send(signal.SIGSTOP)
    else:
        node.proxy.down = True
        run_sql(
            ledger, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{node.name}'"
        )
    node.until, node.after = time.monotonic() + for_s, what


def mend(node: NodeProcess) -> None:
    if node.after == "killed":
        node.start()
    elif node.after == "stopped":
        node.send(signal.SIGCONT)
    node.proxy.down = False
    node.until, node.after = 0.0, ""


def campaign(*, ticks: int, count: int, seed: int, module: str = "trueup") -> Found:
    found, chance = Found(), random.Random(seed)
    with ExitStack() as stack:
        server = stack.enter_context(some_postgres())
        targets = {name: stack.enter_context(servers.scratch_database(server, f"nodes{name}")) for name in NAMES}
        ledger = stack.enter_context(servers.scratch_database(server, "nodes"))
        _prepare(targets, ledger)
        wanted = ticks // len(NAMES)
        with nodes(stack, ledger, targets, count, module) as made:
            row, end = 0, time.monotonic() + 60 + ticks / len(NAMES) * PERIOD_S * 2
            while (done := _ticks(ledger)) < wanted and time.monotonic() < end:
                row += 1
                for target in targets.values():
                    run_sql(target, f"INSERT INTO s VALUES ({row}, {row})")
                for node in made:
                    if node.until and time.monotonic() > node.until:
                        mend(node)
                    elif node.ended_without_ledger:  # cut off as it began: as systemd does
                        node.start()
                well = [node for node in made if not node.until]
                if done and len(well) > 1 and chance.random() < 0.25:
                    harm(chance.choice(well), ledger, chance, found)
                time.sleep(0.3)
            for node in made:
                if node.until:
                    mend(node)
                elif node.ended_without_ledger:
                    node.start()
            _settle(targets, ledger, found)
            for node in made:
                assert node.process is not None
                if node.process.poll() is not None:
                    found.problems.append(f"{node.name} ended by itself ({node.process.returncode}): {node.said}")
        _judge(targets, ledger, found, row)
        _show_the_judges(targets, found)
    return found


def _prepare(targets: dict[str, str], ledger: str) -> None:
    for target in targets.values():
        adapter = connect("app", Database.model_validate({"url": target}))
        adapter.raise_fence("judge")  # it makes the tables that the judge's trigger looks at
        adapter.close()
        run_sql(target, *(f"CREATE TABLE {name} (id integer PRIMARY KEY, n integer)" for name in "st"))
        run_sql(target, JUDGE.format(**IN_TARGET))
    Ledger(ledger).close()
    run_sql(ledger, JUDGE.format(**IN_LEDGER))


def _ticks(ledger: str) -> int:
    """Ticks that every projection has had at least."""
    rows = run_sql(ledger, "SELECT count(tick) FROM trueup_requests GROUP BY projection")
    return min((int(row[0]) for row in rows), default=0) if len(rows) == len(NAMES) else 0


def _settle(targets: dict[str, str], ledger: str, found: Found) -> None:
    """Faults have ended: within a few ticks everything is right, and nothing is left lying about."""
    end = time.monotonic() + SETTLED_S
    while time.monotonic() < end:
        wrong = [name for name, target in targets.items() if run_sql(target, _WRONG) != [(0,)]]
        if not wrong and run_sql(ledger, _OPEN) == [(0,)]:  # a row is right before the ledger knows that it is
            return
        time.sleep(0.5)
    found.problems.append(f"{SETTLED_S} s after the last fault {wrong} are still wrong, or units are open")
    found.problems += [
        f"{what}: {' '.join(map(str, row))}" for what, asked in _LEFT.items() for row in run_sql(ledger, asked)
    ]


#: What is told of a campaign that did not come to rest.
_LEFT = {
    "open unit": "SELECT u.id, u.run, u.opened_at, r.projection, r.state, r.reason FROM trueup_units u "
    "JOIN trueup_runs r ON r.id = u.run WHERE u.closed_at IS NULL",
    "request": "SELECT projection, state, node, attempts, requested_at, begun_at, ended_at, answer "
    "FROM trueup_requests WHERE state <> 'skipped' ORDER BY requested_at DESC LIMIT 20",
    "lease": "SELECT name, holder, expires_at, expires_at > clock_timestamp() FROM trueup_leases",
    "control": "SELECT * FROM trueup_controls",
    "session": "SELECT application_name, state, wait_event, now() - state_change, query FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND application_name <> ''",
}
_OPEN = "SELECT count(*) FROM trueup_units WHERE closed_at IS NULL"
_WRONG = "SELECT count(*) FROM s FULL JOIN t USING (id) WHERE s.n IS DISTINCT FROM t.n"


def _judge(targets: dict[str, str], ledger: str, found: Found, rows: int) -> None:
    for name, target in {**targets, "ledger": ledger}.items():
        overlaps = run_sql(target, "SELECT node, what FROM violations")
        found.overlaps += len(overlaps)
        found.judged[name] = int(run_sql(target, "SELECT count(*) FROM judge")[0][0])
        found.problems += [f"{name}: {node} wrote into another's time: {what}" for node, what in overlaps[:2]]
    for name in NAMES:
        moments = [
            at
            for (at,) in run_sql(
                ledger,
                f"SELECT tick FROM trueup_requests WHERE projection = '{name}' AND tick IS NOT NULL ORDER BY tick",
            )
        ]
        found.ticks += len(moments)
        first, last = moments[0].timestamp(), moments[-1].timestamp()
        expected = round((last - first) / PERIOD_S) + 1
        if len(moments) != expected or len(set(moments)) != len(moments):
            found.problems.append(f"{name}: {len(moments)} ticks instead of {expected}")
        applied = run_sql(
            ledger,
            "SELECT o.key, count(*) FROM trueup_outcomes o JOIN trueup_runs r ON r.id = o.run "
            f"WHERE r.projection = '{name}' AND o.outcome = 'applied' GROUP BY o.key HAVING count(*) > 1",
        )
        if applied:
            found.problems.append(f"{name}: repaired more than once: {applied[:3]}")
        (count,) = run_sql(
            ledger,
            "SELECT count(*) FROM trueup_outcomes o JOIN trueup_runs r ON r.id = o.run "
            f"WHERE r.projection = '{name}' AND o.outcome IN ('applied', 'converged')",
        )
        found.rows += int(count[0])
        if count[0] != rows:
            found.problems.append(f"{name}: {rows} rows were broken, and {count[0]} are said to have been repaired")
    for state, count in run_sql(ledger, "SELECT state, count(*) FROM trueup_requests GROUP BY state"):
        found.states[state] = int(count)
    failed = run_sql(ledger, "SELECT answer, count(*) FROM trueup_requests WHERE state = 'failed' GROUP BY answer")
    found.problems += [f"given up: {answer}" for answer, _ in failed if "given up" in answer]
    open_ = run_sql(ledger, _OPEN)
    if open_ != [(0,)]:
        found.problems.append(f"{open_[0][0]} repair transactions of unknown outcome")
    gap = run_sql(
        ledger,
        "SELECT max(extract(epoch FROM begun_at - greatest(not_before, requested_at))) FROM trueup_requests "
        "WHERE attempts > 1",
    )
    found.taken_over_s = float(gap[0][0] or 0)


def _show_the_judges(targets: dict[str, str], found: Found) -> None:
    """The control: a second node under the token that another has written under is seen."""
    for name, target in targets.items():
        before = run_sql(target, "SELECT count(*) FROM violations")
        for n in (100, 101):
            marker = f"INSERT INTO trueup_applied (unit, closed, images) VALUES ('control-{n}', false, '[]')"
            run_sql(_judged(target, n), marker)
        if run_sql(target, "SELECT count(*) FROM violations") == before:
            found.problems.append(f"{name}: the judge saw nothing where two nodes wrote under one token")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ticks", type=int, default=2000)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--unfenced", action="store_true")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    module = "tests.campaign.unfenced" if asked.unfenced else "trueup"
    found = campaign(ticks=asked.ticks, count=asked.nodes, seed=asked.seed, module=module)
    print(found)
    print(json.dumps(found.problems, indent=1))
    return int(not found.overlaps) if asked.unfenced else int(bool(found.problems))


if __name__ == "__main__":
    sys.exit(main())
