"""Lock, then read the source: in a new statement of the same database, or in its own database while the lock is held.

A writer that touched the row before us has committed or rolled back by the time we hold its lock, so our reading of the
source sees all of it or knows it never happened; one that comes after us waits. Where a database has one writer at a
time its only write lock is the row's.
"""

from __future__ import annotations

from trueup.adapters import RowOutcome
from trueup.adapters._outcomes import HeldRow
from trueup.adapters._steps import UnitTransaction
from trueup.adapters._way import Way
from trueup.core.compare import Suspect


class ByLock(Way):
    """The source is read under the lock."""

    def read(self, steps: UnitTransaction) -> None:
        self.expected = self.read_the_source(steps)

    def outcome(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:
        return self.decided(suspect, now, made=made)
