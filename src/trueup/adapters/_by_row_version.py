"""The row's version first, the source second; then the row is locked, and written only if it still has that version.

What the row reflected is then no newer than what we write. The reverse order overwrites newer state even with an exact
version.
"""

from __future__ import annotations

from trueup.adapters import RowOutcome
from trueup.adapters._outcomes import HeldRow, left, withdrawn
from trueup.adapters._steps import UnitTransaction
from trueup.adapters._way import Way
from trueup.core.compare import DriftKind, Suspect
from trueup.core.row import Key, Values
from trueup.core.states import Outcome


class ByRowVersion(Way):
    """Compare-and-set."""

    #: Row versions that the decision was made on; None: there was no row.
    versions: dict[Key, str | None]

    def prepare(self) -> None:
        with self.adapter.reading() as connection:
            seen = UnitTransaction(self.adapter, connection, self.binding, self.unit).read_target(self.keys)
        self.versions = {key: seen[key].token if key in seen else None for key in self.keys}
        self.expected = self.read_the_source()

    def absent(self) -> dict[Key, Values]:
        return {key: values for key, values in self.expected.items() if self.versions[key] is None}

    def outcome(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:
        if not made and token(now) != self.versions[suspect.key]:
            busy = now is None and not self.unit.wait
            return left(suspect, now, Outcome.CAS_LOST, "the row moved on", busy=busy)
        return self.still(suspect, now, made=made)

    def still(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:
        """What to do with a row that is the one that was looked at."""
        return self.decided(suspect, now, made=made)


class BySnapshot(ByRowVersion):
    """Row and source were read in one snapshot, and every transaction that changes the source changes the row: its
    version, unchanged, proves that the source is.
    """

    def prepare(self) -> None:
        drift = self.unit.drift
        self.versions = {s.key: None if s.observed is None else s.token for s in drift}
        self.expected = {s.key: s.expected for s in drift if s.expected is not None and s.kind is not DriftKind.EXTRA}


class Withdrawal(BySnapshot):
    """Rows that this run inserted, whose source rows went away meanwhile, are taken back if they are still ours."""

    def absent(self) -> dict[Key, Values]:
        return {}

    def read(self, steps: UnitTransaction) -> None:
        self.expected = self.read_the_source(steps)

    def still(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:  # noqa: ARG002
        if self.binding.target.shape.dependents:
            why = "its source row went away meanwhile, and rows of other tables may refer to it already"
            return left(suspect, now, Outcome.CAS_LOST, why)
        return withdrawn(suspect, now, self.expected.get(suspect.key))


def token(row: HeldRow | None) -> str | None:
    return None if row is None else row.token
