"""A table `src` in SQLite beside a store without tables, and the engine between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.conformance.worlds import UNLIMITED, EngineClock
from tests.live.harness import Db
from trueup import Projection, Side, Trueup


class Beside:
    #: The store, as a database of the configuration.
    name: str

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.db = Db(f"sqlite:///{folder / 'app.db'}")
        self.opened: list[Trueup] = []

    def table(self, columns: str, *rows: str) -> None:
        self.db.sql(f"CREATE TABLE src ({columns})", *(f"INSERT INTO src VALUES ({row})" for row in rows))

    def between(self, store: dict[str, Any], *, reverse: bool = False, **declared: Any) -> Trueup:
        """One projection `p`, from the table to `store`, or the other way round."""
        sides = Side(database="app", table="src"), Side(database=self.name, **store)
        source, target = reversed(sides) if reverse else sides
        app = Trueup(
            databases={"app": self.db.url, self.name: self.url},
            projections=[
                Projection(
                    name="p",
                    source=source,
                    target=target,
                    **{"key": "id", "writers": "absolute", "settle": 0, "limits": UNLIMITED, "on_extra": "delete"}
                    | declared,
                )
            ],
            ledger=f"sqlite:///{self.folder / 'ledger.db'}",
            clock=EngineClock(),
        )
        self.opened.append(app)
        return app

    def close(self) -> None:
        for app in self.opened:
            app.close()
