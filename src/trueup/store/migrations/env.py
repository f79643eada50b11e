"""Run by Alembic on the connection that `store.ledger` hands over."""

from __future__ import annotations

from alembic import context

from trueup.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="trueup_schema",
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
