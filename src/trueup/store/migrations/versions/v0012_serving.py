"""Leases, ticks and requests: what several nodes that serve need to know of each other.

Revision ID: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("trueup_runs", sa.Column("lane", sa.String(80)))
    op.create_table(
        "trueup_leases",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("incarnation", sa.String(40), nullable=False),
        sa.Column("holder", sa.String(200), nullable=False),
        sa.Column("process", sa.String(200), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_trueup_leases"),
    )
    op.create_table(
        "trueup_lease_fences",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_trueup_lease_fences"),
    )
    op.create_table(
        "trueup_schedules",
        sa.Column("projection", sa.String(64), nullable=False),
        sa.Column("settled", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("projection", name="pk_trueup_schedules"),
    )
    op.create_table(
        "trueup_requests",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("projection", sa.String(64), nullable=False),
        sa.Column("command", sa.String(16), nullable=False),
        sa.Column("keys", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("asked_by", sa.String(40), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("merged", sa.BigInteger(), nullable=False),
        sa.Column("tick", sa.DateTime(timezone=True)),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("node", sa.String(40), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True)),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("run", sa.String(40)),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trueup_requests"),
    )
    op.create_index("uq_trueup_requests_projection_tick", "trueup_requests", ["projection", "tick"], unique=True)
    op.create_index("ix_trueup_requests_state_projection", "trueup_requests", ["state", "projection"])
    op.create_index("ix_trueup_requests_projection_ended_at", "trueup_requests", ["projection", "ended_at"])
    op.create_table(
        "trueup_nodes",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("host", sa.String(200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("code_version", sa.String(40), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_trueup_nodes"),
    )
