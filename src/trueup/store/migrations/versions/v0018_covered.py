"""When each part was last read, kept as one list for a run over everything; indexes for ledgers of many small runs.

Revision ID: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
WHOLE = sa.text(" AND ".join(f"{name} IS NULL" for name in ("keys", "base", '"plan"', "undoes")))


def upgrade() -> None:
    op.create_table(
        "trueup_covered",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("base", sa.String(40), nullable=False),
        sa.Column("span", sa.Text(), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trueup_covered")),
    )
    op.create_index(op.f("ix_trueup_covered_base"), "trueup_covered", ["base"])
    op.add_column("trueup_runs", sa.Column("adds_to", sa.String(64)))
    op.execute("UPDATE trueup_runs SET adds_to = projection WHERE base IS NOT NULL OR partitions <> '[]'")
    for columns in (["projection", "state"], ["base", "started_at"], ["adds_to"]):
        op.create_index(op.f(f"ix_trueup_runs_{'_'.join(columns)}"), "trueup_runs", columns)
    columns = ["projection", "state", "started_at"]
    op.create_index("ix_trueup_runs_whole", "trueup_runs", columns, sqlite_where=WHOLE, postgresql_where=WHOLE)
