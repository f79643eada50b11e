"""Runs that read what changed since a run that read everything.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("trueup_runs", sa.Column("base", sa.String(length=40), nullable=True))
    op.add_column("trueup_runs", sa.Column("marks", sa.Text(), nullable=True))
