"""What the host took of this machine while something was measured, and measuring once more where that was much.

A virtual machine has its processors taken away for moments, which the kernel counts as `steal`. A tail of a millisecond
gets ten times as long by that, with whatever is beside it or with nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Of the processors' time, what the host may take in a cell that counts.
MOST = 0.005
#: How often a cell is measured at most, seconds before it is measured again, and seconds of a run for all of that.
TRIES, PAUSE_S, PATIENCE_S = 4, 15.0, 2400.0
#: Where `steal` stands in the first line of /proc/stat, and how many numbers there are before `guest`.
_STEAL, _ALL = 7, 8

Row = dict[str, Any]


class Patience:
    """Measures again what was disturbed, for as long as there is time for it."""

    def __init__(self, seconds: float = PATIENCE_S) -> None:
        self.left_s = seconds

    def undisturbed(self, measure: Callable[[], Row]) -> Row:
        """What it returns with the least taken by the host meanwhile, as `stolen`."""
        best: Row = {}
        for _ in range(TRIES):
            (stolen, passed), began = _ticks(), time.monotonic()
            found = measure()
            stolen_now, passed_now = _ticks()
            found["stolen"] = (stolen_now - stolen) / max(passed_now - passed, 1)
            if not best or found["stolen"] < best["stolen"]:
                best = found
            if best["stolen"] <= MOST or self.left_s <= 0:
                break
            time.sleep(PAUSE_S)
            self.left_s -= time.monotonic() - began
        return best


def _ticks() -> tuple[int, int]:
    """Taken by the host, and all that passed, of all processors; nothing where no kernel tells."""
    try:
        told = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    except OSError:
        return 0, 0
    return told[_STEAL], sum(told[:_ALL])
