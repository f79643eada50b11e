"""Rollback: the ledger is the source of truth, and the rows of a run are given their before-images back.

A row is touched only while it still is what the run wrote, by value and by version. All else is left and listed. What
a run subtracted from a row is added again, once: the ledger knows whether it was.

What a run wrote in lots is put back in lots, one of its lots at a time, so that memory does not grow with the run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from trueup.changes import changes, given_back
from trueup.core.compare import DriftKind
from trueup.core.decide import Action, Decision
from trueup.core.lot import LOT_ROWS, lot_of_rows
from trueup.core.row import Key
from trueup.core.states import Outcome
from trueup.core.undo import DIFFERS, Change, put_back
from trueup.errors import UsageError
from trueup.job import Job, Undoing
from trueup.reconcile import Examined
from trueup.store.ledger import Ledger
from trueup.store.lots import LotOutcomeRow
from trueup.work import Work, rows_now

#: Rows of lots that are put back by themselves, so that some can go first: where nobody has said how many, and at most.
FIRST, FIRST_MAX = 100, 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Undone:
    """What the run did that is undone, as far as it is proven to be its own doing."""

    #: To rows by themselves, and to rows of lots that were written once more.
    rows: dict[Key, Change]
    #: To the other rows of lots.
    lots: Sequence[LotOutcomeRow] = ()
    #: Rows of lots that are no part of what was done to the lot.
    apart: frozenset[Key] = field(default_factory=frozenset)

    def first_of(self, count: int, wanted: int) -> int:
        """Of so many rows of a lot, those that are put back by themselves, if `wanted` are of all lots."""
        return ceil(min(wanted, FIRST_MAX) * count / max(sum(done.count for done in self.lots), 1))


def undone_by(job: Job, undoing: Undoing) -> Undone:
    """What the run did.

    Raises UsageError if it wrote nothing, or not the rows that were asked for.
    """
    ledger, run = job.ledger, undoing.run
    if undoing.keys is not None:
        return Undone(rows=_chosen(ledger, undoing, undoing.keys))
    if not _in_lots(job, run):
        found = Undone(rows=changes(ledger.outcomes(run)))
    else:
        alone = frozenset(o.key for o in ledger.outcome_rows(run) if o.outcome is Outcome.APPLIED)
        lots = [done for done in ledger.lots.outcomes_of(run) if done.outcome is Outcome.APPLIED and done.count]
        found = Undone(rows=changes(ledger.outcomes(run, alone)), lots=lots, apart=alone)
    if not found.rows and not found.lots:
        raise UsageError(f"run {run} changed no row that could be put back; `trueup show {run}`")
    return found


def _in_lots(job: Job, run: str) -> bool:
    """Can its lots be put back as lots? A database that writes no lots of every kind writes those of changed rows."""
    binding, packer = job.pair.binding, job.target.packer
    if packer is None or binding.projection.sensitive:
        return False
    lots = job.ledger.lots
    return packer.takes(binding) or all(lots.find(done.lot).action is Action.UPDATE for done in lots.outcomes_of(run))


def _chosen(ledger: Ledger, undoing: Undoing, asked: Sequence[Sequence[Key]]) -> dict[Key, Change]:
    """What it did to the rows that were asked for."""
    found = changes(ledger.outcomes(undoing.run, {key for spellings in asked for key in spellings}))
    chosen = [next((key for key in spellings if key in found), None) for spellings in asked]
    for spellings, key in zip(asked, chosen, strict=True):
        if key is None:
            told = ", ".join(map(str, spellings[0]))
            raise UsageError(f"run {undoing.run} did not change the row {told}; `trueup show {undoing.run}`")
    return {key: found[key] for key in chosen if key is not None}


def examine_back(work: Work, undoing: Undoing, changes: Mapping[Key, Change], keys: Sequence[Key]) -> Examined:
    """Rows of the run, as they are now -> decisions."""
    now = rows_now(work, keys)
    decisions, back = [], []
    undone = given_back(work.ledger, undoing.run)
    for key in keys:
        values, token = now.get(key, (None, ""))
        decision = put_back(changes[key], values, token, run=undoing.run, undone=key in undone)
        if decision is None:
            back.append(key)
        else:
            decisions.append(decision)
    tallies = _differing(decisions, work.pair.binding.columns)
    return Examined(decisions=decisions, resolved=back, in_flight=[], tallies=tallies)


def examine_lot_back(work: Work, job: Job, undone: Undone, lot: int) -> Examined:
    """A lot of the run, its rows as they are now -> a lot that puts them back, and decisions about the others."""
    assert job.undoing is not None
    done = _changes_in_lot(work.ledger, job.undoing, undone.apart, lot)
    seen = examine_back(work, job.undoing, done, list(done))
    writing = [item for item in seen.decisions if item.action is not Action.REPORT]
    others = [item for item in seen.decisions if item.action is Action.REPORT]
    wanted = FIRST if job.canary is None else job.canary.size_of(sum(each.count for each in undone.lots))
    first = min(undone.first_of(len(done), wanted), len(writing))
    alone = {turn * len(writing) // first for turn in range(first)}
    together = [item for at, item in enumerate(writing) if at not in alone]
    decisions = [*others, *(writing[at] for at in sorted(alone))]
    binding, size = work.pair.binding, LOT_ROWS if work.target.packer is None else work.target.packer.lot_rows
    lots = [
        lot_of_rows(
            [item.drift for item in together[at : at + size]],
            written=binding.written,
            key_kinds=binding.key_kinds,
            value_kinds=binding.value_kinds,
        )
        for at in range(0, len(together), size)
    ]
    return replace(seen, decisions=decisions, lots=[(part, together[0].action) for part in lots])


def _changes_in_lot(ledger: Ledger, undoing: Undoing, apart: Collection[Key], lot: int) -> dict[Key, Change]:
    row = ledger.lots.find(lot)
    content = ledger.lots.content(row)
    outcomes = (o for done in ledger.lots.outcomes_of(undoing.run, lot) for o in done.of_rows(row, content))
    return changes(outcome for outcome in outcomes if outcome.key not in apart)


def _differing(decisions: Sequence[Decision], columns: Sequence[str]) -> dict[str, int]:
    """In how many of these rows each column is to be put back."""
    drift = [item.drift for item in decisions if item.drift.kind is DriftKind.DIFFERENT]
    pairs = [(row.expected or (), row.observed or ()) for row in drift]
    counts = {name: sum(new[at] != now[at] for new, now in pairs) for at, name in enumerate(columns)}
    return {f"{DIFFERS}{name}": count for name, count in counts.items() if count}
