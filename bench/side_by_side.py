"""Trueup beside reladiff, data-diff and datacompy: 5 million rows x 6 columns in two databases.

    python bench/side_by_side.py                                   # all of it, within 25 minutes
    python bench/side_by_side.py --rows 250000 --repeat 1          # a look in two minutes
    python bench/side_by_side.py --database side --tools trueup    # tables are kept for the next time

PostgreSQL to PostgreSQL and PostgreSQL to MariaDB; no difference, 10,000 in a row, 0.01 % and 1 % scattered. Each
tool is a process of its own, under an interpreter of its own (peers/environments.py makes it); tools take turns. Every
answer is held against what was planted: one that is wrong is shown as wrong. `floor` is two ordered binary COPYs and
cmp, which tell whether, not what. A tool's time is that of its process from start to end, imports and all, its bytecode
being there as after an installation; total CPU is the client's and the servers'. Within one database: post_likes.py.
"""

from __future__ import annotations

import argparse
import compileall
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from _common import (
    LOCAL_MARIADB,
    at_least,
    finish,
    machine,
    parser,
    say,
    scratch_database,
    table,
    time_limit,
    to_exit_code,
)
from _common import with_database as on_server
from peers import servers
from peers._told import answered
from peers.environments import FOLDER, PEERS, NotInstalledError, python_of
from peers.tables import CASES, COLUMNS, KEY, Planted, Target, make_source, mariadb, planted

import trueup

HERE = Path(__file__).parent / "peers"
#: Seconds that one process may take.
PROCESS_S = 900
#: Rounds of a tool in one case end before `--repeat` when they have taken this long, seconds.
ENOUGH_S = 80
PAIRS = ("postgresql", "mariadb")
#: Tool -> its script, the pairs it can do, and the cases measured unless `--everything`: peers are slow.
TOOLS: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, tuple[str, ...]]]] = {
    "floor": ("copy_floor.py", ("postgresql",), {"postgresql": ("none",)}),
    "trueup": ("trueup_diff.py", PAIRS, dict.fromkeys(PAIRS, CASES)),
    "reladiff": ("segments.py", PAIRS, {"postgresql": CASES, "mariadb": ("none", "0.01%")}),
    "data-diff": ("segments.py", PAIRS, {"postgresql": ("none",)}),
    "datacompy": ("datacompy_frames.py", ("postgresql",), {"postgresql": ("none", "1%")}),
}
#: The floor tells whether: it has no answer where something differs.
ALWAYS = {"floor": ("none",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One process."""

    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    peak_mb: float
    #: Empty: exactly what was planted. Else what is wrong with the answer.
    wrong: str

    @property
    def cpu_s(self) -> float:
        return self.client_cpu_s + self.server_cpu_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One tool in one case; medians of its rounds."""

    pair: str
    case: str
    tool: str
    rounds: list[Round] = field(default_factory=list)
    #: Why there is no round, or none more.
    problem: str = ""

    def median(self, figure: str) -> float:
        return statistics.median(getattr(one, figure) for one in self.rounds)

    @property
    def peak_mb(self) -> float:
        return max(one.peak_mb for one in self.rounds)

    @property
    def answer(self) -> str:
        return self.problem or next((one.wrong for one in self.rounds if one.wrong), "exact")


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """One ratio that is promised: Trueup's figure against another's, in one case."""

    pair: str
    case: str
    figure: str
    against: str
    at_most: float


def _goals(pair: str, against: str, figure: str, at_most: Mapping[str, float]) -> list[Goal]:
    return [Goal(pair=pair, case=c, figure=figure, against=against, at_most=most) for c, most in at_most.items()]


GOALS = [
    *_goals("postgresql", "reladiff", "cpu_s", {"none": 1 / 5, "0.01%": 1 / 9, "1%": 1 / 10, "dense": 1 / 4}),
    *_goals("postgresql", "reladiff", "wall_s", {"none": 1 / 6, "0.01%": 1 / 9, "1%": 1 / 12, "dense": 1 / 4}),
    *_goals("postgresql", "floor", "wall_s", {"none": 0.9}),
    *_goals("postgresql", "data-diff", "cpu_s", {"none": 1 / 6}),
    *_goals("postgresql", "datacompy", "cpu_s", {"none": 1 / 2, "1%": 1 / 2}),
    *_goals("postgresql", "datacompy", "peak_mb", {"none": 1 / 8, "1%": 1 / 8}),
    *_goals("mariadb", "reladiff", "wall_s", {"none": 1 / 3, "0.01%": 1 / 3}),
]
#: Most memory of Trueup's process, whatever the size, MB.
MEMORY_MAX_MB = 300


# --- one process -----------------------------------------------------------------------------------------------------


def measure(tool: str, python: Path, task: dict[str, Any], wanted: Planted, roots: Sequence[int]) -> Round | str:
    """Run one tool once; the reason where it gave no answer."""
    command = [str(python), str(HERE / TOOLS[tool][0]), json.dumps(task)]
    servers_before, client_before, began = servers.cpu_s(roots), _children_cpu_s(), time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {PROCESS_S} s"
    wall_s = time.perf_counter() - began
    client_cpu_s, server_cpu_s = _children_cpu_s() - client_before, servers.cpu_s(roots) - servers_before
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return f"failed: {lines[-1][:160] if lines else done.returncode}"
    listed, peak_mb = answered(done.stdout)
    return Round(
        wall_s=wall_s,
        client_cpu_s=client_cpu_s,
        server_cpu_s=server_cpu_s,
        peak_mb=peak_mb,
        wrong=judged(dict(listed), wanted, len(listed)),
    )


def as_installed() -> None:
    """Compile Trueup, as installing it does: peers are installed, and a process need not be one that keeps bytecode."""
    compileall.compile_dir(Path(trueup.__file__).parent, quiet=1)


def _children_cpu_s() -> float:
    """CPU time of the processes that were waited for, and of those that these waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def judged(found: Mapping[str, str], wanted: Mapping[str, str], listed: int) -> str:
    """Empty if exactly what was planted was found."""
    lost = [key for key, kind in wanted.items() if found.get(key) != kind]
    made_up = [key for key in found if key not in wanted]
    if not lost and not made_up and listed == len(wanted):
        return ""
    return f"WRONG: {len(lost)} lost, {len(made_up)} made up, {listed - len(found)} told twice"


# --- all of it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What is measured, on what."""

    rows: int
    repeat: int
    seed: int
    threads: int
    source: str
    #: Pair -> its target.
    targets: Mapping[str, Target]
    #: Pair -> process ids of its servers.
    roots: Mapping[str, Sequence[int]]
    #: Tool -> interpreter, or why it is not there.
    pythons: Mapping[str, Path | str]
    everything: bool

    def lines(self, pairs: Sequence[str], cases: Sequence[str], lines: list[Line]) -> None:
        """Measure; `lines` holds what is done, also when it ends early."""
        for pair in pairs:
            for case in cases:
                tools = [tool for tool in self.pythons if self._wanted(tool, pair, case)]
                if tools:
                    self.targets[pair].plant(case, self.rows, self.seed)
                    self._case(pair, case, tools, lines)

    def _wanted(self, tool: str, pair: str, case: str) -> bool:
        _, able, usual = TOOLS[tool]
        if self.everything:
            return pair in able and case in ALWAYS.get(tool, CASES)
        return case in usual.get(pair, ())

    def _case(self, pair: str, case: str, tools: Sequence[str], lines: list[Line]) -> None:
        wanted = planted(case, self.rows, self.seed)
        here = {tool: Line(pair=pair, case=case, tool=tool) for tool in tools}
        lines += here.values()
        ended: set[str] = set()
        for number in range(self.repeat):
            for tool in tools:
                if tool in ended or sum(one.wall_s for one in here[tool].rounds) > ENOUGH_S:
                    continue
                say(f"{pair}, {case}: {tool}, round {number + 1} of {self.repeat}")
                python = self.pythons[tool]
                got = python if isinstance(python, str) else self._measure(tool, python, pair, wanted)
                if isinstance(got, Round):
                    here[tool].rounds.append(got)
                    continue
                ended.add(tool)
                lines[lines.index(here[tool])] = Line(
                    pair=pair, case=case, tool=tool, rounds=here[tool].rounds, problem=got
                )

    def _measure(self, tool: str, python: Path, pair: str, wanted: Planted) -> Round | str:
        task = {
            "module": tool.replace("-", "_"),
            "source": self.source,
            "target": self.targets[pair].url,
            "source_table": "t",
            "target_table": "t",
            "key": KEY,
            "columns": COLUMNS,
            "threads": self.threads,
            "skip_sort_results": tool == "reladiff",  # sorting fails where a NULL differs
            "statement_timeout_s": PROCESS_S,
        }
        return measure(tool, python, task, wanted, self.roots[pair])


@contextmanager
def databases(args: argparse.Namespace, pairs: Sequence[str]) -> Iterator[dict[str, str]]:
    """URLs of `source`, and of a target for each pair; made, and dropped unless `--database` names them."""
    with ExitStack() as after:
        urls = {}
        for role in ("source", "postgresql"):
            if role == "source" or role in pairs:
                urls[role] = (
                    _kept(args.url, f"{args.database}_{role}")
                    if args.database
                    else after.enter_context(scratch_database(args.url, suffix=f"_{role}"))
                )
        if "mariadb" in pairs:
            name = f"{args.database or 'trueup_bench_' + urls['source'].rpartition('/')[2].split('_')[2]}_mariadb"
            urls["mariadb"] = args.mariadb.rstrip("/") + f"/{name}"
            with closing(mariadb(args.mariadb)) as connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE IF NOT EXISTS `{name}`")
            if not args.database:
                after.callback(_drop_mariadb, args.mariadb, name)
        yield urls


def _kept(server: str, name: str) -> str:
    with psycopg.connect(server, autocommit=True) as admin:
        if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.encode())
    return on_server(server, name)


def _drop_mariadb(server: str, name: str) -> None:
    with closing(mariadb(server)) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")


def pythons(tools: Sequence[str], folder: Path) -> dict[str, Path | str]:
    """The interpreter of each tool, or why there is none."""
    found: dict[str, Path | str] = {}
    for tool in tools:
        try:
            found[tool] = python_of(tool, folder) if tool in PEERS else Path(sys.executable)
        except NotInstalledError as problem:
            found[tool] = f"not installed: {problem}"
    return found


# --- telling ---------------------------------------------------------------------------------------------------------


def told(lines: Sequence[Line]) -> str:
    headers = ["target", "differ", "tool", "rounds", "wall, s", "client CPU, s", "servers' CPU, s", "total CPU, s"]
    rows: list[list[object]] = []
    for x in lines:
        figures: list[object] = ["", "", "", "", ""]
        if x.rounds:
            names = ("wall_s", "client_cpu_s", "server_cpu_s", "cpu_s")
            figures = [*(round(x.median(name), 2) for name in names), round(x.peak_mb)]
        rows.append([x.pair, x.case, x.tool, len(x.rounds), *figures, x.answer])
    return table([*headers, "peak memory, MB", "answer"], rows)


def ratios(lines: Sequence[Line]) -> tuple[list[list[object]], int]:
    """Each goal with what was measured; how many are missed."""
    by = {(x.pair, x.case, x.tool): x for x in lines if x.rounds and x.answer == "exact"}
    rows: list[list[object]] = []
    missed = 0
    for goal in GOALS:
        ours, theirs = (by.get((goal.pair, goal.case, tool)) for tool in ("trueup", goal.against))
        about: list[object] = [goal.pair, goal.case, goal.figure, goal.against, round(goal.at_most, 3)]
        if ours is None or theirs is None:
            rows.append([*about, "", "not measured"])
            continue
        a, b = (x.peak_mb if goal.figure == "peak_mb" else x.median(goal.figure) for x in (ours, theirs))
        missed += a > goal.at_most * b
        rows.append([*about, round(a / b, 3), "missed" if a > goal.at_most * b else "held"])
    for x in by.values():
        if x.tool == "trueup":
            missed += x.peak_mb >= MEMORY_MAX_MB
            verdict = "missed" if x.peak_mb >= MEMORY_MAX_MB else "held"
            rows.append([x.pair, x.case, "peak_mb", "(MB)", MEMORY_MAX_MB, round(x.peak_mb), verdict])
    return rows, missed


def _arguments() -> argparse.Namespace:
    made = parser(__doc__, minutes=25)
    made.add_argument("--mariadb", default=LOCAL_MARIADB, help="a local MariaDB server (default: %(default)s)")
    made.add_argument("--rows", type=at_least(1_000), default=5_000_000, help="a side (default: %(default)s)")
    made.add_argument(
        "--repeat", type=at_least(1), default=3, help="rounds; slow tools get fewer (default: %(default)s)"
    )
    made.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS, help="kinds of target")
    made.add_argument("--cases", nargs="+", choices=CASES, default=CASES, help="what differs")
    made.add_argument("--tools", nargs="+", choices=TOOLS, default=tuple(TOOLS), help="who compares")
    made.add_argument("--threads", type=at_least(1), default=4, help="of reladiff and data-diff (default: %(default)s)")
    made.add_argument("--everything", action="store_true", help="all peers in all cases: about an hour")
    made.add_argument(
        "--database", metavar="NAME", help="keep the tables in NAME_source, NAME_postgresql, NAME_mariadb"
    )
    made.add_argument("--peers", type=Path, default=FOLDER, help="where peers are installed (default: %(default)s)")
    made.add_argument("--strict", action="store_true", help="a missed target is a failure")
    return made.parse_args()


def main() -> int:
    args = _arguments()
    about, lines, problems = machine(args.url), list[Line](), list[str]()
    as_installed()
    found = pythons(args.tools, args.peers)
    try:
        with time_limit(args.minutes), databases(args, args.pairs) as urls:
            make_source(urls["source"], args.rows)
            roots = {"postgresql": [servers.postgres_pid(args.url)]}
            if "mariadb" in args.pairs:
                with closing(mariadb(args.mariadb)) as connection:
                    roots["mariadb"] = [*roots["postgresql"], servers.mariadb_pid(connection)]
            bench = Bench(
                rows=args.rows,
                repeat=args.repeat,
                seed=args.seed,
                threads=args.threads,
                source=urls["source"],
                targets={p: Target(engine=p, source=urls["source"], url=urls[p]) for p in args.pairs},
                roots=roots,
                pythons=found,
                everything=args.everything,
            )
            bench.lines(args.pairs, args.cases, lines)
    except TimeoutError as problem:
        problems.append(f"{problem}: the table below is not complete")
    goals, missed = ratios(lines)
    print(f"PostgreSQL source, {args.rows:,} rows x 6 columns; medians of the rounds, memory the worst of them\n")
    print(told(lines))
    print(f"\n{table(['target', 'differ', 'trueup', 'against', 'at most', 'measured', 'promise'], goals)}")
    for name in args.tools:
        if name in PEERS:
            print(
                f"\n{name}: {', '.join(PEERS[name].requirements)}{'; ' if PEERS[name].note else ''}{PEERS[name].note}"
            )
    problems += [f"{x.pair}, {x.case}: trueup: {x.answer}" for x in lines if x.tool == "trueup" and x.answer != "exact"]
    if missed and args.strict:
        problems.append(f"{missed} targets are missed")
    figures = {"benchmark": "side_by_side", "machine": about, "lines": [asdict(x) for x in lines], "goals": goals}
    return finish(args, figures, problems)


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
