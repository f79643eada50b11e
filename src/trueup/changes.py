"""What a run did to its rows, and what of it was undone: by the ledger, for a row's values cannot tell."""

from __future__ import annotations

from collections.abc import Iterable

from trueup.core.decide import HANDED
from trueup.core.difference import by_difference, less
from trueup.core.row import Key, Values
from trueup.core.states import Outcome
from trueup.core.undo import Change, net
from trueup.store.ledger import Ledger
from trueup.store.records import DecisionRow, OutcomeRow
from trueup.store.standing import Standing


def changes(outcomes: Iterable[OutcomeRow]) -> dict[Key, Change]:
    """What a run did to each row, by its outcomes, as far as it is proven to be its own doing."""
    proven = (
        Change(
            key=o.key,
            before=o.before,
            after=o.after,
            token=o.token,
            off=less(o.before, o.after) if by_difference(o.evidence) else None,
        )
        for o in outcomes
        if o.outcome is Outcome.APPLIED and o.action not in HANDED  # what others did is theirs to undo
    )
    return {change.key: change for change in net(proven)}


def images(decided: Iterable[DecisionRow]) -> dict[Key, Values | None]:
    """What rows are to be, by the decisions of a rollback."""
    return {item.decision.drift.key: item.decision.drift.expected for item in decided}


def by_differences(ledger: Ledger, run: str) -> frozenset[Key]:
    """Rows of which a run subtracted a difference: their values do not tell whether that was undone."""
    done = changes(ledger.outcome_rows(run))  # lots hold values, never differences
    return frozenset(key for key, change in done.items() if change.off is not None)


def given_back(ledger: Ledger, run: str) -> frozenset[Key]:
    """Rows whose difference another run has added again, if that was not undone in its turn."""
    found: set[Key] = set()
    for undid in Standing(ledger).undoing(run):
        found |= by_differences(ledger, undid) - given_back(ledger, undid)
    return frozenset(found)
