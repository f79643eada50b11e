"""What MariaDB and MySQL say of tables and queries: columns, unique indexes, and whether a row lock would hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from trueup.adapters import _mysql_values as held
from trueup.adapters._relations import user_query
from trueup.core.binding import Column, Shape, near
from trueup.core.row import Kind
from trueup.errors import ConfigError

#: Name of the dialect as SQLGlot knows it.
DIALECT = "mysql"

_COLUMNS = sa.text("""
    SELECT COLUMN_NAME AS name, DATA_TYPE AS base, COLUMN_TYPE AS type, COLLATION_NAME AS collation,
           IS_NULLABLE AS nullable, COLUMN_DEFAULT AS fallback, EXTRA AS extra,
           coalesce(GENERATION_EXPRESSION, '') = 'ROW END' AS row_end
    FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = coalesce(:schema, DATABASE()) AND TABLE_NAME = :name
    ORDER BY ORDINAL_POSITION""")
_TABLE = sa.text("""
    SELECT TABLE_TYPE AS type, ENGINE AS engine, CREATE_OPTIONS LIKE '%partitioned%' AS parted
    FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = coalesce(:schema, DATABASE()) AND TABLE_NAME = :name""")
#: Columns of indexes; a part of a column (prefix) or an expression is not unique on the column.
_INDEXES = sa.text("""
    SELECT INDEX_NAME AS name, COLUMN_NAME AS of, SUB_PART IS NOT NULL OR COLUMN_NAME IS NULL AS partial,
           NON_UNIQUE = 0 AS is_unique
    FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = coalesce(:schema, DATABASE()) AND TABLE_NAME = :name
    ORDER BY INDEX_NAME, SEQ_IN_INDEX""")

#: Engines of tables whose rows are elsewhere: what is declared of keys and NULL here nobody has checked.
_ELSEWHERE = frozenset({"MRG_MYISAM", "FEDERATED", "CONNECT", "SPIDER", "S3"})

_TRIGGERS = sa.text("""
    SELECT TRIGGER_NAME AS name, concat_ws(' ', ACTION_TIMING, EVENT_MANIPULATION, ACTION_STATEMENT) AS told
    FROM information_schema.TRIGGERS
    WHERE EVENT_OBJECT_SCHEMA = coalesce(:schema, DATABASE()) AND EVENT_OBJECT_TABLE = :name""")

#: Tables that a delete reaches by a foreign key.
_DEPENDENTS = sa.text("""
    SELECT DISTINCT TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
    WHERE UNIQUE_CONSTRAINT_SCHEMA = coalesce(:schema, DATABASE()) AND REFERENCED_TABLE_NAME = :name
      AND DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') ORDER BY 1""")


def describe_table(connection: sa.Connection, database: str, table: str) -> Shape:
    schema, _, name = table.rpartition(".")
    where = {"schema": schema or None, "name": name}
    found = connection.execute(_TABLE, where).one_or_none()
    if found is None:
        tables = sa.inspect(connection).get_table_names(schema or None)
        raise ConfigError(f"databases.{database}: there is no table {table!r}; {near(name, tables)}")
    holds = (found.engine or "").upper() not in _ELSEWHERE
    indexes: dict[str, list[str]] = {}
    unique: dict[str, list[str]] = {}
    for row in connection.execute(_INDEXES, where):
        names = indexes.setdefault(row.name, [])
        names.append("" if row.partial else row.of)
        if row.is_unique and holds:
            unique[row.name] = names
    rows = connection.execute(_COLUMNS, where).all()
    # In each unique index of a table that keeps its history, so that it takes what was; of what is, it is one moment.
    ends = {row.name for row in rows if row.row_end}
    texts = [row.name for row in rows if row.base == "longtext"]  # others may not be for us to read
    read = f"SELECT {', '.join(map(_quoted, texts))} FROM {'.'.join(_quoted(part) for part in (schema, name) if part)}"
    types = _types_of_texts(connection, read, texts)
    return Shape(
        columns={row.name: _column(row, json=types.get(row.name) == "json", holds=holds) for row in rows},
        unique=tuple(frozenset(names) - ends for names in unique.values() if "" not in names),
        indexes=tuple((*names, *indexes.get("PRIMARY", ())) for names in indexes.values()),  # InnoDB's hold it
        divided_by=("",) if found.parted or not holds else (),
        primary=tuple(name for name in unique.get("PRIMARY", ()) if name not in ends),
        triggers={row.name: row.told for row in connection.execute(_TRIGGERS, where)},
        dependents=tuple(connection.execute(_DEPENDENTS, where).scalars()),
        table=found.type != "VIEW",
        dialect=DIALECT,
        obstacle=_obstacle(connection, found.engine),
    )


def _obstacle(connection: sa.Connection, engine: str | None) -> str:
    """Why a row lock does not keep writers out of a table of this engine on this server."""
    if engine is not None and engine.upper() != "INNODB":
        return f"{engine} has no row locks and no rollback; ALTER TABLE ... ENGINE = InnoDB, or only check it"
    cluster = connection.exec_driver_sql("SHOW VARIABLES LIKE 'wsrep_on'").first()
    if cluster is not None and cluster[1] == "ON":
        return "this is a node of a Galera cluster, and a row lock does not hold on the others; it can be checked"
    return ""


def describe_query(connection: sa.Connection, query: str, fields: Sequence[Any]) -> dict[str, Column]:
    names = [field.name for field in fields]
    text = user_query(query, DIALECT).text
    collations = _asked(connection, text, names, "collation({})")
    texts = [f.name for f, of in zip(fields, collations, strict=True) if held.type_of_field(f, of).startswith("text")]
    types = _types_of_texts(connection, text, texts)
    columns = {}
    for field, collation in zip(fields, collations, strict=True):
        name = field.name
        told = types.get(name)
        type_name = held.text_type(told, collation) if told == "json" else told or held.type_of_field(field, collation)
        columns[name] = Column(name=name, kind=held.kind_of(type_name), type_name=type_name)
    return columns


#: Types that MariaDB's protocol calls texts: JSON is a LONGTEXT with a condition, and put into a document as it is,
#: where a text is put in quotes; in place of a UUID a text is read as one, and NULL where it is none.
_TYPE_OF_TEXT = f"""
    CASE WHEN json_array(ifnull({{0}}, json_object())) = '[{{{{}}}}]' THEN 'json'
         WHEN ifnull({{0}}, 'x') IS NULL AND ifnull({{0}}, '{UUID(int=0)}') IS NOT NULL THEN 'uuid' END"""


def _types_of_texts(connection: sa.Connection, text: str, names: Sequence[str]) -> dict[str, str]:
    """Which of these columns of a query are no texts to MariaDB, and what they are. (MySQL's protocol tells.)"""
    if not names or not getattr(connection.dialect, "is_mariadb", False):
        return {}
    told = zip(names, _asked(connection, text, names, _TYPE_OF_TEXT), strict=True)
    return {name: type_name for name, type_name in told if type_name}


def _asked(connection: sa.Connection, text: str, names: Sequence[str], function: str) -> Sequence[Any]:
    """What a function says of each of these columns of a query; no row is read."""
    asked = ", ".join(function.format(f"(SELECT {_quoted(name)} FROM q LIMIT 0)") for name in names)
    return connection.execute(sa.text(f"WITH q AS (\n{text}) SELECT {asked}")).one()


def _quoted(name: str) -> str:
    """A name within a text for SQLAlchemy, to which a colon begins a parameter."""
    return "`{}`".format(name.replace("`", "``").replace(":", "\\:"))


def _column(row: sa.Row[Any], *, json: bool, holds: bool) -> Column:
    """`json`: a condition of the table says that it holds documents; `holds`: NOT NULL is checked here."""
    extra = row.extra.upper()
    generated = " GENERATED" in extra
    given = row.fallback is not None or "AUTO_INCREMENT" in extra
    not_null = row.nullable == "NO"
    base = "json" if json and row.base == "longtext" else row.type
    kind = held.kind_of(base)
    type_name = held.text_type(base, row.collation) if row.collation else base
    return Column(
        name=row.name,
        kind=kind,
        type_name=f"{type_name} (which has no equality)" if kind is Kind.INCOMPARABLE else type_name,
        nullable=not (not_null and holds),
        required=not_null and not given and not generated,
        generated=generated,
    )
