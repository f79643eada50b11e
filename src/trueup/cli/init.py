"""`trueup init`: a commented configuration, with the tables that are there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trueup.cli import garbage
from trueup.cli.tables import console
from trueup.errors import UsageError
from trueup.sides import relative_to
from trueup.urls import relative_file, with_variables

if TYPE_CHECKING:
    from trueup.adapters import FoundTable

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


def write(url: str | None, path: Path, *, force: bool) -> int:
    """Write the file. Raises UsageError if it is there already, or cannot be written."""
    from trueup.app import tables_at

    if path.exists() and not force:
        raise UsageError(f"{path} is there already; --force replaces it")
    garbage.works()
    tables = [] if url is None else tables_at(url)
    written, variables = with_variables(seen_from(path, url or "postgresql://app:${APP_PASSWORD}@localhost/app"), "APP")
    text = _HEAD % written
    if tables:
        text += "\n# Tables found (key columns in brackets):\n"
        text += "".join(f"#   {line(table)}\n" for table in tables[:TABLES_MAX])
        if len(tables) > TABLES_MAX:
            text += f"#   … and {len(tables) - TABLES_MAX} more\n"
    try:
        path.write_text(text + _PROJECTION, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    out = console()
    out.print(f"wrote {path}" + (f" with the {len(tables)} tables found" if url else ""))
    for table in tables[:TABLES_MAX]:
        out.print(f"  {line(table)}", markup=False)
    for variable in variables:
        out.print(f"export {variable}: what was typed is not kept in the file")
    if url:
        out.print("`trueup discover URL` proposes what is derived from what; --save puts it into the file")
    out.print("next: declare a projection in it, then `trueup explain NAME` and `trueup check NAME`")
    return 0


def seen_from(path: Path, url: str) -> str:
    """A relative file of a URL as the configuration file names it: relative to itself."""
    found = relative_file(url)
    return url if found is None else found[0] + relative_to(path.parent, found[1])


def line(table: FoundTable) -> str:
    marked = [f"[{name}]" if name in table.key else name for name in table.columns]
    return f"{table.name}: {', '.join(marked)}"
