"""Plans expire, and people approve or reject them.

Revision ID: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("trueup_plans", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("trueup_plans", sa.Column("requester", sa.String(200), nullable=False, server_default=sa.text("''")))
    op.add_column("trueup_plans", sa.Column("beyond", sa.Text(), nullable=False, server_default=sa.text("''")))
    for name in ("changes", "deletes"):
        op.add_column("trueup_plans", sa.Column(name, sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.create_table(
        "trueup_approvals",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("plan", sa.String(40), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("said", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("actor_by", sa.String(16), nullable=False),
        sa.Column("host", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["plan"], ["trueup_plans.id"], name=op.f("fk_trueup_approvals_plan")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trueup_approvals")),
    )
    op.create_index(op.f("ix_trueup_approvals_plan"), "trueup_approvals", ["plan"])
