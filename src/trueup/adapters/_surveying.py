"""What looks at the ways to read a database have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from trueup.core.binding import Binding, BoundSide
from trueup.core.plan import Segment

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter


class Surveying:
    """One look at the ways to read, in one transaction."""

    def __init__(self, adapter: SqlAdapter, connection: sa.Connection) -> None:
        self.adapter = adapter
        self.relations = adapter.relations
        self.connection = connection

    def reading(self, binding: Binding, of: Sequence[BoundSide], segment: Segment, *, ordered: bool = True) -> Any:
        """The statement that compares both sides, or reads the one that is here. Of rows that are too wide to be
        compared in one statement it is about some of their columns: it is asked what reading costs.
        """
        if len(of) == 2:
            return self.adapter.comparison(binding.first(self.adapter.columns_inside), segment).selects[0]
        # The other side lives elsewhere: its columns mean nothing here.
        return self.relations.rows(of[0], segment, tokens=False, order=ordered)
