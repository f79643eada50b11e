"""Tokens: who may ask a server for what. What runs did so far, summed up. Requests about a plan or
a run.

Revision ID: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("trueup_requests", sa.Column("about", sa.String(40), nullable=False, server_default=sa.text("''")))
    op.create_table(
        "trueup_tallies",
        sa.Column("projection", sa.String(64), nullable=False),
        sa.Column("command", sa.String(16), nullable=False),
        sa.Column("ended", sa.String(16), nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("repaired", sa.BigInteger(), nullable=False),
        sa.Column("stepped_aside", sa.BigInteger(), nullable=False),
        sa.Column("left_wrong", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("projection", "command", "ended", name="pk_trueup_tallies"),
    )
    op.create_table(
        "trueup_tokens",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("person", sa.String(200), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_by", sa.String(200), nullable=False),
        sa.Column("audit", sa.String(64)),
        sa.PrimaryKeyConstraint("hash", name="pk_trueup_tokens"),
    )
    op.create_index(
        "uq_trueup_tokens_person",
        "trueup_tokens",
        ["person"],
        unique=True,
        sqlite_where=sa.text("revoked_at IS NULL"),
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
