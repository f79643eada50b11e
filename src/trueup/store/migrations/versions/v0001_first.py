"""The first ledger.

Revision ID: 0001
"""

from __future__ import annotations

from alembic import op

from trueup.store.schema import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind())
