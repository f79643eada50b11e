"""Differences that somebody accepted.

Revision ID: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "trueup_accepted",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("projection", sa.String(64), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("key", "columns")),
        *(sa.Column(name, sa.Text(), nullable=True) for name in ("expected", "observed")),
        sa.Column("reason", sa.Text(), nullable=False),
        *(sa.Column(name, sa.String(200), nullable=False) for name in ("owner", "actor")),
        sa.Column("actor_by", sa.String(16), nullable=False),
        sa.Column("host", sa.String(200), nullable=False),
        *(sa.Column(name, sa.DateTime(timezone=True), nullable=False) for name in ("at", "until")),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trueup_accepted")),
    )
    op.create_index(op.f("ix_trueup_accepted_projection_until"), "trueup_accepted", ["projection", "until"])
