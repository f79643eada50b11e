"""A lot in any SQL database: its rows are locked, compared with what was seen, written and read back, some at a time,
in one transaction.

Only for lots whose rows are written as they were seen (`_as_seen`): there nothing else has to be known of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import sqlalchemy as sa

from trueup.adapters import Look, LotUnit, Unit
from trueup.adapters._as_seen import as_seen
from trueup.adapters._steps import UnitTransaction
from trueup.adapters._units import read_back
from trueup.core.binding import Binding
from trueup.core.compare import Suspect
from trueup.core.guarantee import Protocol
from trueup.core.lot import LOT_ROWS, LotOutcome
from trueup.core.plan import Segment
from trueup.core.row import Key
from trueup.core.states import Outcome

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter

#: Rows that are locked, written and read back by a statement each.
ROWS_AT_ONCE = 1_000


class RowPacker:
    """Writes lots row by row; it finds none."""

    lot_rows = LOT_ROWS

    def __init__(self, adapter: SqlAdapter) -> None:
        self.adapter = adapter

    def takes(self, binding: Binding) -> bool:  # noqa: ARG002 - comparing by lots is what a database offers
        return False

    def compared(self, binding: Binding, segment: Segment) -> Look | None:  # noqa: ARG002
        return None

    def carry_out(self, binding: Binding, unit: LotUnit) -> LotOutcome:
        rows = unit.lot.rows()
        left: list[Key] = []
        with self.adapter.writing() as connection:
            fenced = self._steps(connection, binding, unit, [])
            fenced.hold_fence()
            fenced.leave_marker()
            token = ""
            for at in range(0, len(rows), ROWS_AT_ONCE):
                part = rows[at : at + ROWS_AT_ONCE]
                token = self._rows_written(self._steps(connection, binding, unit, part), part, left) or token
            outcome = LotOutcome(token=token, left=tuple(left))
            fenced.sign(outcome.to_json())
        return outcome

    def _steps(
        self, connection: sa.Connection, binding: Binding, unit: LotUnit, drift: Sequence[Suspect]
    ) -> UnitTransaction:
        mine = Unit(
            id=unit.id, fence=unit.fence, token=unit.token, protocol=Protocol.AS_SEEN, drift=drift, as_planned=False
        )
        return UnitTransaction(self.adapter, connection, binding, mine)

    @staticmethod
    def _rows_written(steps: UnitTransaction, rows: Sequence[Suspect], left: list[Key]) -> str:
        """Some rows of the lot; the version that they got. Those that are not written are put into `left`."""
        held = steps.lock([row.key for row in rows])
        done = [as_seen(False, row, held.get(row.key)) for row in rows]
        written = [outcome for outcome in done if outcome is not None and outcome.outcome is Outcome.APPLIED]
        mine = {outcome.key for outcome in written}
        left += [row.key for row in rows if row.key not in mine]
        steps.update({outcome.key: outcome.after for outcome in written if outcome.after is not None})
        return next((outcome.token for outcome in read_back(steps, written)), "")
