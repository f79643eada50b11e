"""Tables of the ledger about pacing. Times are the ledger's own clock, seconds since 1970."""

from __future__ import annotations

import sqlalchemy as sa

from trueup.store.schema import metadata

#: How a database is paced: its governor's state, who looks at it, what somebody has set, and what people are shown.
paces = sa.Table(
    "trueup_paces",
    metadata,
    sa.Column("database", sa.String(64), primary_key=True),
    #: The node that looks and decides, until when by the ledger's clock; what all may have in flight; seconds.
    sa.Column("holder", sa.String(200)),
    *(sa.Column(name, sa.Float, nullable=False) for name in ("holder_until", "u", "statement_s")),
    *(sa.Column(name, sa.Text) for name in ("state", "told", "override")),
    sa.Column("override_by", sa.String(200), nullable=False),
    sa.Column("override_why", sa.Text, nullable=False),
    sa.Column("override_until", sa.Float),
    sa.Column("at", sa.Float, nullable=False),
)

#: One node that works on a paced database, what it wants, and what it may use until when; for who decides, how old its
#: data are, and since it renewed last how much of it was in flight, and how often that ran into limits.
pace_nodes = sa.Table(
    "trueup_pace_nodes",
    metadata,
    sa.Column("database", sa.String(64), primary_key=True),
    sa.Column("node", sa.String(200), primary_key=True),
    *(sa.Column(name, sa.Float, nullable=False) for name in ("wants", "weight", "u", "until")),
    *(sa.Column(name, sa.Float, nullable=False, server_default=sa.text("0")) for name in ("age", "flown", "errors")),
)
