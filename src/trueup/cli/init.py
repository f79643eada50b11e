"""`trueup init`: a commented configuration, with the tables that are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trueup.cli.tables import console
from trueup.errors import ConnectionFailed, UsageError

#: Tables listed in the file at most.
TABLES_MAX = 60

_HEAD = """\
# Trueup: what is derived from what, and how it may be repaired.
# Every key: docs/configuration.md. Environment variables are written ${NAME}.

[trueup]
ledger = "sqlite:///trueup.db"     # what was found, decided and done; postgresql://... for several nodes

[databases.app]
url = "%s"
"""

_PROJECTION = '''
# A projection: `target` should hold, for each `key`, what `source` says. Adapt it to your tables and take the # away.
#
# [projections.post_like_counts]
# description = "likes shown on a post"
# source  = { database = "app", query = """
#   SELECT post_id, count(*) AS likes FROM post_likes WHERE active GROUP BY post_id""" }
# target  = { database = "app", table = "post_like_counts" }
# key     = ["post_id"]
# absent  = { likes = 0 }          # what a key without a source row means; without it: the row should not exist
# writers = "same_transaction"     # how your application writes the target; decides which repair is safe
# limits  = { rows = 1000, share = "5%", deletes = 100 }
#
# then:   trueup explain post_like_counts
#         trueup check post_like_counts
#         trueup run post_like_counts
'''


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundTable:
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


def write(url: str | None, path: Path, *, force: bool) -> int:
    """Write the file. Raises UsageError if it is there already."""
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; --force replaces it")
    tables = found(url) if url else []
    text = _HEAD % without_password(url or "postgresql://app:${APP_PASSWORD}@localhost/app")
    if tables:
        text += "\n# Tables found (key columns in brackets):\n"
        text += "".join(f"#   {line(table)}\n" for table in tables[:TABLES_MAX])
        if len(tables) > TABLES_MAX:
            text += f"#   … and {len(tables) - TABLES_MAX} more\n"
    path.write_text(text + _PROJECTION, encoding="utf-8")
    out = console()
    out.print(f"wrote {path}" + (f" with the {len(tables)} tables found" if url else ""))
    for table in tables[:TABLES_MAX]:
        out.print(f"  {line(table)}", markup=False)
    out.print("next: declare a projection in it, then `trueup explain NAME` and `trueup check NAME`")
    return 0


def line(table: FoundTable) -> str:
    marked = [f"[{name}]" if name in table.key else name for name in table.columns]
    return f"{table.name}: {', '.join(marked)}"


def without_password(url: str) -> str:
    """A password typed on the command line does not go into a file."""
    return re.sub(r"(://[^:/@]+):(?!\$\{)[^@/]+@", r"\1:${APP_PASSWORD}@", url)


def found(url: str) -> Sequence[FoundTable]:
    """Tables that the database lists, largest schemas last; reads no row."""
    import sqlalchemy as sa
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    from trueup.adapters import connect
    from trueup.core.projection import Database

    try:
        sa.make_url(url)
    except ArgumentError:
        raise UsageError("the URL is not of the form postgresql://user@host/database or sqlite:///file.db") from None
    database = Database.model_validate({"url": url})
    adapter = connect("app", database)
    try:
        file = sa.make_url(url).database
        if url.startswith("sqlite") and file and not Path(file).exists():
            raise ConnectionFailed(f"there is no file {file}")
        with adapter.engine.connect() as connection:  # type: ignore[attr-defined]
            inspector = sa.inspect(connection)
            default = inspector.default_schema_name
            schemas = [
                name for name in inspector.get_schema_names() if name not in ("information_schema", "pg_catalog")
            ]
            tables = []
            for schema in schemas:
                for name in inspector.get_table_names(schema):
                    if name.startswith("trueup_"):
                        continue
                    tables.append(
                        FoundTable(
                            name=name if schema == default else f"{schema}.{name}",
                            columns=tuple(column["name"] for column in inspector.get_columns(name, schema)),
                            key=tuple(inspector.get_pk_constraint(name, schema)["constrained_columns"]),
                        )
                    )
            return sorted(tables, key=lambda table: table.name)
    except SQLAlchemyError as error:
        words = " ".join(str(getattr(error, "orig", None) or error).split())
        raise ConnectionFailed(f"the database cannot be read: {words}") from None
    finally:
        adapter.close()
