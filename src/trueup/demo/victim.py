"""A `trueup run` that stands still at the worst moment, so that the demo can kill it there.

    python -m trueup.demo.victim CONFIG PROJECTION

Nothing is changed but two things: repair transactions take few rows, so that there are several; and after the
second has committed, before the ledger has heard of it, the process prints a line and waits. What kills it is
a real SIGKILL from outside. Standing still makes the moment the same on fast and slow machines.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from trueup.app import load
from trueup.core import plan
from trueup.store.ledger import Ledger
from trueup.store.records import OutcomeRow

#: Rows in one repair transaction of this process.
ROWS_PER_UNIT = 10
#: The repair transaction after which it stands still.
STOPS_AFTER = 2
#: It ends by itself after this long, should nobody kill it, seconds.
WAITS_S = 60.0


class HeldLedger(Ledger):
    """A ledger that is not told of one repair transaction."""

    closed = 0

    def close_unit(self, unit: str, run: str, outcomes: Sequence[OutcomeRow], at: datetime, token: int = 0) -> None:
        self.closed += 1
        if self.closed == STOPS_AFTER:
            print(unit, flush=True)
            threading.Event().wait(WAITS_S)
            os._exit(70)
        super().close_unit(unit, run, outcomes, at, token)


def main() -> None:
    config, projection = sys.argv[1:]
    plan.KEYS_PER_SEGMENT = ROWS_PER_UNIT
    with load(Path(config)) as engine:
        engine.ledger = HeldLedger(engine.ledger_url)
        engine.run(projection)


if __name__ == "__main__":
    main()
