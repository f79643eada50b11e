"""How much background work slows the foreground, and what each way of holding back gets done meanwhile.

    python bench/pacing.py --json pacing.json                 # all of it, forty minutes and the patience
    python bench/pacing.py --part frontier --json pacing.json # one part; the file keeps the others
    python bench/pacing.py --show pacing.json                 # the tables, and each aim with whether it is held

The foreground is pgbench with an open loop (`-R`: latency counts from when a transaction was due), eight parts
select-only and two parts simple-update, at shares of what it can do alone on this machine. The background compares two
tables of three million rows in the same server, in a process of its own.

    frontier    fixed loads U x statement times T: what is possible at each load of the foreground
    governor    the product as it is by default (protect 10 %), between two looks at the foreground alone
    baselines   what other tools do
    burst       a second pgbench joins for a while
    stop        runs are stopped and paused from another process, in the middle of a statement and of a rest
    shared      two processes of two projections have one budget; the one that decides is killed
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import fmean, median
from typing import Any

from _common import LOCAL, scratch_database
from _pacing_aims import least_in, reversals
from _pacing_aims import show as show_aims
from _pacing_rules import RULES
from _pacing_shared import shared
from _pacing_shared import show as show_shared
from _pacing_stops import show as show_stops
from _pacing_stops import stops
from _pgbench import ROWS, fill, latencies, pgbench, quantiles, usual_part
from _stolen import MOST, PATIENCE_S, Patience

SHARES = (0.1, 0.2, 0.5, 0.8)
LOADS_U = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)
#: Seconds: of a cell, of which the first do not count; of a governor's; of a burst.
CELL_S, WARM_S, GOVERNOR_S, STEADY_FROM_S = 12, 2, 95, 30
#: Seconds of a cell that count: the last one does not, nor do the first.
COUNTED_S = CELL_S - 1 - WARM_S
#: The product as it is by default.
PACE = {"protect": 0.1}
#: What is kept of a governor's trace.
TRACED = ("u", "mode", "reason", "slowed", "rows", "pressure", "signal", "ceiling", "base_ms", "readings", "latency_ms")


class Bench:
    """One server with a foreground and a background."""

    def __init__(
        self, url: str, folder: Path, shares: Sequence[float] = SHARES, patience: Patience | None = None
    ) -> None:
        """`shares`: of what the foreground can do alone, at which it is looked at."""
        self.url, self.folder, self.shares = url, folder, shares
        self.patience = patience or Patience()
        self.max_tps = 0.0
        self.workers = 0

    def calibrate(self) -> None:
        began = time.time()
        pgbench(self.url, 10, self.folder, "max", None).wait()
        done = [at for at, _ in latencies(self.folder, "max") if began + 3 <= at < began + 9]
        self.max_tps = len(done) / 6

    def cell(
        self,
        share: float,
        seconds: float,
        kind: str = "",
        pace: dict[str, Any] | None = None,
        burst: tuple[float, float] | None = None,
    ) -> dict[str, Any]:
        """Foreground at a share of what it can do, beside a kind of background (none: alone)."""
        return self.patience.undisturbed(lambda: self._cell(share, seconds, kind, pace, burst))

    def _cell(
        self,
        share: float,
        seconds: float,
        kind: str,
        pace: dict[str, Any] | None,
        burst: tuple[float, float] | None,
    ) -> dict[str, Any]:
        trace: list[dict[str, Any]] = []
        worker = self.background(kind, pace, trace) if kind else None
        began = time.time()
        joining = None if burst is None else self._joins(began, *burst)
        pgbench(self.url, seconds, self.folder, "fg", self.max_tps * share).wait()
        if joining is not None:
            joining.join()
        if worker is not None:
            worker.terminate()
            worker.wait()
        logged = sorted(latencies(self.folder, "fg") + latencies(self.folder, "more"))
        told = {"share": share, "kind": kind, "pace": pace, "began": began, "most_tps": self.max_tps}
        return told | {"logged": logged, "trace": list(trace)}

    def alone(self, share: float) -> dict[str, Any]:
        """How the foreground is without us."""
        return summary(self.cell(share, CELL_S), WARM_S, CELL_S)

    def background(
        self,
        kind: str,
        pace: dict[str, Any] | None,
        trace: list[dict[str, Any]],
        *,
        folder: Path | None = None,
        names: Sequence[str] = ("copy",),
    ) -> subprocess.Popen[str]:
        """A worker that is about to begin, or has begun; what it says comes into `trace`. `folder`: of its
        configuration and its ledger, which others may share; `names`: projections that it works on.
        """
        folder = folder or self.folder_of_a_worker()
        asked = {"url": self.url, "kind": kind, "pace": pace, "keys": ROWS, "folder": str(folder), "names": names}
        command = [sys.executable, str(Path(__file__).with_name("_pacing_loads.py")), json.dumps(asked)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        begun = threading.Event()

        def read() -> None:
            for line in worker.stdout or ():
                trace.append(json.loads(line))
                if trace[-1]["rows"] or "mode" in trace[-1]:
                    begun.set()

        threading.Thread(target=read, daemon=True).start()
        begun.wait(20)
        return worker

    @contextmanager
    def foreground(self, share: float) -> Iterator[None]:
        """Beside the block, for as long as it lasts; nobody asks how it felt."""
        running = pgbench(self.url, 600, self.folder, "beside", self.max_tps * share)
        try:
            yield
        finally:
            running.terminate()
            running.wait()
            for path in self.folder.glob("beside.*"):
                path.unlink()

    def folder_of_a_worker(self) -> Path:
        self.workers += 1
        folder = self.folder / f"worker{self.workers}"
        folder.mkdir()
        return folder

    def _joins(self, began: float, at_s: float, lasts_s: float) -> threading.Thread:
        """A second foreground, which comes later."""

        def join() -> None:
            time.sleep(max(began + at_s - time.time(), 0))
            pgbench(self.url, lasts_s, self.folder, "more", self.max_tps * 0.4).wait()

        thread = threading.Thread(target=join)
        thread.start()
        return thread


def rate(trace: list[dict[str, Any]], begin: float, end: float) -> float:
    """Rows a second between two moments."""
    points = [(line["at"], line["rows"]) for line in trace]
    inside = [point for point in points if begin <= point[0] <= end]
    if len(inside) < 2:
        return 0.0
    (at, rows), (until, more) = inside[0], inside[-1]
    return (more - rows) / (until - at)


def summary(cell: dict[str, Any], begin_s: float, end_s: float) -> dict[str, Any]:
    """What a part of a cell amounts to."""
    begin, end = cell["began"] + begin_s, cell["began"] + end_s
    lines = [line for line in cell["trace"] if begin <= line["at"] <= end]
    found: dict[str, Any] = {name: cell[name] for name in ("share", "kind", "most_tps", "stolen")}
    found |= quantiles(cell["logged"], begin, end)
    found["rows_per_s"] = rate(cell["trace"], begin, end)
    return found | of_governor([line for line in lines if "u" in line])


def of_governor(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """What a governor did and believed; nothing, where there was none."""
    slowed = [line["slowed"] for line in lines if line["slowed"] is not None]
    return {
        "u": fmean(line["u"] for line in lines) if lines else None,
        "believed": fmean(slowed) if slowed else None,
        "modes": sorted({line["mode"] for line in lines}),
        "reversals_per_min": reversals([(line["at"], line["u"]) for line in lines]),
    }


def promised(cell: dict[str, Any]) -> dict[str, Any]:
    """The least that was granted and spent in any minute, and what the sensor and the law cost meanwhile."""
    lines = [line for line in cell["trace"] if "granted_s" in line]
    granted, spent = ([(line["now"], line[name]) for line in lines] for name in ("granted_s", "spent_s"))
    passed_s = lines[-1]["now"] - lines[0]["now"]
    return {
        "least_s": least_in(granted),
        "least_spent_s": least_in(spent),
        "promised_s": 60 * max(line["floor"] for line in lines),
        "thread_share": (lines[-1]["thread_s"] - lines[0]["thread_s"]) / passed_s,
        "session_share": (lines[-1]["session_s"] - lines[0]["session_s"]) / passed_s or None,
    }


def fixed(u: float, statement_s: float) -> dict[str, Any]:
    return {"pace": {"adaptive": False, "fixed": u, "most": max(u, 0.05), "statement": statement_s}}


def frontier(bench: Bench) -> list[dict[str, Any]]:
    found = []
    for share in bench.shares:
        loads = [(u, 0.02) for u in LOADS_U]
        if share >= 0.5:  # how long a statement may be matters where few cores are free
            loads += [(0.05, 0.005), (0.35, 0.005), (0.35, 0.1)]
        cells = [(f"U={u} T={t * 1000:g}", "fixed", fixed(u, t)) for u, t in loads]
        alone, *rows = between_looks(bench, share, cells)
        found += [alone, *(row | {"u": u} for row, (u, _) in zip(rows, loads, strict=True))]
    return found


def between_looks(
    bench: Bench, share: float, cells: Sequence[tuple[str, str, dict[str, Any] | None]]
) -> list[dict[str, Any]]:
    """The foreground alone, then beside each of these: name, kind, settings. It is looked at alone before them, in
    their middle and after them, and the medians count: a machine changes, and so does what a share of it is.
    """
    bench.calibrate()
    looks, rows = [], []
    for at, (name, kind, pace) in enumerate(cells):
        if at in (0, len(cells) // 2):
            looks.append(bench.alone(share))
        rows.append(summary(bench.cell(share, CELL_S, kind, pace), WARM_S, CELL_S - 1) | {"kind": name})
    looks.append(bench.alone(share))
    return [usual(looks), *rows]


def usual(looks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of several looks at the foreground alone."""
    return looks[0] | {q: median(look[q] for look in looks) for q in ("p50", "p95", "p99", "stolen")}


def governor(bench: Bench) -> list[dict[str, Any]]:
    found = []
    for share in bench.shares:
        bench.calibrate()
        looks = [bench.alone(share), bench.alone(share)]
        cell = bench.cell(share, GOVERNOR_S, "governor", PACE)
        found.append(usual([*looks, bench.alone(share), bench.alone(share)]))
        logged = [(at - cell["began"], ms) for at, ms in cell["logged"]]
        steady = range(STEADY_FROM_S, GOVERNOR_S - COUNTED_S, COUNTED_S)
        row = summary(cell, STEADY_FROM_S, GOVERNOR_S - 1) | usual_part(logged, steady, COUNTED_S)
        row["ramp_p95"] = usual_part(logged, range(1, STEADY_FROM_S - 4), 5)["worst_p95"]
        cpu = [line["cpu_s"] for line in cell["trace"]]
        row["cpu_share"] = (cpu[-1] - cpu[0]) / GOVERNOR_S
        found.append(row | promised(cell) | {"trace": traced(cell)})
    return found


def baselines(bench: Bench) -> list[dict[str, Any]]:
    rules = [(kind, kind, None) for kind in RULES]
    return [row for share in bench.shares for row in between_looks(bench, share, rules)]


def burst(bench: Bench) -> list[dict[str, Any]]:
    """40 %, and 40 % more from 40 s to 65 s: alone, with the governor, and alone again."""
    bench.calibrate()
    told = [_joined_by_more(bench, kind) for kind in ("", "governor", "")]
    return [*(usual(looks) for looks in zip(told[0], told[2], strict=True)), *told[1]]


def _joined_by_more(bench: Bench, kind: str) -> list[dict[str, Any]]:
    cell = bench.cell(0.4, 87, kind, PACE if kind else None, (40, 25))
    parts = [("before", 25, 39), ("burst, first 10 s", 40, 50), ("burst, then", 50, 64)]
    parts += [(f"{begin - 65} s after", begin, begin + 5) for begin in (66, 71, 76, 81)]
    found = [summary(cell, begin, end) | {"part": name} for name, begin, end in parts]
    found[-1] |= {"trace": traced(cell)} | (promised(cell) if kind else {})
    return found


def traced(cell: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {name: line.get(name) for name in TRACED} | {"at": round(line["at"] - cell["began"], 1)}
        for line in cell["trace"]
    ]


PARTS = {
    "frontier": frontier,
    "governor": governor,
    "baselines": baselines,
    "burst": burst,
    "stop": stops,
    "shared": shared,
}
#: Parts whose rows are what the foreground felt.
FELT = ("frontier", "governor", "baselines", "burst")


def show(told: dict[str, Any]) -> None:
    for part in FELT:
        if not (rows := told.get(part, [])):
            continue
        base: dict[Any, dict[str, Any]] = {}
        most = [row.get("most_tps", 0) for row in rows]  # older files tell it otherwise
        print(f"\n## {part} (at most {min(most):,.0f} to {max(most):,.0f} transactions a second)\n")
        print(
            "| load | background | u | rows/s | p50 | p95 | p99, ms | x p50 / p95 / p99 | believed | stolen | states |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for row in rows:
            about = (row["share"], row.get("part"))
            if not row["kind"]:
                base[about] = row
            alone = base.get(about, row)
            times = " / ".join(f"{row[q] / alone[q]:.2f}" if alone[q] else "-" for q in ("p50", "p95", "p99"))
            u = "" if row.get("u") is None else f"{row['u']:.2f}"
            believed = "" if row.get("believed") is None else f"{1 + row['believed']:.2f}"
            name = " ".join(filter(None, [row["kind"] or "none", row.get("part")]))
            worst = f" (at most {row['worst_p95']:.2f})" if "worst_p95" in row else ""
            print(
                f"| {row['share']:.0%} | {name} | {u} | {row['rows_per_s']:,.0f} | {row['p50']:.2f} "
                f"| {row['p95']:.2f}{worst} | {row['p99']:.2f} | {times} | {believed} | {row.get('stolen', 0):.1%} "
                f"| {', '.join(row.get('modes', []))} |"
            )


def show_all(told: dict[str, Any]) -> None:
    show(told)
    for part, table in (("stop", show_stops), ("shared", show_shared)):
        if part in told:
            table(told[part])
    show_aims(told)


@contextmanager
def _in_memory() -> Iterator[str]:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.own_servers import own_postgresql

    with own_postgresql(fsync="on") as server:
        yield server.url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=LOCAL, help="a PostgreSQL server on this machine")
    parser.add_argument(
        "--memory", action="store_true", help="a server of its own, with its data in memory: where the disk has stalls"
    )
    parser.add_argument("--part", choices=[*PARTS], help="only this part")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="loads of the foreground (%(default)s)")
    parser.add_argument("--json", type=Path, default=Path("pacing.json"), help="figures; other parts in it are kept")
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE_S,
        help=f"seconds for measuring again where the host took more than {MOST:.1%}% meanwhile (%(default)s)",
    )
    parser.add_argument("--show", type=Path, help="print the tables of this file, and measure nothing")
    asked = parser.parse_args()
    if asked.show:
        show_all(json.loads(asked.show.read_text()))
        return
    told = json.loads(asked.json.read_text()) if asked.json.exists() else {}
    with (
        _in_memory() if asked.memory else nullcontext(asked.url) as server,
        scratch_database(server) as url,
        tempfile.TemporaryDirectory() as folder,
    ):
        fill(url)
        bench = Bench(url, Path(folder), asked.shares, Patience(asked.patience))
        bench.calibrate()
        for part in [asked.part] if asked.part else PARTS:
            told[part] = PARTS[part](bench)
            asked.json.write_text(json.dumps(told, indent=1))
    show_all(told)


if __name__ == "__main__":
    main()
