"""Corrections that are handed over instead of written.

Revision ID: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "trueup_calls",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("projection", sa.String(64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("pair", sa.String(64), nullable=False),
        sa.Column("handler", sa.Text(), nullable=False),
        *(sa.Column(name, sa.String(40), nullable=False) for name in ("run", "unit")),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True)),
        sa.Column("said", sa.Text(), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.Column("settled", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trueup_calls"),
    )
    op.create_index("ix_trueup_calls_projection_settled", "trueup_calls", ["projection", "settled"])
    op.create_index("ix_trueup_calls_unit", "trueup_calls", ["unit"])
