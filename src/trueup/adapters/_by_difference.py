"""What a row is off by is subtracted from it, without reading the source while it is locked.

Writers change the row and its source by the same amount in one transaction, so the difference is the same in every
snapshot, and subtracting it is exact whenever it lands. It must land once: the unit's marker sees to that. (Design:
correctness, section 1.2, R-DELTA.)
"""

from __future__ import annotations

from trueup.adapters import RowOutcome
from trueup.adapters._outcomes import HeldRow, left, not_held
from trueup.adapters._way import Way
from trueup.core.compare import Suspect
from trueup.core.decide import Action
from trueup.core.difference import corrected, given_back, off_by, subtracted
from trueup.core.row import Key, Values
from trueup.core.states import Outcome


class ByDifference(Way):
    """The suspects are measurements: what each row is off by. In a rollback, by what a run subtracted from it."""

    def absent(self) -> dict[Key, Values]:
        return {}

    def outcome(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:  # noqa: ARG002
        if now is None:
            return not_held(self.unit, suspect)
        off = off_by(suspect)
        after = None if off is None else corrected(now.values, off)
        if off is None or after is None:
            return left(suspect, now, Outcome.CAS_LOST, "the row holds something that is no number")
        return RowOutcome(
            key=suspect.key,
            outcome=Outcome.APPLIED,
            action=Action.UPDATE,
            before=now.values,
            after=after,
            evidence=given_back(off) if self.unit.restore else subtracted(off),
        )
