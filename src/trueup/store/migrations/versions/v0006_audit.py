"""The audit log, and triggers that keep it as it was written.

Revision ID: 0006
"""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

from trueup.store import triggers

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for table in ("runs", "segments", "units", "plans", "approvals"):
        op.add_column(f"trueup_{table}", sa.Column("audit", sa.String(64), nullable=True))
    op.add_column("trueup_runs", sa.Column("hidden", sa.Text(), nullable=True))
    _lines()
    _beside()
    named = sa.table("trueup_audit_log", sa.column("id"), sa.column("origin"), sa.column("first"))
    op.execute(named.insert().values(id=1, origin=f"trueup/{uuid.uuid4().hex[:12]}", first=0))
    for statement in triggers.of(op.get_bind().dialect.name):
        op.execute(statement)


def _lines() -> None:
    op.create_table(
        "trueup_audit",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("act", sa.String(40), nullable=False),
        sa.Column("projection", sa.String(64), nullable=False),
        sa.Column("run", sa.String(40), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trueup_audit")),
    )
    op.create_index("uq_trueup_audit_seq", "trueup_audit", ["seq"], unique=True)
    staged = sa.text("seq IS NULL")
    op.create_index("ix_trueup_audit_staged", "trueup_audit", ["id"], sqlite_where=staged, postgresql_where=staged)
    op.create_index(op.f("ix_trueup_audit_run"), "trueup_audit", ["run"])


def _beside() -> None:
    op.create_table(
        "trueup_audit_log",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.String(200), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trueup_audit_log")),
    )
    op.create_table(
        "trueup_audit_heads",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.String(64), nullable=False),
        sa.Column("frontier", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_trueup_audit_heads")),
    )
    op.create_table(
        "trueup_audit_salts",
        sa.Column("commitment", sa.String(64), nullable=False),
        sa.Column("salt", sa.String(32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("projection", sa.String(64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("commitment", name=op.f("pk_trueup_audit_salts")),
    )
    op.create_index(op.f("ix_trueup_audit_salts_projection_key_hash"), "trueup_audit_salts", ["projection", "key_hash"])
    op.create_table(
        "trueup_audit_aside",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_trueup_audit_aside")),
    )
