"""Tables of the ledger about runs that nobody asks for by hand: who may run, what waits, which ticks were seen.

Moments in `trueup_leases` are the control database's own; no node's clock is ever compared with them.
"""

from __future__ import annotations

import sqlalchemy as sa

from trueup.store.schema import metadata

#: Who may run something, and until when. Renewed often, and never locked for long. Only on a server: on SQLite it is
#: the kernel that keeps locks.
leases = sa.Table(
    "trueup_leases",
    metadata,
    #: A lane of a projection, or what keeps two of them apart.
    sa.Column("name", sa.String(200), primary_key=True),
    #: One holding of it; empty: it was given back.
    sa.Column("incarnation", sa.String(40), nullable=False),
    #: Host and process, for people.
    sa.Column("holder", sa.String(200), nullable=False),
    #: What tells a process of this machine from all others, so that one that is gone is not waited for.
    sa.Column("process", sa.String(200), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
)

#: The number that makes an old holder harmless. A row of its own: who writes under a lease holds it shared, and that
#: must not keep the holder from renewing.
lease_fences = sa.Table(
    "trueup_lease_fences",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
)

#: Up to where the ticks of a schedule are settled: each was made a request, or passed over.
schedules = sa.Table(
    "trueup_schedules",
    metadata,
    sa.Column("projection", sa.String(64), primary_key=True),
    sa.Column("settled", sa.DateTime(timezone=True), nullable=False),
)

#: What is to be run, and what became of it; shared by all nodes.
requests = sa.Table(
    "trueup_requests",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("projection", sa.String(64), nullable=False),
    sa.Column("command", sa.String(16), nullable=False),
    #: The plan that is to be applied, or the run that is to be undone; empty: what the command finds.
    sa.Column("about", sa.String(40), nullable=False, server_default=sa.text("''")),
    #: Explicit keys as they were given, as JSON; NULL: all.
    sa.Column("keys", sa.Text),
    #: Why, in words.
    sa.Column("reason", sa.Text, nullable=False),
    #: `schedule`, `startup`, `command`, `api`, or the kind of the trigger.
    sa.Column("asked_by", sa.String(40), nullable=False),
    #: Who, where a person or a service was known.
    sa.Column("actor", sa.String(200), nullable=False),
    #: The most urgent is 0.
    sa.Column("priority", sa.Integer, nullable=False),
    #: What was merged into it: events, ticks.
    sa.Column("merged", sa.BigInteger, nullable=False),
    #: The tick that it is; NULL: none.
    sa.Column("tick", sa.DateTime(timezone=True)),
    sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
    #: `waiting`, `running`, `done`, `failed`, `skipped`.
    sa.Column("state", sa.String(16), nullable=False),
    #: Asked to stop at its next border, so that another can begin.
    sa.Column("cancelled", sa.Boolean, nullable=False),
    #: How often it was begun.
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("node", sa.String(40), nullable=False),
    sa.Column("begun_at", sa.DateTime(timezone=True)),
    sa.Column("ended_at", sa.DateTime(timezone=True)),
    sa.Column("run", sa.String(40)),
    #: Verdict of the run, or why there was none.
    sa.Column("answer", sa.Text, nullable=False),
    sa.Index("uq_trueup_requests_projection_tick", "projection", "tick", unique=True),
    sa.Index(None, "state", "projection"),
    sa.Index(None, "projection", "ended_at"),
)

#: Processes that serve, as they last said so.
nodes = sa.Table(
    "trueup_nodes",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("host", sa.String(200), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("code_version", sa.String(40), nullable=False),
    sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
)

#: How far a trigger has come that keeps nothing by itself.
trigger_positions = sa.Table(
    "trueup_trigger_positions",
    metadata,
    sa.Column("projection", sa.String(64), primary_key=True),
    #: Its kind and its place.
    sa.Column("trigger", sa.String(300), primary_key=True),
    sa.Column("position", sa.String(200), nullable=False),
)

#: How each trigger stands on each node, as it last said so.
listeners = sa.Table(
    "trueup_listeners",
    metadata,
    sa.Column("node", sa.String(40), primary_key=True),
    sa.Column("projection", sa.String(64), primary_key=True),
    sa.Column("trigger", sa.String(300), primary_key=True),
    #: `listening`, `down`, `elsewhere`.
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    #: Since the node began: events that came, those that could not be read, and how often listening broke off.
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("unreadable", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.BigInteger, nullable=False),
    #: Why listening broke off last.
    sa.Column("error", sa.Text, nullable=False),
)

#: What runs did so far, summed up as each ends: for figures that only grow, at the cost of reading a few rows.
tallies = sa.Table(
    "trueup_tallies",
    metadata,
    sa.Column("projection", sa.String(64), primary_key=True),
    sa.Column("command", sa.String(16), primary_key=True),
    #: The verdict, or the state in which a run ended without one.
    sa.Column("ended", sa.String(16), primary_key=True),
    sa.Column("runs", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("repaired", "stepped_aside", "left_wrong")),
)

#: Who may ask a server for what. A token's secret is nowhere: only what it hashes to.
tokens = sa.Table(
    "trueup_tokens",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    #: Who uses it is called so in the record; `person` is what tells two of them apart.
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("person", sa.String(200), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True)),
    sa.Column("revoked_at", sa.DateTime(timezone=True)),
    sa.Column("revoked_by", sa.String(200), nullable=False),
    #: SHA-256 of the line that tells of it.
    sa.Column("audit", sa.String(64)),
)
#: A name has one token at a time.
sa.Index(
    "uq_trueup_tokens_person",
    tokens.c.person,
    unique=True,
    sqlite_where=tokens.c.revoked_at.is_(None),
    postgresql_where=tokens.c.revoked_at.is_(None),
)
