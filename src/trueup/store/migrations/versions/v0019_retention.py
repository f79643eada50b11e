"""Retention: a run is deleted without reading all of what refers to runs.

Revision ID: 0019
"""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_index("ix_trueup_decisions_segment", "trueup_decisions", ["segment"])
    op.create_index("ix_trueup_drift_run", "trueup_drift", ["run"])
    op.create_index("ix_trueup_plans_run", "trueup_plans", ["run"])
