"""The table of a backfill as a run sees it: what a row should be is what the backfill makes of it.

Stands before the table's adapter. A row is read once, with all that the backfill reads and its version; what is
expected of it is computed here, by the function, or comes with it, from the backfill's SQL. Rows that differ are handed
on in lots; one on which the function fails is handed on by itself, with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Protocol, cast

from trueup.adapters import (
    DIFFERENCES_MAX,
    Adapter,
    Capabilities,
    Look,
    LotUnit,
    Packer,
    Reader,
    RowOutcome,
    Survey,
    Unit,
    delivered,
)
from trueup.core.backfill import Backfill
from trueup.core.binding import Binding, BoundSide
from trueup.core.fixes import Changes, Fix
from trueup.core.lot import LOT_MIN, LotOutcome
from trueup.core.plan import Segment
from trueup.core.projection import Canary
from trueup.core.row import Batch, Key
from trueup.errors import DesignProblem

#: So many rows on which the function fails are no single bad rows any more.
FAILED_MAX = 1_000
#: Rows of a segment that are told apart from lots, so that some of them can go first: where nobody has said how many
#: that will be (a plan may be applied with a canary that nobody asked for when it was made), and at most.
FIRST, FIRST_MAX = 100, 1_000


class Known(Protocol):
    """Rows that need no work, as far as the ledger knows: by their hash."""

    def of(self, segment: Segment) -> Collection[bytes]:
        """Hashes of those that may be in `segment`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixing:
    """A backfill, ready to be carried out."""

    declared: Backfill
    #: None: the database computes.
    fix: Fix | None
    known: Known
    #: Rows that are to be looked at by themselves: they are in quarantine, or somebody accepted how they are.
    apart: Collection[Key] = frozenset()
    #: Rows that go first; None: nobody has asked for any yet.
    first: Canary | None = None


def fixed(adapter: Adapter, fixing: Fixing) -> Adapter:
    """The adapter that a run of the backfill works with."""
    return cast(Adapter, Fixed(adapter, fixing))


class Fixed:
    """Everything that the adapter does; but comparing is computing."""

    def __init__(self, inner: Adapter, fixing: Fixing) -> None:
        self.inner = inner
        self.fixing = fixing
        # Where segments are read ahead, the database reads one while the function is called for another.
        self.capabilities: Capabilities = replace(inner.capabilities, readers=max(inner.capabilities.readers, 1))
        self.packer: Packer = _Packer(self)
        #: Functions are called by one thread at a time.
        self._calling = Lock()
        self._failed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool) -> Survey:  # noqa: ARG002 - both are the table
        return self.inner.survey(binding, (binding.target,), ordered=ordered)

    def differences(self, binding: Binding, segment: Segment) -> Look:
        return self.look(binding, segment, lots=False)

    def repair(self, binding: Binding, unit: Unit, source: Reader) -> list[RowOutcome]:
        return self.inner.repair(binding, unit, source.inner if isinstance(source, Fixed) else source)

    def look(self, binding: Binding, segment: Segment, *, lots: bool) -> Look:
        """What the backfill makes of the rows of a segment."""
        fixing = self.fixing
        found = Changes(binding, fixing.declared, fixing.fix)
        known = fixing.known.of(segment)
        for batch in self._read(binding, segment):
            with self._calling:
                found.add(batch, known)
        with self._calling:
            self._count_failed(binding, found)
        unchanged = b"".join(sorted(found.unchanged))
        if not lots or len(found) < LOT_MIN:
            suspects = found.one_by_one(range(min(len(found), DIFFERENCES_MAX)))
            return Look(counts=found.counts, suspects=suspects, unchanged=unchanged)
        first = FIRST if fixing.first is None else min(fixing.first.size_of(len(found)), FIRST_MAX)
        alone = found.apart(fixing.apart, first)
        return Look(
            counts=found.counts,
            suspects=found.one_by_one(sorted(alone)),
            lots=found.lots(self.packer.lot_rows, alone),
            unchanged=unchanged,
        )

    def _count_failed(self, binding: Binding, found: Changes) -> None:
        self._failed += len(found.failures)
        if self._failed > FAILED_MAX:
            raise DesignProblem(
                f"{binding.projection.name}: more than {FAILED_MAX:,} rows failed, so this is not about single rows. "
                f"The last: {found.failures[-1].problem}"
            )

    def _read(self, binding: Binding, segment: Segment) -> Iterator[Batch]:
        """The selected rows, canonical; where the database computes, the new values behind the others."""
        side, kinds, declared = binding.target, binding.value_kinds, self.fixing.declared
        side = replace(side, only=declared.select)
        if self.fixing.fix is None:
            new = [
                replace(side.values[at], name=f"trueup_new{at}", computed=declared.sets[binding.columns[at]])
                for at in binding.written
            ]
            side = replace(side, values=(*side.values, *new))
            kinds = (*kinds, *(kinds[at] for at in binding.written))
        reading = replace(binding, source=side, target=side, value_kinds=kinds)
        stream = self.inner.stream(reading, side, segment, tokens=True)
        for batch in delivered(stream, f"{binding.projection.name}: the table"):
            yield batch.clean(kinds)


class _Packer:
    """Lots of a backfill: found by computing, written as any."""

    def __init__(self, fixed: Fixed) -> None:
        self._fixed = fixed
        inner = fixed.inner.packer
        assert inner is not None
        self._inner = inner
        self.lot_rows = inner.lot_rows

    def takes(self, binding: Binding) -> bool:  # noqa: ARG002 - any database writes rows as they were seen
        return True

    def compared(self, binding: Binding, segment: Segment) -> Look:
        return self._fixed.look(binding, segment, lots=True)

    def carry_out(self, binding: Binding, unit: LotUnit) -> LotOutcome:
        return self._inner.carry_out(binding, unit)
