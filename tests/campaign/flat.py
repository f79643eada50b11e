"""Series of samples, and whether they grow: what a soak is judged by.

A series grows if both say so, by more than its bound: the slope of Theil and Sen over what was watched, which a few
outliers do not turn, and the median of its last fifth against that of its second. The first fifth is warm-up and is not
looked at. A fault leaves a spike, which moves neither; a leak moves both.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

#: Fewer samples after the warm-up show no trend.
SAMPLES_MIN = 20
#: Points that slopes are taken between: medians of equal parts of the series.
POINTS = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """Most that a series may grow by while it is watched: a share of its level, and at least so much."""

    share: float
    least: float
    why: str

    def of(self, level: float) -> float:
        return max(self.share * level, self.least)


#: Name of a series, as a pattern -> its bound; the first that fits holds.
BOUNDS: tuple[tuple[str, Bound], ...] = (
    (
        r"^rss ",
        Bound(share=0.08, least=12.0, why="MB; allocators settle late, and a storm of events needs a few MB at a time"),
    ),
    (r"^files ", Bound(share=0.1, least=6.0, why="pools fill up by use; one leaked a minute is beyond it")),
    (r"^threads ", Bound(share=0.1, least=4.0, why="pools of threads fill up by use")),
    (r"^connections ", Bound(share=0.2, least=6.0, why="pools fill up by use; a restart makes them anew")),
    (r"^size ", Bound(share=0.3, least=8.0, why="MB on disk: what was deleted is used again only after a vacuum")),
    (r"^queue", Bound(share=0.0, least=5.0, why="requests that wait: a few more where a fault goes on at the end")),
    (r"^redis", Bound(share=0.3, least=150.0, why="keys; markers are kept as long as their runs")),
    (
        r"^rows ",
        Bound(share=0.3, least=150.0, why="as many as runs end within `keep`, which faults make fewer or more"),
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """How one series went."""

    name: str
    #: Medians of its second and of its last fifth, and the slope over all that was watched.
    early: float
    late: float
    drift: float
    bound: float
    #: The greatest value after the warm-up.
    most: float

    @property
    def grows(self) -> bool:
        return self.drift > self.bound and self.late - self.early > self.bound

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.early:,.0f} -> {self.late:,.0f} (slope {self.drift:+,.1f}, bound {self.bound:,.1f}, "
            f"most {self.most:,.0f}){' GROWS' if self.grows else ''}"
        )


@dataclass(kw_only=True)
class Series:
    """Samples of many things, each with its moment."""

    of: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, at: float, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.of.setdefault(name, []).append((at, value))

    def trends(self, begun: float, ended: float) -> list[Trend]:
        """Of all series that are long enough."""
        fifth = (ended - begun) / 5
        found = []
        for name, points in sorted(self.of.items()):
            watched = [(at, value) for at, value in points if at >= begun + fifth]
            early = [value for at, value in watched if at < begun + 2 * fifth]
            late = [value for at, value in watched if at >= ended - fifth]
            if len(watched) >= SAMPLES_MIN and early and late:
                drift = slope(_thinned(watched)) * (watched[-1][0] - watched[0][0])
                found.append(_trend(name, statistics.median(early), statistics.median(late), drift, watched))
        return found


def _trend(name: str, early: float, late: float, drift: float, watched: Sequence[tuple[float, float]]) -> Trend:
    bound = next(bound for pattern, bound in BOUNDS if re.search(pattern, name))
    most = max(value for _, value in watched)
    return Trend(name=name, early=early, late=late, drift=drift, bound=bound.of(early), most=most)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of Theil and Sen: the median of the slopes between all pairs."""
    return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2) if b[0] > a[0])


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Medians of equal parts: all pairs of a thousand points are too many."""
    each = max(1, len(points) // POINTS)
    parts = [points[at : at + each] for at in range(0, len(points), each)]
    return [(part[len(part) // 2][0], statistics.median(value for _, value in part)) for part in parts]


def process(pid: int) -> dict[str, float]:
    """Memory in MB, open files and threads of a process; empty if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return {}
    told = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "VmRSS" not in told:  # a zombie has none
        return {}
    return {"rss": int(told["VmRSS"].split()[0]) / 1024, "files": float(files), "threads": float(told["Threads"])}
