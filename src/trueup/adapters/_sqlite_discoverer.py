"""Looking for derived columns in an SQLite file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import sqlalchemy as sa

from trueup.adapters._discovering import SqlDiscoverer


class SqliteDiscoverer(SqlDiscoverer):
    """Knows how many rows a table has by its greatest rowid, which is found without reading the others."""

    #: An inline UNIQUE is only to be seen by the index that SQLite makes of it.
    index_options = MappingProxyType({"include_auto_indexes": True})

    def rows(self, connection: sa.Connection) -> Mapping[str, int]:
        quote = connection.dialect.identifier_preparer.quote
        names = connection.exec_driver_sql(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND wr = 0"
        ).scalars()
        return {
            name: int(connection.exec_driver_sql(f"SELECT coalesce(max(rowid), 0) FROM {quote(name)}").scalar_one())
            for name in names.all()
        }
