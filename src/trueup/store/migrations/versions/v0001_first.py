"""The first ledger.

Revision ID: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:  # tripwire: one statement a table, in the order of their references

    op.create_table(
        "trueup_controls",
        sa.Column("projection", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("projection", name=op.f("pk_trueup_controls")),
    )
    op.create_table(
        "trueup_runs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("projection", sa.String(length=64), nullable=False),
        sa.Column("command", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("keys", sa.Text(), nullable=True),
        sa.Column("definition", sa.String(length=64), nullable=False),
        sa.Column("code_version", sa.String(length=40), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("plan", sa.String(length=40), nullable=True),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verdict", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("source_rows", sa.BigInteger(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trueup_runs")),
    )
    op.create_index(
        op.f("ix_trueup_runs_projection_started_at"), "trueup_runs", ["projection", "started_at"], unique=False
    )
    op.create_table(
        "trueup_drift",
        sa.Column("projection", sa.String(length=64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("expected", sa.Text(), nullable=True),
        sa.Column("observed", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["trueup_runs.id"], name=op.f("fk_trueup_drift_run")),
        sa.PrimaryKeyConstraint("projection", "key", name=op.f("pk_trueup_drift")),
    )
    op.create_table(
        "trueup_plans",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("projection", sa.String(length=64), nullable=False),
        sa.Column("run", sa.String(length=40), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["trueup_runs.id"], name=op.f("fk_trueup_plans_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trueup_plans")),
    )
    op.create_table(
        "trueup_segments",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("run", sa.String(length=40), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("span", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("counts", sa.Text(), nullable=True),
        sa.Column("suspects", sa.Text(), nullable=True),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["run"], ["trueup_runs.id"], name=op.f("fk_trueup_segments_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trueup_segments")),
    )
    op.create_index(
        op.f("ix_trueup_segments_run_stage_state"), "trueup_segments", ["run", "stage", "state"], unique=False
    )
    op.create_table(
        "trueup_decisions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("run", sa.String(length=40), nullable=False),
        sa.Column("segment", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("instant", sa.Boolean(), nullable=False),
        sa.Column("copies", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(["run"], ["trueup_runs.id"], name=op.f("fk_trueup_decisions_run")),
        sa.ForeignKeyConstraint(["segment"], ["trueup_segments.id"], name=op.f("fk_trueup_decisions_segment")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trueup_decisions")),
    )
    op.create_index(op.f("ix_trueup_decisions_run_segment"), "trueup_decisions", ["run", "segment"], unique=False)
    op.create_table(
        "trueup_units",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("run", sa.String(length=40), nullable=False),
        sa.Column("segment", sa.Integer(), nullable=False),
        sa.Column("keys", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["run"], ["trueup_runs.id"], name=op.f("fk_trueup_units_run")),
        sa.ForeignKeyConstraint(["segment"], ["trueup_segments.id"], name=op.f("fk_trueup_units_segment")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trueup_units")),
    )
    op.create_index(op.f("ix_trueup_units_run_closed_at"), "trueup_units", ["run", "closed_at"], unique=False)
    op.create_table(
        "trueup_outcomes",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("unit", sa.String(length=40), nullable=False),
        sa.Column("run", sa.String(length=40), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=True),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("witness", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["trueup_runs.id"], name=op.f("fk_trueup_outcomes_run")),
        sa.ForeignKeyConstraint(["unit"], ["trueup_units.id"], name=op.f("fk_trueup_outcomes_unit")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trueup_outcomes")),
    )
    op.create_index(op.f("ix_trueup_outcomes_run_outcome"), "trueup_outcomes", ["run", "outcome"], unique=False)
    op.create_index(op.f("ix_trueup_outcomes_unit"), "trueup_outcomes", ["unit"], unique=False)
