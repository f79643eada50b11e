"""An adapter that asks before each statement, and cuts large ones into such that take as long as they should.

What it answers is what the adapter behind it answers. A key range that is cut is compared piece by piece, each in a
statement of its own, so that every row is still read on both sides at one instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from trueup.adapters import (
    DIFFERENCES_MAX,
    Adapter,
    Capabilities,
    Examiner,
    FoundTable,
    Look,
    LotUnit,
    Marker,
    Packer,
    Probe,
    Reader,
    RowOutcome,
    Stream,
    Survey,
    Unit,
)
from trueup.adapters._copies import Sandboxing
from trueup.adapters._discoverer import Discoverer
from trueup.core.binding import Binding, BoundSide, Column, Shape
from trueup.core.decide import Action
from trueup.core.digest import PRINTS_MAX, Digests, Hashing, Prints, RowHash
from trueup.core.lot import LotOutcome
from trueup.core.pace.credit import StatementSize, workers
from trueup.core.partition import Slice
from trueup.core.plan import KEYS_PER_SEGMENT, Part, Range, Ranges, Segment
from trueup.core.projection import Side
from trueup.core.quiet import Happened
from trueup.core.row import Key, Value
from trueup.pace.admission import Admission, Gate, Worker
from trueup.pace.streaming import PacedStream

Result = TypeVar("Result")

#: A range between two integers is first tried in so many pieces, any other in pieces of so many rows.
FIRST_PIECES, FIRST_ROWS = 32, 2_000
#: Ranges of a statement that digests some of them; a power of two, so that few statements have to be built.
RANGES_MAX = 1024


class Paced:
    """Everything an adapter does, admitted and charged."""

    capabilities: Capabilities

    def __init__(self, adapter: Adapter, gate: Gate | None, admission: Admission, worker: Worker) -> None:
        """`gate`: of its database; None where that is not paced, but the other side's is."""
        self.inner = adapter
        self.capabilities = adapter.capabilities
        self.gates: Sequence[Gate] = () if gate is None else (gate,)
        self._admission = admission
        self._worker = worker
        self._sizes: dict[str, StatementSize] = {}

    @property
    def discoverer(self) -> Discoverer | None:
        return self.inner.discoverer

    @property
    def examiner(self) -> Examiner:
        return self.inner.examiner

    @property
    def packer(self) -> Packer | None:
        """A lot is one long transaction, which a paced database is spared: what is compared here is repaired in small
        units, and who makes lots himself makes small ones.
        """
        inner = self.inner.packer
        return None if inner is None else PacedPacker(inner, self._admitted)

    @property
    def one_statement(self) -> None:
        """None: a statement that goes on could not be cut."""

    @property
    def sandbox(self) -> Sandboxing | None:
        return self.inner.sandbox

    def _admitted(self) -> AbstractContextManager[None]:
        return self._admission.admitted(self.gates, self._worker)

    def _batch(self, first: bool) -> AbstractContextManager[None]:
        """Around a batch of a stream, which is in one transaction from its first to its last."""
        return self._admission.admitted(self.gates, self._worker, commits=first)

    def _at_once(self) -> AbstractContextManager[None]:
        return self._admission.at_once(self.gates, self._worker)

    # --- reading -----------------------------------------------------------------------------------------------------

    def describe(self, side: Side) -> Shape:
        with self._admitted():
            return self.inner.describe(side)

    def tables(self) -> list[FoundTable]:
        with self._admitted():
            return self.inner.tables()

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool) -> Survey:
        with self._admitted():
            return self.inner.survey(binding, of, ordered=ordered)

    def probe(self, canary: str) -> Probe | None:
        return self.inner.probe(canary)

    def cut(self, side: BoundSide, span: Range, rows: int) -> Key | None:
        with self._admitted():
            return self.inner.cut(side, span, rows)

    def differences(self, binding: Binding, segment: Segment) -> Look | None:
        side = binding.target if binding.target.side.table is not None else binding.source
        whole: Look | None = None

        def compare(part: Any) -> tuple[Look | None, int]:
            look = self.inner.differences(binding, part)
            return look, 0 if look is None else max(look.counts.source_rows, look.counts.target_rows)

        for look in self._piecemeal("differences", side, segment, compare):
            if look is None:  # it has to be read row by row, and then all of it
                return None
            if whole is None:
                whole = look
            else:
                counts = whole.counts
                counts += look.counts
                whole = Look(counts=counts, suspects=[*whole.suspects, *look.suspects][:DIFFERENCES_MAX])
        return whole

    def stream(self, binding: Binding, side: BoundSide, segment: Part, *, tokens: bool) -> Stream:
        read = partial(self.inner.stream, binding, side, tokens=tokens)
        return PacedStream(read, segment, self._batch, self._worker.open_here)

    def check_partitions(self, binding: Binding, side: BoundSide) -> None:
        with self._admitted():
            self.inner.check_partitions(binding, side)

    def partitions(self, binding: Binding, side: BoundSide) -> list[Value]:
        with self._admitted():
            return self.inner.partitions(binding, side)

    def greatest(self, side: BoundSide) -> Value:
        with self._admitted():
            return self.inner.greatest(side)

    def tally(self, side: BoundSide, part: Range, wanted: Sequence[tuple[Column, Slice]]) -> list[int] | None:
        def count(some: Any) -> tuple[list[int] | None, int]:
            counts = self.inner.tally(side, some, wanted)
            return counts, 0 if counts is None else counts[0]

        pieces = list(self._piecemeal("tally", side, part, count))
        if None in pieces:
            return None
        return [sum(counts) for counts in zip(*(piece for piece in pieces if piece is not None), strict=True)]

    def happened(self, binding: Binding, keys: Sequence[Key]) -> Happened:
        with self._admitted():
            return self.inner.happened(binding, keys)

    def close(self) -> None:
        self.inner.close()

    # --- hashing -----------------------------------------------------------------------------------------------------

    def hashes(self) -> list[RowHash]:
        with self._admitted():
            return self.inner.hashes()

    def digests(self, side: BoundSide, part: Part, hashing: Hashing) -> Digests:
        if not isinstance(part, Ranges):  # one digest of each leaf: it cannot be put together from pieces
            with self._admitted():
                return self.inner.digests(side, part, hashing)
        found: dict[object, object] = {}
        at = 0
        size = self._size("digests", float(len(part.ranges)))
        while at < len(part.ranges):
            many = 2 ** (min(max(int(size.amount), 1), RANGES_MAX).bit_length() - 1)
            some = replace(part, ranges=part.ranges[at : at + many])
            with self._admitted():
                begun = self._admission.clock.monotonic()
                # Each range is a leaf, and is called by its place among those that were asked for.
                answer = self.inner.digests(side, some, hashing)
                self._took(size, len(some.ranges), begun)
            found |= {at + int(str(leaf)): digest for leaf, digest in answer.items()}
            at += many
        return found  # type: ignore[return-value]

    def prints(self, side: BoundSide, part: Part, hashing: Hashing) -> Prints:
        whole: Prints | None = None

        def ask(some: Part) -> tuple[Prints, int]:
            prints = self.inner.prints(side, some, hashing)
            return prints, len(prints)

        for prints in self._piecemeal("prints", side, part, ask):
            whole = prints if whole is None else Prints(width=whole.width, packed=whole.packed + prints.packed)
            if len(whole) > PRINTS_MAX:
                break
        assert whole is not None
        return whole

    def row_hash(self, side: BoundSide, hashing: Hashing) -> Column:
        return self.inner.row_hash(side, hashing)

    def connections(self) -> int:
        """Never more than are admitted at a time now: another would only wait."""
        return min([self.inner.connections(), *(max(workers(gate.u), 1) for gate in self.gates)])

    # --- writing -----------------------------------------------------------------------------------------------------

    def raise_fence(self, fence: str, *, stop: bool | None = None) -> int | None:
        with self._at_once():
            return self.inner.raise_fence(fence, stop=stop)

    def claim(self, binding: Binding, unit: str) -> Marker | None:
        with self._at_once():
            return self.inner.claim(binding, unit)

    def forget(self, units: Sequence[str]) -> None:
        with self._at_once():
            self.inner.forget(units)

    def statement(self, binding: Binding, action: Action) -> str:
        return self.inner.statement(binding, action)

    def repair(self, binding: Binding, unit: Unit, source: Reader) -> list[RowOutcome]:
        """A unit is admitted by both databases before it begins: nothing waits for its turn while it holds locks."""
        gates, reader = list(self.gates), source
        if isinstance(source, Paced):
            gates += [gate for gate in source.gates if gate not in gates]
            reader = source.inner
        with self._admission.admitted(gates, self._worker):
            return self.inner.repair(binding, unit, reader)

    # --- pieces ------------------------------------------------------------------------------------------------------

    def _piecemeal(
        self, what: str, side: BoundSide, part: Part, ask: Callable[[Part], tuple[Result, int]]
    ) -> Iterator[Result]:
        """`ask` of a part, piece by piece where it is a key range; it answers, and says how many rows that were."""
        rest: Part | None = part
        while rest is not None:
            with self._admitted():
                begun = self._admission.clock.monotonic()
                if not isinstance(rest, Range) or not self.gates:
                    piece, rest = rest, None
                elif (width := _width(rest)) is not None:
                    size = self._size(f"{what} by width", width / FIRST_PIECES)
                    piece, rest = _narrower(rest, max(int(size.amount), 1))
                    width = _width(piece) or width
                else:
                    size = self._size(f"{what} by rows", FIRST_ROWS)
                    cut = self.inner.cut(side, rest, max(int(size.amount), 1))
                    piece, rest = _until(rest, cut)
                answer, rows = ask(piece)
                if isinstance(piece, Range) and self.gates:
                    self._took(size, rows if width is None else width, begun)
            yield answer

    def _size(self, what: str, first: float) -> StatementSize:
        return self._sizes.setdefault(what, StatementSize(first))

    def _took(self, size: StatementSize, amount: float, begun: float) -> None:
        if amount and self.gates:
            size.took(amount, self._admission.clock.monotonic() - begun, self.gates[0].statement_s)


class PacedPacker:
    """Small lots, each admitted by itself."""

    lot_rows = KEYS_PER_SEGMENT

    def __init__(self, packer: Packer, admitted: Callable[[], AbstractContextManager[None]]) -> None:
        self._packer = packer
        self._admitted = admitted

    def takes(self, binding: Binding) -> bool:  # noqa: ARG002 - none of those that a database finds
        return False

    def compared(self, binding: Binding, segment: Segment) -> Look | None:  # noqa: ARG002
        return None

    def carry_out(self, binding: Binding, unit: LotUnit) -> LotOutcome:
        with self._admitted():
            return self._packer.carry_out(binding, unit)


def _width(span: Range) -> float | None:
    """How many keys may lie between the ends of a range, where both are one integer."""
    if span.lower is None or span.upper is None or len(span.lower) != 1:
        return None
    (low,), (high,) = span.lower, span.upper
    return float(high - low) if isinstance(low, int) and isinstance(high, int) else None


def _narrower(span: Range, width: int) -> tuple[Range, Range | None]:
    """The first piece of a range between integers, and the rest."""
    assert span.lower is not None
    assert span.upper is not None
    low, high = span.lower[0], span.upper[0]
    assert isinstance(low, int)
    assert isinstance(high, int)
    return (span, None) if low + width * 5 // 4 >= high else _until(span, (low + width,))


def _until(span: Range, cut: Key | None) -> tuple[Range, Range | None]:
    if cut is None or cut == span.lower:
        return span, None
    return replace(span, upper=cut), replace(span, lower=cut)
