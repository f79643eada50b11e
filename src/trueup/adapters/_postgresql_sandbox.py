"""A copy of a PostgreSQL table to try a backfill on, and what makes sure that it is the copy that is written.

The copy has the table's own name, and is told from it by the connection's `search_path` alone. A pooler may drop that
in silence (PgBouncer: `ignore_startup_parameters = options`); the try, which has no limits, would then be no try.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from pydantic import SecretStr

from trueup.adapters import _postgresql_sessions as sessions
from trueup.adapters._copies import Copy
from trueup.adapters._sandbox import BesideIt
from trueup.core.projection import Database
from trueup.errors import Refused

#: The remedy where a connection does not get what it asks for.
_OWN_ADDRESS = "Give the server's own address in the url for a try in a sandbox"


class InSchema(BesideIt):
    """The table once more in a schema of its own, which a connection is told to look in first."""

    kind, like, removed = "SCHEMA", "(LIKE {} INCLUDING ALL)", " CASCADE"
    overriding = " OVERRIDING SYSTEM VALUE"
    lacking = ("triggers", "foreign keys")

    @contextmanager
    def copied(self, table: str, columns: Sequence[str], select: str) -> Iterator[Copy]:
        """Raises Refused where a session could not be given the copy for the original."""
        with self.adapter.reading() as connection:
            if sessions.lent(connection.info):  # it has not even our settings while the rows are copied
                raise Refused(
                    f"databases.{self.adapter.name}: it is reached through a pooler, so there is no copy to try on: in "
                    f"sessions that others use too it could not be told from the original. {_OWN_ADDRESS}"
                )
        with super().copied(table, columns, select) as copy:
            yield copy

    def seen_from(self, place: str) -> str:
        with self.adapter.reading() as connection:
            path = connection.exec_driver_sql("SHOW search_path").scalar_one()
        url = sa.make_url(self.adapter.database.url.get_secret_value())
        given = url.query.get("options", "")
        options = (
            f"{given if isinstance(given, str) else ' '.join(given)} -csearch_path={place},{path.replace(' ', '')}"
        )
        found = url.update_query_dict({"options": options.strip()}).render_as_string(hide_password=False)
        self._refuse_the_original(found, place)
        return found

    def _refuse_the_original(self, url: str, place: str) -> None:
        """Raises Refused unless tables are looked for in `place` first by who connects as the try will."""
        there = type(self.adapter)(self.adapter.name, Database(url=SecretStr(url)))
        try:
            with there.reading() as connection:
                first = connection.exec_driver_sql("SELECT (current_schemas(false))[1]").scalar_one()
        finally:
            there.close()
        if first != place:
            raise Refused(
                f"databases.{self.adapter.name}: nothing was tried: by the copy's URL tables are those of schema "
                f"{first!r} and not the copies, as what is between here and the server drops the `options` of a "
                f"connection. {_OWN_ADDRESS}"
            )
