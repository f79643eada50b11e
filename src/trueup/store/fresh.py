"""A new ledger, made at once as the migrations would have left it: ten of them take a tenth of a second, this a
twentieth of that. A test compares the two, triggers included.
"""

from __future__ import annotations

import uuid
from functools import cache

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from trueup.store import (  # noqa: F401 - their tables are part of the ledger
    schema_acceptances,
    schema_alerts,
    schema_calls,
    schema_pacing,
    schema_serving,
    triggers,
)
from trueup.store.schema import metadata
from trueup.store.schema_audit import audit_log


def create(connection: sa.Connection, version: str) -> None:
    """All tables, indexes and triggers in an empty place, as of migration `version`; nothing is committed."""
    for statement in _statements(connection.dialect.name):
        connection.exec_driver_sql(statement)
    connection.execute(audit_log.insert().values(id=1, origin=f"trueup/{uuid.uuid4().hex[:12]}", first=0))
    connection.execute(sa.text("INSERT INTO trueup_schema VALUES (:version)"), {"version": version})


@cache
def _statements(dialect: str) -> tuple[str, ...]:
    spelt = sqlite.dialect() if dialect == "sqlite" else postgresql.dialect()  # type: ignore[no-untyped-call]
    tables = metadata.sorted_tables
    indexes = [index for table in tables for index in sorted(table.indexes, key=lambda index: str(index.name))]
    return (
        "CREATE TABLE trueup_schema (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT trueup_schema_pkc PRIMARY KEY (version_num))",
        *(str(CreateTable(table).compile(dialect=spelt)) for table in tables),
        *(str(CreateIndex(index).compile(dialect=spelt)) for index in indexes),
        *triggers.of(dialect),
    )
