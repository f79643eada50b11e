"""Rollback: the ledger is the source of truth, and the rows of a run are given their before-images back.

A row is touched only while it still is what the run wrote, by value and by version. All else is left and listed. What
a run subtracted from a row is added again, once: the ledger knows whether it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trueup.changes import changes, given_back
from trueup.core.row import Key, Values
from trueup.core.undo import Change, put_back
from trueup.errors import UsageError
from trueup.job import Undoing
from trueup.reconcile import Examined
from trueup.store.ledger import Ledger
from trueup.store.records import DecisionRow
from trueup.work import Work, rows_now


def changes_of(ledger: Ledger, undoing: Undoing) -> dict[Key, Change]:
    """What the run did, as far as it is proven to be its own doing.

    Raises UsageError if it wrote nothing, or not the rows that were asked for.
    """
    found = changes(ledger, undoing.run)
    if not found:
        raise UsageError(f"run {undoing.run} changed no row that could be put back; `trueup show {undoing.run}`")
    if undoing.keys is None:
        return found
    chosen = [next((key for key in spellings if key in found), None) for spellings in undoing.keys]
    for spellings, key in zip(undoing.keys, chosen, strict=True):
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
    return Examined(decisions=decisions, resolved=back, in_flight=[])


def images(decided: Sequence[DecisionRow]) -> dict[Key, Values | None]:
    """What the rows are to be, by the decisions of a rollback."""
    return {item.decision.drift.key: item.decision.drift.expected for item in decided}
