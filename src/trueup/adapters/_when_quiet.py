"""Increments that are sent in a transaction of their own, at most a declared bound late: only keys that are quiet.

The source's clock is read first, then the row (under its lock, or by its version), then the source, then the latest
event of each key. Increments of events that were older than the bound at the first reading have been applied by then; a
key with a younger event is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueup.adapters import Reader, RowOutcome, Unit
from trueup.adapters._by_lock import ByLock
from trueup.adapters._by_row_version import ByRowVersion
from trueup.adapters._outcomes import Arrivals, HeldRow
from trueup.adapters._steps import UnitTransaction
from trueup.adapters._way import Way
from trueup.core.binding import Binding
from trueup.core.compare import Suspect
from trueup.core.guarantee import Protocol
from trueup.core.row import Key, Values

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter


class WhenQuiet(Way):
    """Another protocol, for keys whose increments have all arrived."""

    def __init__(self, adapter: SqlAdapter, binding: Binding, unit: Unit, source: Reader) -> None:
        super().__init__(adapter, binding, unit, source)
        inner = ByRowVersion if unit.protocol is Protocol.COMPARE_AND_SET else ByLock
        self.inner: Way = inner(adapter, binding, unit, source)
        #: Keys whose last event may still be on its way to the target.
        self.awaited: set[Key] = set()

    def prepare(self) -> None:
        self.arrivals = Arrivals(self.binding, self.source)
        self.inner.prepare()

    def absent(self) -> dict[Key, Values]:
        return self.inner.absent()

    def read(self, steps: UnitTransaction) -> None:
        self.inner.read(steps)
        self.awaited = self.arrivals.awaited(self.keys)

    def outcome(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:
        if suspect.key in self.awaited:
            return self.arrivals.left(suspect, None if made else now)
        return self.inner.outcome(suspect, now, made=made)
