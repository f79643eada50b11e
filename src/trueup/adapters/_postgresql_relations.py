"""Text of a database whose encoding is not UTF-8: in the order that all databases have in common.

Collation C orders by the bytes of the database's own encoding. In WIN1252 the euro sign stands before all accented
letters, in UTF-8 behind them; and the end of a range, from the other side, may have letters that this encoding has not.
So both are compared by their bytes in UTF-8. No index serves that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from trueup.adapters._comparison import materialized
from trueup.adapters._dialect import Expression
from trueup.adapters._relations import Relations
from trueup.core.binding import Binding, Column
from trueup.core.plan import Part
from trueup.core.row import Kind, Value

#: Encodings whose bytes have the order of UTF-8. What SQL_ASCII holds is sent as it is, and has to be UTF-8.
IN_ORDER = ("UTF8", "SQL_ASCII")
#: Encodings of one byte a letter -> Python's name. Of others it is only tried whether they have a letter.
_CODECS = {
    **{f"LATIN{number}": f"iso8859-{part}" for number, part in enumerate((1, 2, 3, 4, 9, 10, 13, 14, 15, 16), 1)},
    **{f"ISO_8859_{part}": f"iso8859-{part}" for part in (5, 6, 7, 8)},
    **{f"WIN{page}": f"cp{page}" for page in (866, 1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258)},
    "KOI8R": "koi8-r",
}


class Utf8(sa.types.TypeDecorator[str]):
    """Text as its bytes in UTF-8."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:  # noqa: ARG002
        return value.encode() if isinstance(value, str) else value


class PostgresqlRelations(Relations):
    """Relations of a database of any encoding: statements about text are built once it was connected to."""

    #: As the server calls it; None until it was connected to.
    encoding: str | None = None

    def once(self, binding: Binding, segment: Part) -> Sequence[Expression]:
        """Asked in the statement that compares: another one would see another moment, and one transaction that sees a
        single moment may see a table empty that was refilled (TRUNCATE) while it waited for it.
        """
        sides = [side for side in (binding.source, binding.target) if not side.unique]
        if not sides:
            return ()
        once = sa.and_(*(~sa.exists(self.repeats(side, segment)) for side in sides))
        return [sa.select(materialized(sa.select(once.label("once")), "trueup_o").c.once).scalar_subquery()]

    def sorted_by(self, column: Column, expression: Expression) -> Expression:
        if not self._converted(column):
            return self.ordered(column, expression)
        text = self.read_as(column, expression)
        return sa.func.convert_to(text, sa.literal_column("'UTF8'"), type_=Utf8())

    def border(self, column: Column, value: Value) -> Expression:
        if self._converted(column):
            return self._parameter(column, value, Utf8())
        return super().border(column, value)

    def has(self, text: str) -> bool:
        """May the encoding have these letters? Asking for others is an error."""
        codec = _CODECS.get(self._known())
        if codec is None:
            return True
        try:
            text.encode(codec)
        except UnicodeEncodeError:
            return False
        return True

    def _converted(self, column: Column) -> bool:
        return column.kind is Kind.TEXT and self._known() not in IN_ORDER

    def _known(self) -> str:
        if self.encoding is None:
            raise RuntimeError("a statement about text was built before its database told its encoding")
        return self.encoding
