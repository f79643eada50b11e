"""Backfills: what they left as it is. And the registry of definitions: what exactly was declared when a run began.

Revision ID: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("trueup_runs", sa.Column("described", sa.String(64)))
    op.add_column("trueup_runs", sa.Column("revision", sa.String(60)))
    op.create_table(
        "trueup_inputs",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("run", sa.String(40), sa.ForeignKey("trueup_runs.id"), nullable=False),
        sa.Column("span", sa.Text(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_trueup_inputs_run", "trueup_inputs", ["run"])
    op.create_table(
        "trueup_definitions",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("projection", sa.String(64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_trueup_definitions"),
    )
    op.create_index("ix_trueup_definitions_projection_first_at", "trueup_definitions", ["projection", "first_at"])
