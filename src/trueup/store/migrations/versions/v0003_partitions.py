"""Runs that look at some partitions only.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("trueup_runs", sa.Column("partitions", sa.Text(), nullable=True))
