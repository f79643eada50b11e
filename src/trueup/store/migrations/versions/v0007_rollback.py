"""Runs that undo a run, and what is needed to be undone: where a run wrote, and in which kinds it compared.

Revision ID: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("trueup_runs", sa.Column("undoes", sa.String(length=40), nullable=True))
    op.add_column("trueup_runs", sa.Column("place", sa.String(length=64), nullable=True))
    op.add_column("trueup_runs", sa.Column("kinds", sa.Text(), nullable=True))
