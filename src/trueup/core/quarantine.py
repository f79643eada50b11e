"""Rows that are left out of repairs until something changes: what is known of each, and when it is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from trueup.core.compare import Suspect
from trueup.core.projection import Recurring
from trueup.core.row import Key, Values

#: So many rows refused in one run are no single bad rows any more.
REFUSED_MAX = 100
#: So many segments or rows that cannot be read in one run, likewise.
UNREADABLE_MAX = 20
#: So many recurring rows, if they are also most of what is to be repaired, are a writer that is broken for all.
RECURRING_MANY = 20


class Trouble(StrEnum):
    """What is wrong with a row in quarantine."""

    #: The target's database refused what it should hold: a constraint, a trigger, a value out of range.
    REFUSED = "refused"
    #: The function of a backfill failed on it.
    FAILED = "failed"
    #: Its values cannot be read, parsed or compared.
    UNREADABLE = "unreadable"
    #: It was repaired again and again: some writer breaks it.
    RECURRING = "recurring"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quarantined:
    """One row in quarantine."""

    key: Key
    trouble: Trouble
    #: Why, in words.
    reason: str
    #: What shows it: the repairs of a recurring row, the segment in which a row could not be read. Plain JSON.
    evidence: Any = None
    #: What the source said when the row came here, and what the target held; None: no row, or it could not be read.
    expected: Values | None = None
    observed: Values | None = None
    first_seen: datetime
    last_seen: datetime
    #: Runs that tried it and failed.
    attempts: int = 1
    #: The run that saw it last.
    run: str

    @property
    def told(self) -> str:
        """Why it is left out of a repair, in words."""
        return f"quarantined since {self.first_seen:%Y-%m-%d %H:%M} UTC ({self.trouble}): {self.reason}"

    def holds(self, suspect: Suspect) -> bool:
        """Is there still no point in repairing it? A refused row is tried again when either side has changed."""
        if self.trouble in (Trouble.REFUSED, Trouble.FAILED):
            return (self.expected, self.observed) == suspect.pair
        return self.trouble is Trouble.RECURRING


@dataclass(frozen=True, kw_only=True, slots=True)
class Repaired:
    """One repair of a row that recurs."""

    run: str
    at: datetime
    before: Values | None
    after: Values | None


def recurs(history: Sequence[Repaired], declared: Recurring, released: datetime | None) -> bool:
    """Has this row been repaired so often that the next repair would only hide a bug?

    `history`: its repairs within the declared time; `released`: when somebody last took it out of quarantine.
    """
    since = [repair for repair in history if released is None or repair.at > released]
    return declared.times > 0 and len({repair.run for repair in since}) >= declared.times


def too_many(recurring: int, writing: int) -> bool:
    """Are recurring rows so many that something is wrong for all? `writing`: rows to be repaired, these included."""
    return recurring >= RECURRING_MANY and recurring * 2 >= writing
