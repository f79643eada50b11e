"""What a container may use of the cores of its machine (Linux control groups).

`/proc/stat` tells of the whole machine, also to who lives in a container. The limits of the container itself are at the
root of the control groups that it sees; a machine's own root has none, and those of a single service concern that
service and not a database beside it, so they are not looked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True, slots=True)
class Used:
    """What a container did with its cores, since it began."""

    #: Core-seconds.
    busy_s: float
    #: Periods that it ran in, and those in which it used up what it may and had to stand still.
    periods: int
    held_back: int


class Quota:
    """Of this container, if it has one."""

    def __init__(self, groups: Path = GROUPS) -> None:
        self._groups = groups

    def cores(self) -> float | None:
        """How many cores it may use at a time, on average; None: there is no limit, or it is not told."""
        quota, period = "", ""
        try:
            quota, _, period = (self._groups / "cpu.max").read_text().partition(" ")
        except OSError:
            folder = self._groups / "cpu"
            try:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            except OSError:
                return None
        try:
            cores = int(quota) / int(period)
        except (ValueError, ZeroDivisionError):  # "max"
            return None
        return cores if cores > 0 else None

    def used(self) -> Used | None:
        """None: not told."""
        try:
            if (self._groups / "cpu.stat").exists():
                told = _told(self._groups / "cpu.stat")
                busy_s = told["usage_usec"] / 1e6
            else:
                told = _told(self._groups / "cpu" / "cpu.stat")
                busy_s = int((self._groups / "cpuacct" / "cpuacct.usage").read_text()) / 1e9
            return Used(busy_s=busy_s, periods=told["nr_periods"], held_back=told["nr_throttled"])
        except (OSError, ValueError, KeyError):
            return None


def _told(path: Path) -> dict[str, int]:
    return {name: int(value) for name, _, value in (row.partition(" ") for row in path.read_text().splitlines())}
