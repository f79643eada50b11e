"""What a run did to its rows, and what of it was undone: by the ledger, for a row's values cannot tell."""

from __future__ import annotations

from trueup.core.decide import HANDED
from trueup.core.difference import by_difference, less
from trueup.core.row import Key
from trueup.core.states import Outcome
from trueup.core.undo import Change, net
from trueup.store.ledger import Ledger
from trueup.store.standing import Standing


def changes(ledger: Ledger, run: str) -> dict[Key, Change]:
    """What a run did to each row, as far as it is proven to be its own doing."""
    proven = [
        Change(
            key=o.key,
            before=o.before,
            after=o.after,
            token=o.token,
            off=less(o.before, o.after) if by_difference(o.evidence) else None,
        )
        for o in ledger.outcomes(run)
        if o.outcome is Outcome.APPLIED and o.action not in HANDED  # what others did is theirs to undo
    ]
    return {change.key: change for change in net(proven)}


def by_differences(ledger: Ledger, run: str) -> frozenset[Key]:
    """Rows of which a run subtracted a difference: their values do not tell whether that was undone."""
    return frozenset(key for key, change in changes(ledger, run).items() if change.off is not None)


def given_back(ledger: Ledger, run: str) -> frozenset[Key]:
    """Rows whose difference another run has added again, if that was not undone in its turn."""
    found: set[Key] = set()
    for undid in Standing(ledger).undoing(run):
        found |= by_differences(ledger, undid) - given_back(ledger, undid)
    return frozenset(found)
