"""How the machine is doing, where the database runs on it: as the kernel counts it (Linux).

In a container with a limit on its cores the machine is what the container may use of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from trueup.core.pace.pressure import Mark
from trueup.pace.quota import GROUPS, Quota, Used

#: What waits for a core or has one, a core, besides ours.
RUNNABLE = "runnable a core"
#: Share of the periods in which a container had used up what it may of its cores.
HELD_BACK = "held back by its limit"
#: Shares of the time in which somebody, or everybody, stood still for want of something.
MARKS = {
    "waits for disk": Mark(idle=0.05, soft=0.3, hard=0.7),
    "waits for memory": Mark(idle=0.01, soft=0.05, hard=0.2),
    RUNNABLE: Mark(idle=1.5, soft=5.0, hard=12.0),
    HELD_BACK: Mark(idle=0.1, soft=0.5, hard=0.9),
}
_FILES = {"waits for disk": ("io", "some"), "waits for memory": ("memory", "full")}
#: Fields of a row of `/proc/stat` in which a core had nothing to do: idle, and waiting for a disk.
_IDLE = (3, 4)
#: Fields that count; those after them, guests, are within the first.
_COUNTED = 8


def _mine() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores(quota: Quota | None = None) -> int:
    """Those that this process may use, whole ones."""
    limit = (quota or Quota()).cores()
    return len(_mine()) if limit is None else max(min(len(_mine()), int(limit)), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Processors:
    """What was done since the look before by the cores that this process may use, together."""

    #: Cores in use, on average. What somebody else took of them counts as used: the machine's own host, or a limit.
    busy: float
    passed_s: float
    #: Processes that run or wait for a core, at this moment: these cores' part of those of the whole machine. In a
    #: container with a limit, how many ran on average, and one more for the periods in which it was held back.
    runnable: float


def _text(path: str) -> str:
    """A file of the kernel's, read as often as several times a second: a third of what a file object costs."""
    file = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(file, 65_536):
            parts.append(part)
    finally:
        os.close(file)
    return b"".join(parts).decode()


class Host:
    """Looks at it; each look tells of the time since the one before."""

    def __init__(self, folder: Path = Path("/proc"), groups: Path = GROUPS) -> None:
        self._folder, self._groups = folder, groups
        self._quota = Quota(groups)
        #: Cores that a container may use; None: there is no limit that matters.
        limit = self._quota.cores()
        self._limit = None if limit is None or limit >= len(_mine()) else limit
        self._stat = str(folder / "stat")
        self._pressures = {name: self._pressure(name) for name, _ in _FILES.values()}
        self._before: dict[str, tuple[float, float]] = {}
        self._used: tuple[float, Used] | None = None
        self._held_back: float | None = None

    def look(self, now: float) -> dict[str, float | None]:
        """Shares by signal; None: not available, or the first look. `now`: seconds, of any clock that does not jump."""
        return {HELD_BACK: self._held_back, **{signal: self._share(signal, now) for signal in _FILES}}

    def processors(self, now: float) -> Processors | None:
        """How busy they were; None: not available, or the first look."""
        machine = self._of_machine(now)
        return machine if self._limit is None else self._of_container(now, self._limit, machine)

    def _of_container(self, now: float, limit: float, machine: Processors | None) -> Processors | None:
        """What is free is free of the limit, and of the machine, which others use as well."""
        used, before = self._quota.used(), self._used
        self._used = None if used is None else (now, used)
        self._held_back = None
        if used is None or before is None or now <= before[0]:
            return None
        passed_s, periods = now - before[0], used.periods - before[1].periods
        # Periods are only counted in which something ran.
        self._held_back = (used.held_back - before[1].held_back) / periods if periods > 0 else 0.0
        ran = max(used.busy_s - before[1].busy_s, 0.0) / passed_s
        all_ = cores(self._quota)
        free = min(limit, all_) - ran
        if machine is not None:
            free = min(free, len(_mine()) - machine.busy)
        return Processors(busy=max(all_ - free, 0.0), passed_s=passed_s, runnable=ran + self._held_back)

    def _of_machine(self, now: float) -> Processors | None:
        names = {f"cpu{number}" for number in _mine()}
        try:
            rows = [row.split() for row in _text(self._stat).splitlines() if row]
            every = [row for row in rows if row[0].startswith("cpu") and row[0] != "cpu"]
            ours = [[int(ticks) for ticks in row[1:]][:_COUNTED] for row in every if row[0] in names]
            runnable = next(float(row[1]) for row in rows if row[0] == "procs_running") * len(ours) / len(every)
        except (OSError, ValueError, IndexError, StopIteration, ZeroDivisionError):
            return None
        busy_s = sum(sum(ticks) - sum(ticks[at] for at in _IDLE) for ticks in ours) / os.sysconf("SC_CLK_TCK")
        before, self._before["busy"] = self._before.get("busy"), (now, busy_s)
        if before is None or now <= before[0]:
            return None
        passed_s = now - before[0]
        return Processors(busy=max(busy_s - before[1], 0.0) / passed_s, passed_s=passed_s, runnable=runnable)

    def _pressure(self, name: str) -> str:
        """The file that tells of it: a container's own, where there is one."""
        own = self._groups / f"{name}.pressure"
        return str(own if self._limit is not None and own.exists() else self._folder / "pressure" / name)

    def _share(self, signal: str, now: float) -> float | None:
        name, line = _FILES[signal]
        try:
            text = _text(self._pressures[name])
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
