"""Rows that are written one by one, each by itself, in a store without transactions; and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from trueup.adapters import RowOutcome
from trueup.adapters._outcomes import HeldRow
from trueup.core.binding import Binding
from trueup.core.row import Key
from trueup.core.states import Outcome
from trueup.errors import DataProblem, DesignProblem

#: Evidence of a row that was not written because somebody wrote in between.
MOVING = "somebody wrote while the source was read"


class Alone:
    """Rows of one unit that are written one by one, in a store without transactions."""

    def __init__(self, binding: Binding) -> None:
        self._hidden = any(binding.hidden)
        self._written = False

    def write(self, rows: Sequence[RowOutcome], one: Callable[[RowOutcome], bool]) -> Written:
        """Write each row by `one`, which says whether it was as it had been read.

        A row that is refused (DataProblem), or a writer that does not keep to what is agreed (DesignProblem), is the
        unit's problem only while no row was written: after that nobody else would know of what the others hold now, and
        that this run wrote it.
        """
        lost, refused = set[Key](), dict[Key, str]()
        for at, row in enumerate(rows):
            try:
                if one(row):
                    self._written = True
                else:
                    lost.add(row.key)
            except DataProblem as problem:
                if not self._written:
                    raise
                hidden = "the row was refused; what was said may hold sensitive values, and is not kept"
                refused[row.key] = hidden if self._hidden else str(problem)
            except DesignProblem as problem:
                if not self._written:
                    raise
                refused |= dict.fromkeys((left.key for left in rows[at:]), str(problem))
                break
        return Written(lost=lost, refused=refused)


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What was said when rows were written one by one; the others were written."""

    #: Rows that had moved.
    lost: Collection[Key]
    #: Why a row was refused.
    refused: Mapping[Key, str]


def written_back(rows: Sequence[RowOutcome], done: Written, now: Mapping[Key, HeldRow]) -> list[RowOutcome]:
    """What became of rows that were written one by one, by what they hold `now`."""
    judged = []
    for row in rows:
        there = now.get(row.key)
        if why := done.refused.get(row.key):
            judged.append(RowOutcome(key=row.key, outcome=Outcome.FAILED, before=row.before, evidence=why))
        elif row.key in done.lost or (row.after is None and there is not None):
            judged.append(not_written(row, MOVING))
        elif (None if there is None else there.values) != row.after:
            judged.append(not_written(row, "it does not hold what was written a moment ago"))
        else:
            judged.append(replace(row, token=there.token if there else ""))
    return judged


def not_written(row: RowOutcome, why: str) -> RowOutcome:
    """Left for another try."""
    return RowOutcome(key=row.key, outcome=Outcome.CAS_LOST, before=row.before, evidence=why, busy=True)
