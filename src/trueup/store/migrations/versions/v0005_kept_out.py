"""Pauses that the engine makes, rows in quarantine, segments that could not be compared, what the sides looked like.

Revision ID: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("trueup_controls", sa.Column("until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("trueup_controls", sa.Column("pauses", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("trueup_segments", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column("trueup_runs", sa.Column("shapes", sa.Text(), nullable=True))
    op.create_table(
        "trueup_quarantine",
        sa.Column("projection", sa.String(64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("trouble", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text()),
        sa.Column("expected", sa.Text()),
        sa.Column("observed", sa.Text()),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("run", sa.String(40), sa.ForeignKey("trueup_runs.id"), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True)),
        sa.Column("retried", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("projection", "key", name="pk_trueup_quarantine"),
    )
