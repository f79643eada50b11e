"""Keys to cut a table at, found by walking an index."""

from __future__ import annotations

from collections.abc import Callable

from trueup.core.plan import Range
from trueup.core.row import Key


def walked(after: Callable[[Range, int], Key | None], rows: int, most: int) -> list[Key]:
    """Keys about `rows` rows apart, ascending, at most so many. `after`: the key after the first rows of a range.

    A key that has more rows than that is passed: one step from it ends at itself.
    """
    cuts: list[Key] = []
    step = rows
    while len(cuts) < most:
        cut = after(Range(lower=cuts[-1]) if cuts else Range(), step)
        if cut is None:
            break
        if cuts and cut == cuts[-1]:
            step *= 2
        else:
            cuts.append(cut)
            step = rows
    return cuts
