"""How the machine is doing, where the database runs on it: pressure as the kernel counts it."""

from __future__ import annotations

import os
from pathlib import Path

from trueup.core.pace.pressure import Mark

#: Shares of the time in which somebody, or everybody, stood still for want of something.
MARKS = {
    "waits for disk": Mark(idle=0.05, soft=0.3, hard=0.7),
    "waits for memory": Mark(idle=0.01, soft=0.05, hard=0.2),
}
_FILES = {"waits for disk": ("io", "some"), "waits for memory": ("memory", "full")}


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Host:
    """Looks at it; each look tells of the time since the one before."""

    def __init__(self, folder: Path = Path("/proc/pressure")) -> None:
        self._folder = folder
        self._before: dict[str, tuple[float, float]] = {}

    def look(self, now: float) -> dict[str, float | None]:
        """Shares by signal; None: not available, or the first look. `now`: seconds, of any clock that does not jump."""
        return {signal: self._share(signal, now) for signal in _FILES}

    def _share(self, signal: str, now: float) -> float | None:
        name, line = _FILES[signal]
        try:
            text = (self._folder / name).read_text()
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
