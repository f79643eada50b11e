"""Two tables of one PostgreSQL database in one pass: digests of both sides first, and a join of what differs in them.

A join of two large tables sorts or writes down both; to digest them is to read each once. The digests of both sides are
had by one statement, as of one moment. Rows of the leaves that differ are then joined by another one, as ever, and that
is of one moment, too: so no row that was written together with its like is taken for a difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from trueup.adapters import Look
from trueup.adapters._comparison import cheap_again
from trueup.core.binding import Binding
from trueup.core.compare import Counts
from trueup.core.digest import LEAVES_OF_ALL, Hashing, RowHash, agree, differing, rows_in
from trueup.core.plan import Everything, Leaves, Part, Range

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter

#: Beyond this share of rows in leaves that differ they are joined with all others.
JOINED_SHARE = 0.25


class Inside:
    """What one pass does in one database."""

    def __init__(self, adapter: SqlAdapter) -> None:
        self._adapter = adapter

    @cached_property
    def _offers(self) -> list[RowHash]:
        """What this very server makes of values as they are stored: of both sides, the same."""
        return [offer for offer in self._adapter.hashes() if not offer.portable]

    def hashing(self, binding: Binding) -> Hashing | None:
        """How rows of both tables are hashed; None where they are joined at once: also where rows that only the target
        has may be right, since leaves with such rows differ.
        """
        nulls = binding.source.null_keys or binding.target.null_keys
        if binding.projection.exact or binding.absent is not None or nulls or not cheap_again(binding, Everything()):
            return None
        hashing, _ = agree(binding, self._offers, self._offers)
        return hashing and replace(hashing, leaves=LEAVES_OF_ALL)

    def compared(self, binding: Binding, segment: Part, join: Callable[[Part], Look | None]) -> Look | None:
        """Everything, compared by digests; `join`: what is compared by value. Other segments are joined at once."""
        hashing = self.hashing(binding) if segment == Everything() else None
        if hashing is None:
            return join(segment)
        sides = binding.source, binding.target
        with self._adapter.reading_once() as connection:
            source, target = self._adapter.hashed.digests_of_both(connection, sides, Range(), hashing)
        leaves = differing(source, target)
        whole, rows = (max(rows_in(source, some), rows_in(target, some)) for some in (None, leaves))
        if rows > JOINED_SHARE * whole:
            return join(segment)
        equal = rows_in(source) - rows_in(source, leaves)
        counts = Counts(source_rows=equal, target_rows=equal)
        if not leaves:
            return Look(counts=counts, suspects=[])
        found = join(Leaves(within=Range(), hashing=hashing, leaves=tuple(leaves)))
        if found is None:
            return None
        counts += found.counts
        return replace(found, counts=counts)
