"""Looking for derived columns in MariaDB and MySQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from trueup.adapters._dialect import Expression
from trueup.adapters._discovering import SqlDiscoverer
from trueup.core.discover.facts import Sort

#: InnoDB's own estimate.
_ROWS = sa.text("""
    SELECT TABLE_NAME AS name, TABLE_ROWS AS estimated FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' AND TABLE_ROWS IS NOT NULL""")


class MysqlDiscoverer(SqlDiscoverer):
    """Knows MySQL's spelling of booleans, and that text may be kept as bytes."""

    def rows(self, connection: sa.Connection) -> Mapping[str, int]:
        return {row.name: int(row.estimated) for row in connection.execute(_ROWS)}

    def sort_of(self, type_: sa.types.TypeEngine[Any]) -> Sort:
        if isinstance(type_, mysql.TINYINT) and type_.display_width == 1:
            return Sort.BOOLEAN
        if isinstance(type_, sa.VARBINARY | sa.BINARY):
            return Sort.TEXT
        return super().sort_of(type_)

    def exactly(self, expression: Expression) -> Expression:
        return sa.cast(expression, sa.LargeBinary)
