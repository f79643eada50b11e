"""Many rows at once: which runs may decide and repair in lots, and how the lots of a segment are carried out.

A lot is written where nothing has to be known of its rows but that they still have the version they were seen with.
What it leaves out, and whatever is not that simple, goes the ordinary way, row by row: `reconcile.correct`.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from trueup.accepting import Accepting
from trueup.adapters import LotUnit, Marker
from trueup.changes import images
from trueup.core.guarantee import Protocol
from trueup.core.lot import LotOutcome
from trueup.core.plan import NullKeys, by_keys
from trueup.core.projection import Projection
from trueup.core.row import Key
from trueup.core.states import Outcome
from trueup.core.writers import Writers
from trueup.errors import DataProblem, DesignProblem, Transient
from trueup.job import Job
from trueup.reconcile import Corrected, correct
from trueup.store.ledger import Ledger
from trueup.store.lots import LotOutcomeRow, LotRow
from trueup.store.records import DecisionRow, OpenWork, OutcomeRow, RunRow, SegmentRow
from trueup.withheld import Withheld
from trueup.work import Work

#: Lots that are written at a time: a database writes each on one core.
LOTS_AT_ONCE = 2
#: Decisions as they are to be carried out now.
Review = Callable[[Sequence[DecisionRow]], list[DecisionRow]]


def in_lots(job: Job, run: RunRow, accepting: Accepting, withheld: Withheld) -> bool:
    """May this run decide in lots?"""
    projection, packer = job.pair.binding.projection, job.target.packer
    if projection.itself:  # nothing has to be known of a row but what it was; see `fixing`
        return packer is not None and run.whole and job.command != "check" and not projection.sensitive
    asked = job.command == "run" and run.whole and not job.only_plan and job.canary is None
    asked = asked and not told_apart(accepting, withheld)
    if not asked or packer is None or projection.approval.within != "none" or _apart(projection):
        return False
    proven = job.one_look and job.promise.protocol is Protocol.LOCK and not job.promise.delta
    touched = projection.writers is Writers.SAME_TRANSACTION
    return proven and touched and packer.takes(job.pair.binding)


def told_apart(accepting: Accepting, withheld: Withheld) -> bool:
    """Are there rows that are accepted, in quarantine or recur, so that each row has to be looked at by itself?"""
    return bool(accepting.active or withheld.held or withheld.recurring)


def work_of(ledger: Ledger, keys: Sequence[Key], lots: Sequence[LotRow] = ()) -> list[OpenWork]:
    """What a stage has to do: rows by their keys, and each segment that has lots."""
    rows = [OpenWork(span=segment) for segment in by_keys(keys)]
    segments = dict.fromkeys(lot.segment for lot in lots)
    return rows + [OpenWork(span=ledger.span_of(segment), lots_of=segment) for segment in segments]


def _apart(projection: Projection) -> bool:
    """Is there something declared that is about single rows?"""
    return bool(projection.handlers or projection.sensitive or projection.changes or projection.pending)


class Begun(NamedTuple):
    """One transaction that the ledger knows of, on its way."""

    lot: LotRow
    unit: str
    future: Future[LotOutcome]


@dataclass(frozen=True, kw_only=True, slots=True)
class LotWork:
    """The lots of one segment, and with what they are carried out."""

    work: Work
    segment: SegmentRow
    review: Review
    #: Every row is looked at by itself: the run was interrupted, or carries out a plan, or rows are to be told apart.
    one_by_one: bool

    @property
    def as_seen(self) -> bool:
        """What was written and read back is all there is to know: no source could say otherwise by now."""
        return self.work.promise.protocol is Protocol.AS_SEEN or self.work.images is not None

    def carry_out(self) -> Corrected:
        """Each lot in one transaction; then the segment is compared once more, and what is not right, or was left out,
        is repaired row by row.
        """
        work, segment = self.work, self.segment
        assert segment.lots_of is not None
        kept = work.ledger.lots
        lots = kept.of_segment(segment.lots_of)
        if not self.one_by_one:
            self._at_once(kept.undone(work.run, lots) if self.as_seen else lots)
        wrong = None if self.one_by_one else set() if self.as_seen else self._wrong_now()
        result = Corrected()
        for lot in lots:
            done = kept.outcomes_of(work.run, lot.id)
            applied = [outcome for outcome in done if outcome.outcome is Outcome.APPLIED]
            if wrong is not None and not wrong and applied and not applied[-1].done.left:
                continue
            result.add(self._row_by_row(lot, done, wrong if applied else None))
        return result

    def _at_once(self, lots: Sequence[LotRow]) -> None:
        """A transaction for each lot, some at a time, each on a thread; what is said of them is said here, in order.

        Where this ends early, the ledger knows which were begun, and their markers what became of them.
        """
        work, begun = self.work, deque[Begun]()
        width = 1 if work.target.capabilities.writing.single_writer else LOTS_AT_ONCE
        with ThreadPoolExecutor(width, thread_name_prefix="trueup-lot") as threads:
            for lot in lots:
                work.border()
                unit = LotUnit(
                    id=uuid.uuid4().hex,
                    fence=work.fence,
                    token=work.token,
                    lot=work.ledger.lots.content(lot),
                    action=lot.action,
                )
                ended = self._ended(begun.popleft()) if len(begun) == width else None
                with work.ledger.together():  # a durable commit costs as much as writing some hundred rows
                    if ended is not None:
                        close_lot(work, *ended, witness="unit")
                    work.ledger.open_unit(unit.id, work.run, self.segment.id, [], work.clock.now(), lot=lot.id)
                begun.append(Begun(lot, unit.id, threads.submit(self._carried_out, unit)))
            while begun:
                close_lot(work, *self._ended(begun.popleft()), witness="unit")

    def _carried_out(self, unit: LotUnit) -> LotOutcome:
        assert self.work.target.packer is not None
        return self.work.target.packer.carry_out(self.work.pair.binding, unit)

    def _ended(self, begun: Begun) -> tuple[str, LotRow, LotOutcome | None]:
        """A unit, its lot, and what became of it; None: nothing was written, and nothing is said of its rows yet."""
        try:
            return begun.unit, begun.lot, begun.future.result()
        except (DataProblem, DesignProblem):  # it may be about lots: what single rows meet is said by them
            return begun.unit, begun.lot, None
        except Transient:
            marker = self.work.patience.read(partial(_claimed, self.work, begun.unit))
            return begun.unit, begun.lot, marker.lot

    def _wrong_now(self) -> set[Key] | None:
        """Keys of the segment whose rows are not right, whoever wrote them last; None: too many to be listed."""
        pair = self.work.pair
        assert not isinstance(self.segment.span, NullKeys)
        look = self.work.patience.read(partial(pair.source.differences, pair.binding, self.segment.span))
        if look is None or look.counts.differing > len(look.suspects):
            return None
        return {suspect.key for suspect in look.suspects}

    def _row_by_row(self, lot: LotRow, done: Sequence[LotOutcomeRow], wrong: set[Key] | None) -> Corrected:
        """The ordinary way, for rows that are `wrong` or were left out; None: for all."""
        work, content = self.work, self.work.ledger.lots.content(lot)
        wanted = None if wrong is None else wrong.union(*(outcome.done.left for outcome in done))
        decided = [d for d in lot.decisions(content) if wanted is None or d.decision.drift.key in wanted]
        mine = {item.decision.drift.key for item in decided}
        earlier: list[OutcomeRow] = [o for outcome in done for o in outcome.of_rows(lot, content) if o.key in mine]
        earlier += [o for o in work.ledger.outcome_rows(work.run, self.segment.id) if o.key in mine]
        if work.images is not None:  # a rollback's rows are what the ledger says
            work = replace(work, images=images(decided))
        return correct(work, self.segment, self.review(decided), earlier)


def recover_lot(work: Work, unit: str, lot: int) -> int:
    """Settle a unit of a lot that a crash left open, and close it; rows that it wrote."""
    row = work.ledger.lots.find(lot)
    done = work.patience.read(partial(_claimed, work, unit)).lot
    close_lot(work, unit, row, done, witness="recovery")
    return 0 if done is None else row.count - len(done.left)


def _claimed(work: Work, unit: str) -> Marker:
    """What became of a unit whose answer was lost: its marker is proof. Without markers there are no lots."""
    marker = work.target.claim(work.pair.binding, unit)
    if marker is None:
        raise DesignProblem(
            f"{work.pair.name}: many rows were being written at once when a run ended, and only the marker of that "
            f"transaction can tell whether it was carried out: let Trueup keep its tables in the target (`markers`), "
            f"and run again"
        )
    return marker


def close_lot(work: Work, unit: str, lot: LotRow, done: LotOutcome | None, *, witness: str) -> None:
    """Record what a unit did to a lot; None: nothing, and it never will."""
    outcome = LotOutcomeRow(
        lot=lot.id,
        unit=unit,
        outcome=Outcome.NOT_APPLIED if done is None else Outcome.APPLIED,
        count=lot.count - (0 if done is None else len(done.left)),
        done=done or LotOutcome(),
        evidence="nothing was written; its rows are tried one by one" if done is None else "",
        witness=witness,
    )
    work.ledger.lots.close_unit(unit, work.run, lot, outcome, work.clock.now(), work.token)
