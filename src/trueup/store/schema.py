"""Tables of the ledger. Rows are only added or completed; nothing that was decided or done is ever changed.

Times are UTC. Keys and values are JSON as `core.row.encode` writes it: lossless, and the same on every database.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


def _id(name: str = "id") -> sa.Column[str]:
    return sa.Column(name, sa.String(40), primary_key=True)


def _run() -> sa.Column[str]:
    return sa.Column("run", sa.String(40), sa.ForeignKey("trueup_runs.id"), nullable=False)


def _name(name: str = "projection") -> sa.Column[str]:
    return sa.Column(name, sa.String(64), nullable=False)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


#: One execution of `check`, `plan`, `apply` or `run` for one projection.
runs = sa.Table(
    "trueup_runs",
    metadata,
    _id(),
    _name(),
    sa.Column("command", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("stage", sa.String(16), nullable=False),
    #: Explicit keys that were asked for; NULL: all.
    sa.Column("keys", sa.Text),
    #: Fingerprint of the declaration: a run is only resumed, a plan only applied, under the one it was made with.
    sa.Column("definition", sa.String(64), nullable=False),
    sa.Column("code_version", sa.String(40), nullable=False),
    sa.Column("host", sa.String(200), nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    #: The run whose decisions an `apply` carries out.
    sa.Column("plan", sa.String(40)),
    #: The run that read everything, if this one read what changed since; NULL otherwise.
    sa.Column("base", sa.String(40)),
    #: Partitions that were asked for, as JSON; empty: all that were closed. NULL: none was left out.
    sa.Column("partitions", sa.Text),
    #: How far each side's changes went when this run began to read, by side.
    sa.Column("marks", sa.Text),
    #: Compared columns, in the order of all values in this run's rows.
    sa.Column("columns", sa.Text, nullable=False, default="[]"),
    #: How it looks for drift, in words.
    sa.Column("strategy", sa.Text, nullable=False, default=""),
    _moment("started_at"),
    _moment("ended_at", nullable=True),
    sa.Column("verdict", sa.String(16)),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    #: Totals of a run over all keys that was complete; NULL otherwise.
    sa.Column("source_rows", sa.BigInteger),
    sa.Column("report", sa.Text),
    sa.Index(None, "projection", "started_at"),
)

#: The work of a run. `narrow` segments cover the keys; `keys` segments hold suspects. Committed with their results.
segments = sa.Table(
    "trueup_segments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    _run(),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("span", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    #: What the comparison counted (`narrow`), or what became of the suspects (`keys`).
    sa.Column("counts", sa.Text),
    #: What was seen: by narrowing a segment, or at the first look at those that are to be confirmed.
    sa.Column("suspects", sa.Text),
    _moment("looked_at", nullable=True),
    sa.Index(None, "run", "stage", "state"),
)

#: What was decided about each drifting row, with its before-image: durable before the first write.
decisions = sa.Table(
    "trueup_decisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    _run(),
    sa.Column("segment", sa.Integer, sa.ForeignKey("trueup_segments.id"), nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("before", sa.Text),
    sa.Column("after", sa.Text),
    sa.Column("token", sa.String(40), nullable=False, default=""),
    sa.Column("instant", sa.Boolean, nullable=False, default=False),
    sa.Column("copies", sa.String(40)),
    sa.Index(None, "run", "segment"),
)

#: A repair transaction, written down before it begins. One without `closed_at` is of unknown outcome.
units = sa.Table(
    "trueup_units",
    metadata,
    _id(),
    _run(),
    sa.Column("segment", sa.Integer, sa.ForeignKey("trueup_segments.id"), nullable=False),
    #: Keys it was to repair.
    sa.Column("keys", sa.Text, nullable=False),
    _moment("opened_at"),
    _moment("closed_at", nullable=True),
    sa.Index(None, "run", "closed_at"),
)

#: What a unit did to each row, as its own transaction saw it, or as recovery could prove it.
outcomes = sa.Table(
    "trueup_outcomes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("unit", sa.String(40), sa.ForeignKey("trueup_units.id"), nullable=False),
    _run(),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("action", sa.String(16)),
    sa.Column("before", sa.Text),
    sa.Column("after", sa.Text),
    sa.Column("token", sa.String(40), nullable=False, default=""),
    sa.Column("evidence", sa.Text, nullable=False, default=""),
    #: Who knows: `unit`, or `recovery` after a crash.
    sa.Column("witness", sa.String(16), nullable=False),
    _moment("at"),
    sa.Index(None, "run", "outcome"),
    sa.Index(None, "unit"),
)

#: What is wrong now, as far as the last looks know. The one table whose rows come and go.
drift = sa.Table(
    "trueup_drift",
    metadata,
    sa.Column("projection", sa.String(64), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("expected", sa.Text),
    sa.Column("observed", sa.Text),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    _moment("first_seen"),
    _moment("last_seen"),
    _run(),
)

#: A plan: the decisions of a run, under a hash.
plans = sa.Table(
    "trueup_plans",
    metadata,
    _id(),
    _name(),
    _run(),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    _moment("created_at"),
)

#: Pause and stop switches, and who set them.
controls = sa.Table(
    "trueup_controls",
    metadata,
    sa.Column("projection", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    sa.Column("actor", sa.String(200), nullable=False),
    _moment("at"),
)
