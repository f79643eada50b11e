"""Rows that are left over in a store whose names two rows can have: `a:b:c` is (a, b:c), and was made for (a:b, c).

Such a name is read in one way, and the row that it was made for has none. It is right all the same, and not deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

from trueup.adapters import Reader, RowOutcome
from trueup.adapters._outcomes import read_source
from trueup.core.binding import Binding
from trueup.core.decide import Action
from trueup.core.row import Key
from trueup.core.states import Outcome

#: Other keys of one name that the source is asked for; of a name that has more it is not known, and it stays.
KEYS_MAX = 50
TOO_MANY = "not deleted: its name can be read in so many ways that it may be another source row's"


class Named(Protocol):
    """A store whose rows have names."""

    def namesakes(self, binding: Binding, key: Key) -> Iterator[Key]:
        """Other keys that a row's name could have been made for."""


def spared(named: Named, binding: Binding, outcomes: Sequence[RowOutcome], source: Reader) -> list[RowOutcome]:
    """The same, but for rows to be deleted under a name that a row of the source has."""
    others = {
        row.key: list(islice(named.namesakes(binding, row.key), KEYS_MAX + 1))
        for row in outcomes
        if row.outcome is Outcome.APPLIED and row.action is Action.DELETE
    }
    asked = list(dict.fromkeys(key for keys in others.values() for key in keys[:KEYS_MAX]))
    there = read_source(source, binding, asked) if asked else {}
    owners = {row: [key for key in keys[:KEYS_MAX] if key in there] for row, keys in others.items()}
    why = {row: _shared(keys[0]) for row, keys in owners.items() if keys}
    why |= {row: TOO_MANY for row, keys in others.items() if len(keys) > KEYS_MAX and row not in why}
    return [
        RowOutcome(key=row.key, outcome=Outcome.CAS_LOST, before=row.before, evidence=why[row.key])
        if row.key in why
        else row
        for row in outcomes
    ]


def _shared(owner: Key) -> str:
    return f"not deleted: its name is that of the source row {owner} too, and nothing tells them apart"
