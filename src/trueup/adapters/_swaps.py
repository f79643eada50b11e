"""Rows that exchange a value of a unique column: one of them is parked at a value that nobody has, in the same
transaction. Never by deleting one: what refers to it would go too.
"""

from __future__ import annotations

from collections.abc import Mapping

from trueup.adapters._outcomes import HeldRow
from trueup.adapters._steps import UnitTransaction
from trueup.core.kinds import Kind
from trueup.core.row import Key, Value, Values

#: Evidence of a row that was parked.
PARKED = "unique_conflict: another row was to have its value; it was parked in between"


def parked(steps: UnitTransaction, held: Mapping[Key, HeldRow], updates: Mapping[Key, Values]) -> dict[Key, Values]:
    """Rows of `updates` that hold what another row of it is to have, with values that are in nobody's way."""
    names = [column.name for column in steps.binding.target.values]
    rows: dict[Key, Values] = {}
    for unique in steps.binding.target.shape.unique:
        places = [names.index(name) for name in sorted(unique) if name in names]
        if len(places) != len(unique):
            continue  # it holds a part of the key, or a column that is not written: nothing is exchanged there
        holders = {tuple(held[key].values[at] for at in places): key for key in updates}
        wanted = [tuple(updates[key][at] for at in places) for key in updates]
        for value, key in zip(wanted, updates, strict=True):
            holder = holders.get(value)
            if holder is not None and holder != key and holder not in rows:
                rows[holder] = _away(steps, held[holder].values, places, len(rows))
    return rows


def _away(steps: UnitTransaction, values: Values, places: list[int], nth: int) -> Values:
    """`values` with one of `places` at a value that no row has. Where there is none to be had, the database refuses the
    unit, and the rows are reported.
    """
    columns = steps.binding.target.values
    at = next((at for at in places if columns[at].nullable), places[0])
    free: Value = None
    if not columns[at].nullable:
        least = steps.least(columns[at]) if columns[at].kind is Kind.INTEGER else None
        free = f"trueup {steps.unit.id} {nth}" if least is None else least - 1 - nth
    return (*values[:at], free, *values[at + 1 :])
