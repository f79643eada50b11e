"""What a run carries out, or would: rows that were decided one by one, and lots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from trueup.core.compare import DriftKind
from trueup.core.decide import Action, changes
from trueup.store.ledger import Ledger
from trueup.store.lots import LotRow, Lots
from trueup.store.records import DecisionRow


@dataclass(frozen=True, kw_only=True, slots=True)
class Decided:
    """All decisions of a run; those in lots are not in memory. Iterating gives each by itself, a lot at a time."""

    rows: list[DecisionRow]
    lots: list[LotRow] = field(default_factory=list)
    kept_in: Lots

    def __len__(self) -> int:
        return len(self.rows) + sum(lot.count for lot in self.lots)

    def __iter__(self) -> Iterator[DecisionRow]:
        yield from self.rows
        for lot in self.lots:
            yield from self.kept_in.decisions_of(lot)

    def changes(self) -> tuple[int, int]:
        """Rows that would be changed, and of these, deleted."""
        writing, deletes = changes([item.decision for item in self.rows])
        taken = sum(lot.count for lot in self.lots if lot.action is Action.DELETE)
        return writing + sum(lot.count for lot in self.lots), deletes + taken

    def kinds(self) -> Counter[str]:
        """Rows by the kind of their difference."""
        found = Counter(str(item.decision.drift.kind) for item in self.rows)
        for lot in self.lots:
            found[str(lot.kind)] += lot.count
        return found

    @property
    def believes_absence(self) -> bool:
        """Is a row changed because its source has none?"""
        kinds = [lot.kind for lot in self.lots]
        kinds += [d.decision.drift.kind for d in self.rows if d.decision.action is not Action.REPORT]
        return DriftKind.EXTRA in kinds


def decided_by(ledger: Ledger, run: str) -> Decided:
    """What `run` decided."""
    return Decided(rows=ledger.decision_rows(run), lots=ledger.lots.of(run), kept_in=ledger.lots)
