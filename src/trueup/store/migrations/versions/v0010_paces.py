"""Pacing: what processes that work on one database know of each other.

Revision ID: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "trueup_paces",
        sa.Column("database", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(200)),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("holder_until", "u", "statement_s")),
        *(sa.Column(name, sa.Text()) for name in ("state", "told", "override")),
        sa.Column("override_by", sa.String(200), nullable=False),
        sa.Column("override_why", sa.Text(), nullable=False),
        sa.Column("override_until", sa.Float()),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("database", name=op.f("pk_trueup_paces")),
    )
    op.create_table(
        "trueup_pace_nodes",
        sa.Column("database", sa.String(64), nullable=False),
        sa.Column("node", sa.String(200), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("wants", "weight", "u", "until")),
        sa.PrimaryKeyConstraint("database", "node", name=op.f("pk_trueup_pace_nodes")),
    )
