"""Looking for derived columns in PostgreSQL; it keeps materialised views, too."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from trueup.adapters._discovering import SqlDiscoverer
from trueup.core.discover.facts import KeptQuery
from trueup.core.discover.judge import Figures

#: What ANALYZE last counted; -1 where it never did.
_ROWS = sa.text("""
    SELECT CASE WHEN n.nspname = current_schema() THEN c.relname ELSE n.nspname || '.' || c.relname END AS name,
           c.reltuples::bigint AS estimated
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.reltuples >= 0""")
_KEPT = sa.text("""
    SELECT CASE WHEN n.nspname = current_schema() THEN c.relname ELSE n.nspname || '.' || c.relname END AS name,
           pg_get_viewdef(c.oid) AS query,
           (SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
           (SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_index i
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::smallint[])
            WHERE i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
            GROUP BY i.indexrelid ORDER BY count(*), i.indexrelid LIMIT 1) AS key
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'm' AND c.relispopulated AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1""")


class PostgresqlDiscoverer(SqlDiscoverer):
    """Knows PostgreSQL's estimates and materialised views."""

    def rows(self, connection: sa.Connection) -> Mapping[str, int]:
        return {row.name: row.estimated for row in connection.execute(_ROWS)}

    def kept_queries(self, connection: sa.Connection) -> list[KeptQuery]:
        return [
            KeptQuery(
                name=row.name,
                query=row.query.strip().rstrip(";"),
                columns=tuple(row.columns),
                key=tuple(row.key or ()),
            )
            for row in connection.execute(_KEPT)
        ]

    def kept(self, view: KeptQuery) -> Figures:
        schema, _, bare = view.name.rpartition(".")
        columns: list[sa.ColumnClause[object]] = [sa.column(name) for name in view.columns]
        held = sa.select(*columns).select_from(sa.table(bare, schema=schema or None))
        query = sa.text(view.query).columns(*columns).subquery("q")
        meant = sa.select(*(query.c[name] for name in view.columns))
        counts = [
            sa.select(sa.func.count()).select_from(rows.subquery(name)).scalar_subquery()
            for name, rows in (
                ("h", held),
                ("gone", sa.except_all(meant, held)),
                ("stale", sa.except_all(held, meant)),
            )
        ]
        with self.adapter.reading() as connection:
            rows, gone, stale = connection.execute(sa.select(*counts)).one()
        return Figures(rows=rows, wrong=max(gone, stale), telling=max(rows, gone), varied=True)
