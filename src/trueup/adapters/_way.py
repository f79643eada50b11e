"""What a protocol answers while a unit is carried out: what to read before the lock, what after it, what to write."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trueup.adapters import Reader, RowOutcome, Unit
from trueup.adapters._outcomes import HeldRow, decided, not_held, read_source
from trueup.adapters._steps import UnitTransaction
from trueup.core.binding import Binding
from trueup.core.compare import Suspect
from trueup.core.row import Key, Values

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter


class Way(ABC):
    """One unit, carried out by one protocol."""

    def __init__(self, adapter: SqlAdapter, binding: Binding, unit: Unit, source: Reader) -> None:
        self.adapter = adapter
        self.binding = binding
        self.unit = unit
        self.source = source
        self.keys: Sequence[Key] = [suspect.key for suspect in unit.drift]
        #: What the source says; a protocol fills it in when its proof wants it to.
        self.expected: dict[Key, Values] = {}

    def prepare(self) -> None:  # noqa: B027 - most have nothing to do here
        """Read what has to be read before the transaction."""

    def absent(self) -> dict[Key, Values]:
        """Rows to insert before locking: a row that does not exist cannot be locked."""
        return {s.key: s.expected for s in self.unit.drift if s.observed is None and s.expected is not None}

    def read(self, steps: UnitTransaction) -> None:  # noqa: B027
        """Read what has to be read under the lock."""

    def read_the_source(self, steps: UnitTransaction | None = None) -> dict[Key, Values]:
        """What the source says of the unit's keys: inside the unit's own transaction where both are in one database."""
        if steps is not None and self.binding.one_database:
            return steps.read_source_here(self.keys)
        return read_source(self.source, self.binding, self.keys)

    def told(self, outcome: RowOutcome) -> RowOutcome:
        """An outcome as it is told outside the unit."""
        return outcome

    @abstractmethod
    def outcome(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:
        """What to do with a row that is held as `now`; `made`: this unit has just inserted it."""

    def decided(self, suspect: Suspect, now: HeldRow | None, *, made: bool) -> RowOutcome:
        """The outcome by what the source says and the policy wants."""
        if now is None and suspect.observed is not None:
            return not_held(self.unit, suspect)
        before = None if made else now
        return decided(self.binding, self.unit, suspect, before, self.expected.get(suspect.key))
