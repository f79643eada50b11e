"""What a run did to each row, and what puts it back: only onto a row that still is what the run wrote.

A difference that was subtracted is another matter: it is added again, once, whatever the row holds by now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from trueup.core.compare import DriftKind, Suspect
from trueup.core.decide import Action, Decision
from trueup.core.difference import Off, corrected, opposite, together
from trueup.core.row import Key, Values

#: What a look at a lot tallies, before the name of a column: rows in which it differs.
DIFFERS = "different: "

_ACTIONS = {DriftKind.MISSING: Action.INSERT, DriftKind.EXTRA: Action.DELETE, DriftKind.DIFFERENT: Action.UPDATE}


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What a run did to one row."""

    key: Key
    #: None: there was no row.
    before: Values | None
    #: None: it took the row away.
    after: Values | None
    #: Version of the row that it left; "" where the database has none.
    token: str
    #: It subtracted this, whatever the row held; None: it wrote the values.
    off: Off | None = None


def net(changes: Iterable[Change]) -> list[Change]:
    """One change for each row that is not as it was, out of all that a run did, in order.

    A row that was written more than once goes back as far as nobody else wrote it in between.
    """
    found: dict[Key, Change] = {}
    for change in changes:
        earlier = found.get(change.key)
        if earlier is not None and earlier.off is not None and change.off is not None:
            found[change.key] = replace(change, off=together(earlier.off, change.off))
            continue
        unbroken = earlier is not None and earlier.after == change.before
        found[change.key] = replace(change, before=earlier.before, off=None) if earlier and unbroken else change
    return [change for change in found.values() if change.before != change.after]


def put_back(change: Change, observed: Values | None, token: str, *, run: str, undone: bool = False) -> Decision | None:
    """What to do about a row of `run` that is now `observed`, with version `token`; None: it is back already.

    `undone`: the ledger knows that a difference was given back; the row's values cannot tell.
    """
    if change.off is not None:
        return None if undone else _given_back(change, change.off, observed, token, run=run)
    if observed == change.before:
        return None
    kind = DriftKind.DIFFERENT
    if change.before is None or observed is None:
        kind = DriftKind.EXTRA if change.before is None else DriftKind.MISSING
    held = token if observed is not None else change.token  # of a tombstone that the run left, where rows have them
    drift = Suspect(kind=kind, key=change.key, expected=change.before, observed=observed, token=held)
    if observed != change.after or (change.token and token and change.token != token):
        return Decision(drift=drift, action=Action.REPORT, reason=f"changed since {run} wrote it")
    return Decision(drift=drift, action=_ACTIONS[kind])


def _given_back(change: Change, off: Off, observed: Values | None, token: str, *, run: str) -> Decision:
    """What was subtracted is added again, whoever wrote the row since: writers change it by as much as its source."""
    wanted = None if observed is None else corrected(observed, opposite(off))
    kind = DriftKind.MISSING if observed is None else DriftKind.DIFFERENT
    before = change.before if wanted is None else wanted
    drift = Suspect(kind=kind, key=change.key, expected=before, observed=observed, token=token)
    if wanted is None:
        return Decision(drift=drift, action=Action.REPORT, reason=f"gone, or no number, since {run} wrote it")
    return Decision(drift=drift, action=Action.UPDATE)
