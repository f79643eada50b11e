"""Rows of PostgreSQL by key, where the hashes of their keys are the keys: few, and wanted again and again.

The statement is built once for all segments, and sent in one round trip: it is read whole, so it needs no cursor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from trueup.adapters import _postgresql_values as held
from trueup.core.binding import Binding, BoundSide
from trueup.core.plan import KeyHashes
from trueup.core.row import Batch, Value, batch_of

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter

#: Name of the parameter that holds the keys.
_KEYS = "keys"


class RowsByKey:
    """The rows with these keys, all in one batch; at its end the database has said that there are no more."""

    parts = False

    def __init__(
        self,
        adapter: SqlAdapter,
        binding: Binding,
        side: BoundSide,
        asked: tuple[sa.Select[Any], dict[str, Value]],
        *,
        tokens: bool,
    ) -> None:
        self.ended = False
        self._adapter, self._binding, self._side = adapter, binding, side
        self._asked, self._tokens = asked, tokens

    @classmethod
    def of(
        cls, adapter: SqlAdapter, binding: Binding, side: BoundSide, part: KeyHashes, *, tokens: bool
    ) -> RowsByKey | None:
        """None where keys are not to be had from their hashes, or their range depends on its ends."""
        found = adapter.hashed.keys_of(side, part)
        within, ends = adapter.relations.slotted((side,), part.within)
        type_ = type(adapter.type_of(side.key[0]))
        if found is None or not ends or type_ not in held.LISTS:
            return None

        def built() -> sa.Select[Any]:
            rows = adapter.relations.rows(side, within, tokens=tokens, order=False)
            key: Any = rows.selected_columns[0]
            return rows.where(key.element == sa.any_(sa.bindparam(_KEYS, type_=held.LISTS[type_])))

        statement = adapter.built.once(side, (within, tokens), built)
        return cls(adapter, binding, side, (statement, {**ends, _KEYS: held.integers(found)}), tokens=tokens)

    def __iter__(self) -> Iterator[Batch]:
        with self._adapter.reading_once() as connection:
            rows = self._adapter.answered(connection, *self._asked)
        self._adapter.check_keys(self._binding, self._side, rows)
        self.ended = True
        yield batch_of(rows, self._binding.kinds, len(self._binding.key_kinds), tokens=self._tokens)
