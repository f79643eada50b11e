"""SQL adapters that only read: what is written about the other half of an adapter, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from trueup.adapters import Marker, Reader, RowOutcome, Unit
from trueup.adapters._dialect import Expression
from trueup.adapters._sql import SqlAdapter
from trueup.core.binding import Binding, BoundSide
from trueup.core.decide import Action
from trueup.core.guarantee import Writing
from trueup.errors import DesignProblem

#: Nothing that a repair could rely on.
NO_WRITING = Writing(row_locks=False, row_version=False, single_writer=False)


class ReadOnly(SqlAdapter):
    """Never writes, and has no kill switch to set: the guarantee class of its targets is REPORT-ONLY."""

    def token_of(self, side: BoundSide) -> Expression:  # noqa: ARG002
        return sa.literal("")

    def locking(self, statement: sa.Select[Any], *, wait: bool) -> sa.Select[Any]:  # noqa: ARG002
        raise self._never()

    def insert_if_absent(self, table: sa.TableClause, row: dict[str, Any]) -> sa.Insert:  # noqa: ARG002
        raise self._never()

    def begin_writing(self, connection: sa.Connection) -> None:  # noqa: ARG002
        raise self._never()

    def begin_fencing(self, connection: sa.Connection) -> None:  # noqa: ARG002
        raise self._never()

    def raise_fence(self, fence: str, *, stop: bool | None = None) -> int | None:  # noqa: ARG002
        return None

    def statement(self, binding: Binding, action: Action) -> str:  # noqa: ARG002
        return ""

    def repair(self, binding: Binding, unit: Unit, source: Reader) -> list[RowOutcome]:  # noqa: ARG002
        raise self._never()

    def claim(self, binding: Binding, unit: str) -> Marker | None:  # noqa: ARG002
        return None

    def forget(self, units: Sequence[str]) -> None:
        """It has no markers."""

    def _never(self) -> DesignProblem:
        return DesignProblem(f"databases.{self.name}: it is only read; nothing was written")
