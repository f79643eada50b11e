"""Triggers: how far an outbox is read, and how listening stands on each node.

Revision ID: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "trueup_trigger_positions",
        sa.Column("projection", sa.String(64), nullable=False),
        sa.Column("trigger", sa.String(300), nullable=False),
        sa.Column("position", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("projection", "trigger", name="pk_trueup_trigger_positions"),
    )
    op.create_table(
        "trueup_listeners",
        sa.Column("node", sa.String(40), nullable=False),
        sa.Column("projection", sa.String(64), nullable=False),
        sa.Column("trigger", sa.String(300), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("unreadable", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("node", "projection", "trigger", name="pk_trueup_listeners"),
    )
