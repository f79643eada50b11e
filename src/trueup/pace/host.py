"""How the machine is doing, where the database runs on it: as the kernel counts it (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from trueup.core.pace.pressure import Mark

#: What waits for a core or has one, a core, besides ours.
RUNNABLE = "runnable a core"
#: Shares of the time in which somebody, or everybody, stood still for want of something.
MARKS = {
    "waits for disk": Mark(idle=0.05, soft=0.3, hard=0.7),
    "waits for memory": Mark(idle=0.01, soft=0.05, hard=0.2),
    RUNNABLE: Mark(idle=1.0, soft=3.0, hard=8.0),
}
_FILES = {"waits for disk": ("io", "some"), "waits for memory": ("memory", "full")}
#: Fields of a row of `/proc/stat` in which a core had nothing to do: idle, and waiting for a disk.
_IDLE = (3, 4)
#: Fields that count; those after them, guests, are within the first.
_COUNTED = 8


def _mine() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores() -> int:
    """Those that this process may use."""
    return len(_mine())


@dataclass(frozen=True, kw_only=True, slots=True)
class Processors:
    """What was done since the look before by the cores that this process may use, together."""

    #: Cores in use, on average; time that the machine's own host took counts as used.
    busy: float
    passed_s: float
    #: Processes of the whole machine that run or wait for a core, at this moment.
    runnable: float


class Host:
    """Looks at it; each look tells of the time since the one before."""

    def __init__(self, folder: Path = Path("/proc")) -> None:
        self._folder = folder
        self._before: dict[str, tuple[float, float]] = {}

    def look(self, now: float) -> dict[str, float | None]:
        """Shares by signal; None: not available, or the first look. `now`: seconds, of any clock that does not jump."""
        return {signal: self._share(signal, now) for signal in _FILES}

    def processors(self, now: float) -> Processors | None:
        """How busy they were; None: not available, or the first look."""
        names = {f"cpu{number}" for number in _mine()}
        try:
            rows = [row.split() for row in (self._folder / "stat").read_text().splitlines()]
            ours = [[int(ticks) for ticks in row[1:]][:_COUNTED] for row in rows if row and row[0] in names]
            runnable = next(float(row[1]) for row in rows if row and row[0] == "procs_running")
        except (OSError, ValueError, IndexError, StopIteration):
            return None
        busy_s = sum(sum(ticks) - sum(ticks[at] for at in _IDLE) for ticks in ours) / os.sysconf("SC_CLK_TCK")
        before, self._before["busy"] = self._before.get("busy"), (now, busy_s)
        if before is None or now <= before[0]:
            return None
        passed_s = now - before[0]
        return Processors(busy=max(busy_s - before[1], 0.0) / passed_s, passed_s=passed_s, runnable=runnable)

    def _share(self, signal: str, now: float) -> float | None:
        name, line = _FILES[signal]
        try:
            text = (self._folder / "pressure" / name).read_text()
        except OSError:
            return None
        totals = [row.rpartition("total=")[2] for row in text.splitlines() if row.startswith(line)]
        if not totals or not totals[0].isdigit():
            return None
        stood_s = int(totals[0]) / 1e6
        before, self._before[signal] = self._before.get(signal), (now, stood_s)
        if before is None or now <= before[0]:
            return None
        return min(max((stood_s - before[1]) / (now - before[0]), 0.0), 1.0)
