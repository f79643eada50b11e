"""What ended long ago is forgotten: runs, their markers in the target, requests, messages, nodes that are gone.

One node at a time does it, in a thread of its own and a little at a time. A marker goes before the record of its unit,
so that none is left that the ledger does not know, unless the target lets nobody delete there. The audit log is not
touched; `trueup audit prune` cuts it.
"""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from trueup.core.lanes import lanes
from trueup.core.states import RunState
from trueup.errors import ConnectionFailed, LedgerFailed, Refused, TakenOver, Transient, TrueupError
from trueup.run import RESUME_WITHIN
from trueup.store import lock
from trueup.store.alerts import AlertLedger
from trueup.store.history import IDS_MAX, History
from trueup.store.listening import Stands
from trueup.store.nodes import forget_lost

if TYPE_CHECKING:
    from trueup.app import Trueup
    from trueup.core.projection import Projection

log = logging.getLogger("trueup.retention")

#: What the node that forgets holds; no projection can be called so.
NAME = "#retention"
#: Between two looks: a tenth of what is kept, and this at most, seconds.
EVERY_MOST_S = 3600.0
#: Between two batches, seconds: runs write to the ledger too.
PAUSE_S = 0.1
#: What `limits.daily` counts over.
DAY_S = 86400.0


def kept_s(projection: Projection, keep_s: float) -> float:
    """How long runs of a projection are kept at least, seconds: as long as what was repaired is counted."""
    limits, recurring = projection.limits, projection.recurring
    counted = (DAY_S if limits.daily is not None else 0.0, recurring.within if recurring.times else 0.0)
    return max(keep_s, *counted)


class Retention:
    """Forgets. `engine` is its own: nobody else works with it."""

    def __init__(self, engine: Trueup) -> None:
        self.engine = engine
        self.ended = threading.Event()
        #: Databases that do not let us delete markers: told once.
        self._refused: set[str] = set()
        self._thread: threading.Thread | None = None

    # --- the thread --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="trueup-retention", daemon=True)
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """End it after the batch at hand."""
        self.ended.set()
        if self._thread is not None:
            self._thread.join(within_s)

    def _run(self) -> None:
        keep_s = self.engine.keep_s
        every_s = EVERY_MOST_S if keep_s is None else min(EVERY_MOST_S, keep_s / 10)
        while not self.ended.is_set():
            try:
                self.look()
            except LedgerFailed as failed:
                log.error("%s", failed)
            except Exception:  # runs go on, and the next look may do better
                log.exception("what ended long ago could not be forgotten")
            self.ended.wait(every_s)

    # --- one look ----------------------------------------------------------------------------------------------------

    def look(self) -> int:
        """Unless another node does: forget what is older than is kept; how many runs."""
        engine = self.engine
        try:
            with lock.hold(engine.ledger.engine, NAME, lease_s=engine.lease_s):
                now = engine.queue.now(engine.clock.now())
                self._small(now)
                if engine.keep_s is None:
                    return 0
                return sum(self._runs(projection, now, engine.keep_s) for projection in engine.projections.values())
        except (Refused, TakenOver):
            return 0

    def _small(self, now: datetime) -> None:
        keep = timedelta.max if self.engine.keep_s is None else timedelta(seconds=self.engine.keep_s)
        self.engine.queue.prune(now, keep)
        AlertLedger(self.engine.ledger).prune(now, keep)
        forget_lost(self.engine.ledger, now, keep)
        Stands(self.engine.ledger).forget(now, keep)

    def _runs(self, projection: Projection, now: datetime, keep_s: float) -> int:
        """Forget runs of one projection. Where its target cannot be reached, the next look tries again."""
        history, count = History(self.engine.ledger), 0
        before = now - timedelta(seconds=kept_s(projection, keep_s))
        history.forget_released(projection.name, before)
        self._abandon(projection, min(before, now - RESUME_WITHIN), now)
        while not self.ended.is_set() and (runs := history.old(projection.name, before, now)):
            try:
                self._markers(projection, history.units(runs))
            except (ConnectionFailed, Transient) as error:
                log.warning("%s: runs before %s stay for now: %s", projection.name, f"{before:%Y-%m-%d %H:%M}", error)
                return count
            count += history.forget(projection.name, runs, before)
            self.ended.wait(PAUSE_S)
        if count:
            told = f"{count} runs that ended before {before:%Y-%m-%d %H:%M} UTC were forgotten"
            log.info("%s: %s", projection.name, told)
        return count

    def _abandon(self, projection: Projection, before: datetime, now: datetime) -> None:
        """Nobody asked again for what these runs broke off, and they are too old to be gone on with."""
        ledger = self.engine.ledger
        old = [run for run in ledger.unfinished(projection.name) if run.started_at < before]
        if not old or ledger.unsettled(projection.name):
            return
        try:
            with lock.hold(ledger.engine, *lanes(projection), lease_s=self.engine.lease_s):
                for run in ledger.unfinished(projection.name):
                    if run.started_at < before:
                        ledger.set_state(run, RunState.ABANDONED, ended_at=now, reason="too old to be resumed")
        except Refused:  # one of them may be the one that goes on
            return

    def _markers(self, projection: Projection, units: list[str]) -> None:
        database = projection.target.database
        try:
            for at in range(0, len(units), IDS_MAX):
                self.engine.forget_markers(database, units[at : at + IDS_MAX])
        except (ConnectionFailed, Transient):
            raise
        except TrueupError as error:
            if database not in self._refused:
                log.warning("databases.%s: markers of forgotten runs stay in trueup_applied: %s", database, error)
            self._refused.add(database)
