"""Lots: many decisions, and their outcomes, in one row each.

Revision ID: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("trueup_segments", sa.Column("lots_of", sa.Integer()))
    op.add_column("trueup_units", sa.Column("lot", sa.Integer()))
    op.create_index("ix_trueup_units_segment", "trueup_units", ["segment"])
    op.create_table(
        "trueup_lots",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("run", sa.String(40), sa.ForeignKey("trueup_runs.id"), nullable=False),
        sa.Column("segment", sa.Integer(), sa.ForeignKey("trueup_segments.id"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("audit", sa.String(64)),
    )
    op.create_index("ix_trueup_lots_run", "trueup_lots", ["run"])
    op.create_index("ix_trueup_lots_segment", "trueup_lots", ["segment"])
    op.create_table(
        "trueup_lot_outcomes",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("unit", sa.String(40), sa.ForeignKey("trueup_units.id"), nullable=False),
        sa.Column("run", sa.String(40), sa.ForeignKey("trueup_runs.id"), nullable=False),
        sa.Column("lot", sa.Integer(), sa.ForeignKey("trueup_lots.id"), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(40), nullable=False),
        sa.Column("left_out", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("witness", sa.String(16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    for column in ("run", "unit", "lot"):
        op.create_index(f"ix_trueup_lot_outcomes_{column}", "trueup_lot_outcomes", [column])
