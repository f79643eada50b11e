"""What a node that works on a paced database does, told to the one that decides for all.

Revision ID: 0020
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    for name in ("age", "flown", "errors"):
        op.add_column("trueup_pace_nodes", sa.Column(name, sa.Float(), nullable=False, server_default=sa.text("0")))
