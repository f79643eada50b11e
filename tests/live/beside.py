"""Posts in SQLite, and what is derived from them in a store without tables, written the way an application does it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.live.harness import WIDE, Db, QuickClock, around
from trueup import Projection, Side, Trueup
from trueup.adapters import _documents
from trueup.core.states import Outcome, Verdict


class Beside:
    """Numbers of posts: `n` of each in both places. A store says how it keeps them."""

    #: The projection.
    projection: str
    #: The store, as a database of the configuration.
    name: str
    #: Where in the store they are.
    place: dict[str, Any]

    def __init__(self, folder: Path, url: str, *, fresh: bool = True) -> None:
        self.folder = folder
        self.url = url
        self.db = Db(f"sqlite:///{folder / 'app.db'}")
        if fresh:
            self.db.sql("CREATE TABLE posts(post INTEGER PRIMARY KEY, n BIGINT NOT NULL)")

    def deliver(self, post: int, n: int | None) -> None:
        """Write the derived number; None: take it out."""
        raise NotImplementedError

    def held(self, post: int) -> int | None:
        """What the store has."""
        raise NotImplementedError

    def source(self, post: int, n: int | None) -> None:
        if n is None:
            self.db.sql(f"DELETE FROM posts WHERE post = {post}")
        else:
            self.db.sql(
                f"INSERT INTO posts (post, n) VALUES ({post}, {n}) ON CONFLICT (post) DO UPDATE SET n = excluded.n"
            )

    def write(self, post: int, n: int | None) -> None:
        """The application: commit the source, then deliver."""
        self.source(post, n)
        self.deliver(post, n)

    def state(self, post: int = 1) -> tuple[int | None, int | None]:
        """(source, target)."""
        rows = self.db.sql(f"SELECT n FROM posts WHERE post = {post}")
        return rows[0][0] if rows else None, self.held(post)

    def engine(self, **declared: Any) -> Trueup:
        side = declared.pop("target", None) or Side(database=self.name, **self.place)
        return Trueup(
            databases={"app": self.db.url, self.name: self.url},
            projections=[
                Projection(
                    name=self.projection,
                    source=Side(database="app", table="posts"),
                    target=side,
                    key="post",
                    limits=WIDE,
                    **{"writers": "absolute", "settle": 0, "on_extra": "delete", **declared},
                )
            ],
            ledger=f"sqlite:///{self.folder / 'ledger.db'}",
            clock=QuickClock(),
        )

    def run(self, **declared: Any) -> tuple[Verdict, dict[int, Outcome]]:
        """The verdict, and the last word on each row."""
        with closing(self.engine(**declared)) as engine:
            report = engine.run(self.projection)
            return report.verdict, {o.key[0]: o.outcome for o in engine.outcomes(report.run)}


def meanwhile(*steps: Callable[[], object], nth: int = 1) -> Any:
    """What the application does after the unit read the source, and before it writes."""
    return around(_documents, "read_source", after=lambda: [step() for step in steps], nth=nth)
