"""What the database itself sees to: the audit log is only added to.

Migration 0006 makes these. One that changes a trigger keeps the old text to itself; here is what holds now.
"""

from __future__ import annotations

#: A line gets its number once; a head and the log's name never change; what is deleted is what was pruned.
_WORDS = "trueup: the audit log is only added to"
SQLITE = (
    f"""CREATE TRIGGER trueup_audit_kept BEFORE UPDATE ON trueup_audit
        WHEN OLD.seq IS NOT NULL OR NEW.seq IS NULL OR NEW.id <> OLD.id OR NEW.at <> OLD.at OR NEW.act <> OLD.act
          OR NEW.projection <> OLD.projection OR NEW.run <> OLD.run OR NEW.line <> OLD.line
        BEGIN SELECT RAISE(ABORT, '{_WORDS}'); END""",
    f"""CREATE TRIGGER trueup_audit_stays BEFORE DELETE ON trueup_audit
        WHEN OLD.seq IS NULL OR OLD.seq >= (SELECT first FROM trueup_audit_log)
        BEGIN SELECT RAISE(ABORT, '{_WORDS}'); END""",
    f"""CREATE TRIGGER trueup_audit_heads_kept BEFORE UPDATE ON trueup_audit_heads
        BEGIN SELECT RAISE(ABORT, '{_WORDS}'); END""",
    f"""CREATE TRIGGER trueup_audit_heads_stay BEFORE DELETE ON trueup_audit_heads
        WHEN OLD.size >= (SELECT first FROM trueup_audit_log)
        BEGIN SELECT RAISE(ABORT, '{_WORDS}'); END""",
    f"""CREATE TRIGGER trueup_audit_log_kept BEFORE UPDATE ON trueup_audit_log
        WHEN (NEW.origin <> OLD.origin AND EXISTS (SELECT 1 FROM trueup_audit)) OR NEW.first < OLD.first
        BEGIN SELECT RAISE(ABORT, '{_WORDS}'); END""",
    f"""CREATE TRIGGER trueup_audit_log_stays BEFORE DELETE ON trueup_audit_log
        BEGIN SELECT RAISE(ABORT, '{_WORDS}'); END""",
)
POSTGRESQL = (
    f"""CREATE FUNCTION trueup_audit_refused() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{_WORDS}'; END $$""",
    """CREATE FUNCTION trueup_audit_first() RETURNS bigint LANGUAGE sql STABLE AS
        $$ SELECT first FROM trueup_audit_log $$""",
    """CREATE FUNCTION trueup_audit_begun() RETURNS boolean LANGUAGE sql STABLE AS
        $$ SELECT EXISTS (SELECT 1 FROM trueup_audit) $$""",
    """CREATE TRIGGER trueup_audit_kept BEFORE UPDATE ON trueup_audit FOR EACH ROW
        WHEN (OLD.seq IS NOT NULL OR NEW.seq IS NULL
          OR (NEW.id, NEW.at, NEW.act, NEW.projection, NEW.run, NEW.line)
             IS DISTINCT FROM (OLD.id, OLD.at, OLD.act, OLD.projection, OLD.run, OLD.line))
        EXECUTE FUNCTION trueup_audit_refused()""",
    """CREATE TRIGGER trueup_audit_stays BEFORE DELETE ON trueup_audit FOR EACH ROW
        WHEN (OLD.seq IS NULL OR OLD.seq >= trueup_audit_first()) EXECUTE FUNCTION trueup_audit_refused()""",
    """CREATE TRIGGER trueup_audit_heads_kept BEFORE UPDATE ON trueup_audit_heads FOR EACH ROW
        EXECUTE FUNCTION trueup_audit_refused()""",
    """CREATE TRIGGER trueup_audit_heads_stay BEFORE DELETE ON trueup_audit_heads FOR EACH ROW
        WHEN (OLD.size >= trueup_audit_first()) EXECUTE FUNCTION trueup_audit_refused()""",
    """CREATE TRIGGER trueup_audit_log_kept BEFORE UPDATE ON trueup_audit_log FOR EACH ROW
        WHEN ((NEW.origin <> OLD.origin AND trueup_audit_begun()) OR NEW.first < OLD.first)
        EXECUTE FUNCTION trueup_audit_refused()""",
    """CREATE TRIGGER trueup_audit_log_stays BEFORE DELETE ON trueup_audit_log FOR EACH ROW
        EXECUTE FUNCTION trueup_audit_refused()""",
    *(
        f"""CREATE TRIGGER {table}_whole BEFORE TRUNCATE ON {table} FOR EACH STATEMENT
            EXECUTE FUNCTION trueup_audit_refused()"""
        for table in ("trueup_audit", "trueup_audit_heads", "trueup_audit_log")
    ),
)


def of(dialect: str) -> tuple[str, ...]:
    """The statements that make them on a kind of database that can hold a ledger."""
    return SQLITE if dialect == "sqlite" else POSTGRESQL
