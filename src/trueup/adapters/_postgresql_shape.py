"""What PostgreSQL says of tables and queries: columns by their base types, unique indexes, and what these hold for.

A domain is compared as the type that it restricts. A constraint is relied on only where it holds for every row that is
read: a parent in an inheritance tree has neither its unique indexes nor, always, its NOT NULLs in its children, nobody
enforces those of a foreign table, and PostgreSQL 18 has NOT NULLs that are not validated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from trueup.adapters import _postgresql_values as held
from trueup.adapters._postgresql_values import Equality
from trueup.adapters._results import GRANT
from trueup.core.binding import Column, Shape, near
from trueup.errors import ConfigError

#: A relation, whether all of it may be read, whether what is declared of it holds for all rows that it gives, and what
#: puts them into partitions: columns, or an expression ('').
_RELATION = sa.text("""
    SELECT c.oid, c.relkind::text AS kind, has_table_privilege(c.oid, 'SELECT') AS readable, CASE c.relkind
             WHEN 'r' THEN NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid)
             WHEN 'p' THEN NOT EXISTS (SELECT FROM pg_partition_tree(c.oid) p JOIN pg_class k ON k.oid = p.relid
                                       WHERE k.relkind = 'f')
             ELSE c.relkind <> 'f' END AS holds, CASE c.relkind
             WHEN 'p' THEN (SELECT array_agg(DISTINCT coalesce(a.attname, '')::text) FROM pg_partition_tree(c.oid) p
                            JOIN pg_partitioned_table t ON t.partrelid = p.relid
                            CROSS JOIN unnest(t.partattrs::int2[]) AS n
                            LEFT JOIN pg_attribute a ON a.attrelid = t.partrelid AND a.attnum = nullif(n, 0))
             END AS divided_by
    FROM pg_class c WHERE c.oid = to_regclass(:name)""")
#: Columns of a relation with what decides whether they can be read, written and looked up.
_COLUMNS = sa.text("""
    WITH RECURSIVE base AS (
        SELECT attnum, atttypid AS type, atttypmod AS typmod
        FROM pg_attribute WHERE attrelid = :relation AND attnum > 0 AND NOT attisdropped
        UNION ALL SELECT attnum, typbasetype, typtypmod FROM base JOIN pg_type ON oid = type WHERE typtype = 'd')
    SELECT a.attname AS name, a.attnum AS number, t.oid, t.typname AS base, t.typtype::text AS type_type,
           format_type(b.type, b.typmod) AS type, a.attnotnull AS not_null,
           a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = a.attrelid AND n.contype = 'n'
                                        AND n.conkey = ARRAY[a.attnum] AND NOT n.convalidated) AS validated,
           a.atthasdef OR a.attidentity <> '' AS has_default, a.attgenerated <> '' AS generated,
           a.attidentity = 'a' AS numbered
    FROM pg_attribute a JOIN base b USING (attnum) JOIN pg_type t ON t.oid = b.type
    WHERE a.attrelid = :relation AND t.typtype <> 'd' ORDER BY a.attnum""")
#: Types by number. What a query gives is of no domain.
_TYPES_OF = sa.text("""
    SELECT oid, typname AS base, typtype::text AS type_type, format_type(oid, NULL) AS type
    FROM pg_type WHERE oid = ANY (:oids)""")
#: Of these types, what is to be known of the equality of a field, an element or an end: whether it takes two different
#: values for one, and whether there is none. (Which range a multirange is of is asked in a way that PostgreSQL 13
#: understands, which has none.)
_EQUALITIES = sa.text("""
    WITH RECURSIVE part AS (
        SELECT oid AS root, oid AS type, typcollation AS collated FROM pg_type WHERE oid = ANY (:oids)
        UNION SELECT root, inner_.oid, inner_.collated FROM part JOIN pg_type t ON t.oid = type CROSS JOIN LATERAL (
            SELECT oid, typcollation AS collated FROM pg_type
            WHERE t.typtype = 'd' AND oid = t.typbasetype OR t.typcategory = 'A' AND oid = t.typelem
            UNION ALL SELECT rngsubtype, rngcollation FROM pg_range r
            WHERE t.oid IN (rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid)
            UNION ALL SELECT atttypid, attcollation FROM pg_attribute
            WHERE t.typtype = 'c' AND attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped) inner_)
    SELECT root, bool_or(t.typname IN ('interval', 'citext', 'tsquery') OR NOT c.collisdeterministic) AS loose,
           bool_or(t.typtype = 'b' AND t.typcategory <> 'A' AND NOT EXISTS (
               SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = opcmethod
               WHERE opcdefault AND amname IN ('btree', 'hash') AND (opcintype = t.oid OR EXISTS (
                   SELECT FROM pg_cast
                   WHERE castsource = t.oid AND casttarget = opcintype AND castmethod = 'b' AND castcontext = 'i'))
           )) AS lacking
    FROM part JOIN pg_type t ON t.oid = type LEFT JOIN pg_collation c ON c.oid = collated GROUP BY root""")
#: Triggers of a relation, with the text of their functions.
_TRIGGERS = sa.text("""
    SELECT t.tgname AS name, t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid) || ' ' || p.prosrc AS told
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE t.tgrelid = :relation AND NOT t.tgisinternal""")
#: Tables that a delete reaches by a foreign key.
_DEPENDENTS = sa.text("""
    SELECT DISTINCT conrelid::regclass::text FROM pg_constraint
    WHERE confrelid = :relation AND contype = 'f' AND confdeltype IN ('c', 'n', 'd') ORDER BY 1""")
#: Complete, valid indexes of a relation over plain columns; the last columns of some are only held, no part of the key.
_INDEXES = sa.text("""
    SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum)) AS columns,
           i.indnkeyatts AS width, i.indisunique AND i.indimmediate AS is_unique, i.indisprimary AS is_primary
    FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
    WHERE i.indrelid = :relation AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    GROUP BY i.indexrelid, i.indnkeyatts, 3, i.indisprimary""")
#: What stands in the way of a repair where single columns were granted.
_NO_VERSIONS = "the version of a row (xmin) cannot be read without SELECT on the whole table" + GRANT


def describe_table(connection: sa.Connection, database: str, table: str, dialect: str) -> Shape:
    schema, _, name = table.rpartition(".")
    relation = connection.execute(_RELATION, {"name": held.regclass(table)}).one_or_none()
    if relation is None:
        tables = sa.inspect(connection).get_table_names(schema or None)
        raise ConfigError(f"databases.{database}: there is no table {table!r}; {near(name, tables)}")
    of = {"relation": relation.oid}
    rows = connection.execute(_COLUMNS, of).all()
    equalities = _equalities(connection, rows)
    columns = {
        row.name: held.column_of(
            row.name,
            row,
            equality=equalities.get(row.oid, Equality.EXACT),
            nullable=not (row.validated and relation.holds),
            required=row.not_null and not row.has_default and not row.generated,
            generated=row.generated,
            numbered=row.numbered,
            number=row.number,
        )
        for row in rows
    }
    indexes = connection.execute(_INDEXES, of).all()
    unique = [index for index in indexes if index.is_unique and relation.holds]
    return Shape(
        columns=columns,
        unique=tuple(frozenset(index.columns[: index.width]) for index in unique),
        indexes=tuple(tuple(index.columns) for index in indexes),
        divided_by=tuple(relation.divided_by or ()) if relation.holds else ("",),
        primary=next((tuple(index.columns[: index.width]) for index in unique if index.is_primary), ()),
        triggers={row.name: row.told for row in connection.execute(_TRIGGERS, of)},
        dependents=tuple(connection.execute(_DEPENDENTS, of).scalars()),
        table=relation.kind in ("r", "p"),
        dialect=dialect,
        obstacle="" if relation.readable else _NO_VERSIONS,
    )


def describe_query(connection: sa.Connection, described: Sequence[Any]) -> dict[str, Column]:
    """Columns of a query, from the driver's description of it."""
    types = connection.execute(_TYPES_OF, {"oids": [item[1] for item in described]}).all()
    equalities = _equalities(connection, types)
    by_oid = {row.oid: row for row in types}
    return {
        name: held.column_of(name, by_oid[oid], equality=equalities.get(oid, Equality.EXACT))
        for name, oid, *_ in described
    }


def _equalities(connection: sa.Connection, types: Sequence[sa.Row[Any]]) -> dict[int, Equality]:
    """What equality is worth, of those types that have only their own."""
    own = [row.oid for row in types if row.base not in held.KINDS]
    found = connection.execute(_EQUALITIES, {"oids": own}).all() if own else ()
    return {row.root: Equality.LACKING if row.lacking else Equality.LOOSE for row in found if row.lacking or row.loose}
