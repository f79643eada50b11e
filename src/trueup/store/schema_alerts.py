"""Tables of the ledger about alerts: where each rule stands, and what is still to be sent."""

from __future__ import annotations

import sqlalchemy as sa

from trueup.store.schema import metadata

#: Where one rule stands with one projection or database.
alerts = sa.Table(
    "trueup_alerts",
    metadata,
    sa.Column("rule", sa.String(40), primary_key=True),
    sa.Column("subject", sa.String(100), primary_key=True),
    #: `quiet`, `pending`, `firing`.
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("since", sa.DateTime(timezone=True)),
    sa.Column("told_at", sa.DateTime(timezone=True)),
    sa.Column("over_since", sa.DateTime(timezone=True)),
    sa.Column("resolved_at", sa.DateTime(timezone=True)),
    sa.Column("relapses", sa.Integer, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("next", sa.Text, nullable=False),
    #: What the rule remembers, as JSON.
    sa.Column("memory", sa.Text, nullable=False),
)

#: A message to one destination. Written down with the change that it tells of, and kept until it was accepted.
alert_messages = sa.Table(
    "trueup_alert_messages",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    #: A fingerprint: the address itself is a secret.
    sa.Column("destination", sa.String(40), primary_key=True),
    sa.Column("subject", sa.String(100), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
    #: `waiting`, `sent`, `given up`.
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Index(None, "state", "not_before"),
)
