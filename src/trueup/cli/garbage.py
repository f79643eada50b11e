"""When the process of a command looks for garbage: it is its own, so it may say. Python by itself looks too often."""

from __future__ import annotations

import gc
import sys

#: New objects after which Python looks for cycles among them, while a command starts: more than the 200,000 that it
#: imports. All of these stay, and to look through them takes a tenth of the time until the first statement.
STARTING = 1_000_000
#: The same while it works. By Python's own 700 a comparison that finds 50,000 rows spends a tenth of its time on
#: looking, and there are none to be found.
WORKING = 10_000


def starts() -> None:
    gc.set_threshold(STARTING)


def works() -> None:
    """What is there now stays, and is not looked at again. Nothing changes in a process that is not a command's own."""
    if gc.get_threshold()[0] == STARTING:
        gc.freeze()
        gc.set_threshold(WORKING)


def ends() -> None:
    """What is left goes with the process: to look through all of it once more takes 0.1 s.

    But DuckDB's binding counts what is left, and says at length that it leaked: then all is looked through.
    """
    if "duckdb" in sys.modules:
        gc.unfreeze()
    else:
        gc.freeze()
