"""What is asked of the governor, and whether figures hold it: for `pacing.py` and `pacing_simulated.py`."""

from __future__ import annotations

from collections.abc import Sequence


def reversals(points: Sequence[tuple[float, float]]) -> float:
    """Turns of the load by a quarter of its mean or more, a minute; `points`: seconds, load."""
    if len(points) < 4:
        return 0.0
    us = [u for _, u in points]
    step, turns, way, mark = 0.25 * sum(us) / len(us), 0, 0, us[0]
    for u in us[1:]:
        if u > mark + step:
            turns, way, mark = turns + (way < 0), 1, u
        elif u < mark - step:
            turns, way, mark = turns + (way > 0), -1, u
        elif way > 0:
            mark = max(mark, u)
        elif way < 0:
            mark = min(mark, u)
    return turns * 60 / (points[-1][0] - points[0][0])
