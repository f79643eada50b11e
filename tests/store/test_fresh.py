"""A new ledger is made at once, an old one is migrated: both end as the same tables, indexes and triggers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from tests.servers import Pair
from trueup.errors import ConfigError
from trueup.store import engine, schema, schema_audit
from trueup.store.ledger import Ledger

#: What is in a database besides columns, as its own words for it.
SQLITE = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('index', 'trigger')"
POSTGRESQL = (
    "SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace AND contype <> 'n'",
    "SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "SELECT 'function', proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
)


def contents(ledger: sa.Engine) -> dict[str, Any]:
    """Everything that a ledger is made of, but for the order of its columns."""
    inspector = sa.inspect(ledger)
    tables = {
        table: {
            "columns": sorted(
                (column["name"], str(column["type"]), column["nullable"], str(column["default"]))
                for column in inspector.get_columns(table)
            ),
            "key": inspector.get_pk_constraint(table),
            "refers": sorted(map(str, inspector.get_foreign_keys(table))),
        }
        for table in inspector.get_table_names()
    }
    with ledger.connect() as c:
        queries = (SQLITE,) if ledger.dialect.name == "sqlite" else POSTGRESQL
        found = {(kind, name): sql for query in queries for kind, name, sql in c.execute(sa.text(query))}
        version = c.execute(sa.text("SELECT version_num FROM trueup_schema")).scalar_one()
        log = c.execute(sa.select(schema_audit.audit_log.c.id, schema_audit.audit_log.c.first)).all()
    return {"tables": tables, "beside": found, "version": version, "log": log}


@pytest.fixture(params=["sqlite_pair", "postgres_pair"], ids=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest) -> Pair:
    return request.getfixturevalue(request.param)


@pytest.fixture
def migrated(places: Pair) -> Iterator[sa.Engine]:
    """A ledger of the first version, as opening it leaves it."""
    old = sa.create_engine(places.source.replace("postgresql://", "postgresql+psycopg://"))
    with old.begin() as connection:
        engine.upgrade(connection, "0001")
    old.dispose()
    with closing(Ledger(places.source)) as opened:
        yield opened.engine


def test_a_new_ledger_is_what_all_migrations_make(migrated: sa.Engine, places: Pair) -> None:
    with closing(Ledger(places.target)) as new:
        made = contents(new.engine)
        assert made == contents(migrated)
        assert len([kind for kind, _ in made["beside"] if kind == "trigger"]) >= 6
        with new.engine.begin() as c:
            c.execute(
                sa.text("DROP TRIGGER trueup_audit_log_stays" + " ON trueup_audit_log" * (c.dialect.name != "sqlite"))
            )
        assert contents(new.engine) != contents(migrated)


def test_migrations_make_exactly_what_is_declared(migrated: sa.Engine) -> None:
    with migrated.begin() as c:
        context = MigrationContext.configure(c, opts={"compare_type": True, "compare_server_default": True})
        differences = compare_metadata(context, schema.metadata)
        assert [item for item in differences if item[0] != "remove_table" or item[1].name != "trueup_schema"] == []
        assert c.execute(sa.text("SELECT version_num FROM trueup_schema")).scalar_one() == engine.HEAD
        c.execute(sa.text("ALTER TABLE trueup_runs ADD COLUMN forgotten integer"))
        assert any("forgotten" in str(item) for item in compare_metadata(context, schema.metadata))


def test_a_ledger_of_a_newer_version_is_refused(places: Pair) -> None:
    """Nodes are brought up to date one after the other: the first one migrates the ledger of all."""
    with closing(Ledger(places.source)) as ledger, ledger.begin() as c:
        c.execute(sa.text("UPDATE trueup_schema SET version_num = '9000'"))
    with pytest.raises(ConfigError, match=r"of a newer Trueup.*9000.*bring this one up to date"):
        Ledger(places.source)
