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


#: What is NULL of a run over everything, or over all that was closed.
WHOLE = ("keys", "base", "plan", "undoes")

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
    #: The projection, of a run that read a part of it and is not yet in `trueup_covered`; NULL otherwise.
    sa.Column("adds_to", sa.String(64)),
    #: The run that this one undoes; NULL otherwise.
    sa.Column("undoes", sa.String(40)),
    #: Fingerprint of where rows are written: a run is only undone where it wrote. NULL: before that was kept.
    sa.Column("place", sa.String(64)),
    #: Kinds of the key parts and of the compared columns, as JSON. NULL: before they were kept.
    sa.Column("kinds", sa.Text),
    #: Partitions that were asked for, as JSON; empty: all that were closed. NULL: none was left out.
    sa.Column("partitions", sa.Text),
    #: How far each side's changes went when this run began to read, by side.
    sa.Column("marks", sa.Text),
    #: Compared columns, in the order of all values in this run's rows.
    sa.Column("columns", sa.Text, nullable=False, default="[]"),
    #: What both sides looked like when it began, as JSON: a run goes on, and a plan is applied, only while they do.
    sa.Column("shapes", sa.Text),
    #: How it looks for drift, in words.
    sa.Column("strategy", sa.Text, nullable=False, default=""),
    _moment("started_at"),
    _moment("ended_at", nullable=True),
    sa.Column("verdict", sa.String(16)),
    sa.Column("reason", sa.Text, nullable=False, default=""),
    #: What a repair was promised to be when the run began, and every reason, as JSON.
    sa.Column("guarantee", sa.Text),
    #: Totals of a run over all keys that was complete; NULL otherwise.
    sa.Column("source_rows", sa.BigInteger),
    sa.Column("report", sa.Text),
    #: Which columns are sensitive, one flag each; NULL: not known, so all of them.
    sa.Column("hidden", sa.Text),
    #: SHA-256 of the audit line of its beginning; NULL: it began before there was an audit log.
    sa.Column("audit", sa.String(64)),
    #: Which runs exclude each other, and the fence that it writes under; NULL: its projection's name.
    sa.Column("lane", sa.String(80)),
    #: What exactly was declared, in `trueup_definitions`; NULL: before that was kept.
    sa.Column("described", sa.String(64)),
    #: Of a backfill: under which what was done once is not done again.
    sa.Column("revision", sa.String(60)),
    sa.Index(None, "projection", "started_at"),
    sa.Index(None, "projection", "state"),
    sa.Index(None, "base", "started_at"),
    sa.Index(None, "adds_to"),
)
#: There are few of those where thousands read in turn or by key.
sa.Index(
    "ix_trueup_runs_whole",
    runs.c.projection,
    runs.c.state,
    runs.c.started_at,
    sqlite_where=sa.and_(*(runs.c[name].is_(None) for name in WHOLE)),
    postgresql_where=sa.and_(*(runs.c[name].is_(None) for name in WHOLE)),
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
    #: Why it could not be compared, of a segment that was set `aside`.
    sa.Column("reason", sa.Text),
    #: SHA-256 of the audit lines that tell of its decisions; NULL where there are none.
    sa.Column("audit", sa.String(64)),
    #: The segment whose lots are to be carried out; where a rollback looks at rows, the lot that is to be put back.
    #: NULL: it has keys of its own.
    sa.Column("lots_of", sa.Integer),
    sa.Index(None, "run", "stage", "state"),
)

#: The parts that a run over everything read, and when each was last read, by it or by runs after it: by those that do
#: not say any more in `adds_to` that they are still to be looked through.
covered = sa.Table(
    "trueup_covered",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("base", sa.String(40), nullable=False),
    sa.Column("span", sa.Text, nullable=False),
    _moment("looked_at"),
    sa.Index(None, "base"),
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
    sa.Index(None, "segment"),
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
    #: SHA-256 of the audit lines that tell of its outcomes; NULL where there are none.
    sa.Column("audit", sa.String(64)),
    #: The lot it was to carry out; NULL: rows by themselves, by `keys`.
    sa.Column("lot", sa.Integer),
    sa.Index(None, "run", "closed_at"),
    sa.Index(None, "segment"),
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

#: Many decisions of one kind, kept together: as `decisions`, durable before the first write.
lots = sa.Table(
    "trueup_lots",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    _run(),
    #: The segment in which they were found.
    sa.Column("segment", sa.Integer, sa.ForeignKey("trueup_segments.id"), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    #: Rows in it.
    sa.Column("size", sa.Integer, nullable=False),
    #: Their keys, before- and after-images and row versions, in columns: JSON, see `core.lot`.
    sa.Column("content", sa.Text, nullable=False),
    #: SHA-256 of the audit line that tells of it.
    sa.Column("audit", sa.String(64)),
    sa.Index(None, "run"),
    sa.Index(None, "segment"),
)

#: What a unit did to the rows of a lot: to all of them the same, but for those that it left out.
lot_outcomes = sa.Table(
    "trueup_lot_outcomes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("unit", sa.String(40), sa.ForeignKey("trueup_units.id"), nullable=False),
    _run(),
    sa.Column("lot", sa.Integer, sa.ForeignKey("trueup_lots.id"), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    #: Rows that it is the outcome of.
    sa.Column("size", sa.Integer, nullable=False),
    #: Version of all the rows that it left.
    sa.Column("token", sa.String(40), nullable=False, default=""),
    #: Keys of the rows that it left out; others tell what became of those.
    sa.Column("left_out", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False, default=""),
    sa.Column("witness", sa.String(16), nullable=False),
    _moment("at"),
    sa.Index(None, "run"),
    sa.Index(None, "unit"),
    sa.Index(None, "lot"),
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
    sa.Index(None, "run"),
)

#: A plan: the decisions of a run, under a hash.
plans = sa.Table(
    "trueup_plans",
    metadata,
    _id(),
    _name(),
    _run(),
    sa.Column("hash", sa.String(64), nullable=False),
    #: `open` or `applied`; what else it can be is told by its approvals and the time.
    sa.Column("state", sa.String(16), nullable=False),
    _moment("created_at"),
    #: Until when it may be approved, or applied where nobody has to; NULL: made before plans expired.
    _moment("expires_at", nullable=True),
    #: Who asked for it.
    sa.Column("requester", sa.String(200), nullable=False, server_default=sa.text("''")),
    #: Why it is beyond the limits; empty if it is within them.
    sa.Column("beyond", sa.Text, nullable=False, server_default=sa.text("''")),
    #: Rows that it would change, and of these, delete.
    sa.Column("changes", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("deletes", sa.Integer, nullable=False, server_default=sa.text("0")),
    #: SHA-256 of the audit line that tells of it; NULL: from before there was an audit log.
    sa.Column("audit", sa.String(64)),
    sa.Index(None, "run"),
)

#: What a person said about a plan: each binds to the hash of what they saw.
approvals = sa.Table(
    "trueup_approvals",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("plan", sa.String(40), sa.ForeignKey("trueup_plans.id"), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    #: `approved` or `rejected`.
    sa.Column("said", sa.String(16), nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    #: How the name was established: `os`, `variable` or `api`.
    sa.Column("actor_by", sa.String(16), nullable=False),
    sa.Column("host", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    _moment("at"),
    #: From when on it counts no more.
    _moment("expires_at"),
    #: SHA-256 of the audit line that tells of it; NULL: from before there was an audit log.
    sa.Column("audit", sa.String(64)),
    sa.Index(None, "plan"),
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
    #: Of a pause that the engine made: when the next run may try again, and how many there were in a row.
    _moment("until", nullable=True),
    sa.Column("pauses", sa.Integer, nullable=False, default=0, server_default="0"),
)

#: Rows that are left out of repairs, and why; those that were taken out again stay, `released`.
quarantine = sa.Table(
    "trueup_quarantine",
    metadata,
    sa.Column("projection", sa.String(64), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    #: `refused`, `unreadable` or `recurring`.
    sa.Column("trouble", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    #: What shows it, as JSON.
    sa.Column("evidence", sa.Text),
    sa.Column("expected", sa.Text),
    sa.Column("observed", sa.Text),
    _moment("first_seen"),
    _moment("last_seen"),
    #: Runs that tried it and failed.
    sa.Column("attempts", sa.Integer, nullable=False),
    _run(),
    #: `held` or `released`.
    sa.Column("state", sa.String(16), nullable=False),
    _moment("released_at", nullable=True),
    #: It was taken out to be tried at once.
    sa.Column("retried", sa.Boolean, nullable=False, default=False),
)

#: What `trueup doctor` found out about a projection, and how the race on its target's server ended.
probes = sa.Table(
    "trueup_probes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    _name(),
    sa.Column("definition", sa.String(64), nullable=False),
    #: The target's database, by its URL without password.
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("server", sa.String(200), nullable=False),
    sa.Column("code_version", sa.String(40), nullable=False),
    sa.Column("findings", sa.Text, nullable=False),
    #: The race, as JSON; NULL where there was none.
    sa.Column("race", sa.Text),
    _moment("at"),
    sa.Index(None, "projection", "at"),
)

#: What a backfill looked at in a segment and left as it is: a hash of each row, one behind the other.
inputs = sa.Table(
    "trueup_inputs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    _run(),
    sa.Column("span", sa.Text, nullable=False),
    sa.Column("hashes", sa.LargeBinary, nullable=False),
    sa.Index(None, "run"),
)

#: What was declared and by whose code it was carried out, as JSON, under its SHA-256: once, however many runs had it.
definitions = sa.Table(
    "trueup_definitions",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    _name(),
    sa.Column("content", sa.Text, nullable=False),
    _moment("first_at"),
    sa.Index(None, "projection", "first_at"),
)
