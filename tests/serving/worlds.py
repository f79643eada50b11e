"""What the serving tests share: projections on real tables, a clock that nobody waits on, and nodes step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from tests.conformance.worlds import UNLIMITED, EngineClock
from tests.live.harness import Db
from trueup import Projection, Side, Trueup
from trueup.serve import Node


class Later(Executor):
    """Carries out what it was given when the test says so, or at once."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.given: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        self.given.append(work)
        if self.at_once:
            self.work()
        return future

    def work(self) -> None:
        given, self.given = self.given, []
        for each in given:
            each()


class World:
    """Tables `s_NAME` and `t_NAME` of `(id, n)`, and nodes on one ledger."""

    def __init__(self, url: str, ledger: str) -> None:
        self.url, self.ledger_url = url, ledger
        self.db = Db(url)
        self.clock = EngineClock()
        self.declared: dict[str, Projection] = {}
        self.opened: list[Node] = []

    def declare(self, name: str = "p", **changes: Any) -> Projection:
        self.db.sql(*(f"CREATE TABLE {side}_{name} (id integer PRIMARY KEY, n integer)" for side in "st"))
        sides = {"source": Side(database="app", table=f"s_{name}"), "target": Side(database="app", table=f"t_{name}")}
        given: dict[str, Any] = {"key": ["id"], "writers": "same_transaction", "limits": UNLIMITED, **sides, **changes}
        self.declared[name] = Projection(name=name, **given)
        return self.declared[name]

    def drift(self, *ids: int, name: str = "p") -> None:
        """Rows that the target lacks."""
        self.db.sql(*(f"INSERT INTO s_{name} VALUES ({id_}, {id_})" for id_ in ids))

    def right(self, name: str = "p") -> bool:
        both = [self.db.sql(f"SELECT id, n FROM {side}_{name} ORDER BY id") for side in "st"]
        return both[0] == both[1]

    def engine(self, **changes: Any) -> Trueup:
        given: dict[str, Any] = {"databases": {"app": self.url}, "ledger": self.ledger_url, "clock": self.clock}
        return Trueup(projections=list(self.declared.values()), **given | changes)

    def node(self, *, workers: int = 2, at_once: bool = True, asks: bool = True, **changes: Any) -> Node:
        node = Node(lambda: self.engine(**changes), workers=workers, executor=Later(at_once=at_once), asks=asks)
        self.opened.append(node)
        return node

    def close(self) -> None:
        for node in self.opened:
            node.close()


def ended(node: Node, name: str = "p") -> list[tuple[str, str]]:
    """(state, answer) of what ended, oldest first."""
    return [(request.state, request.answer) for request in reversed(node.engine.queue.newest(name, 100))]


def waiting(node: Node) -> Sequence[str]:
    return [request.projection for request in node.engine.queue.open() if request.state == "waiting"]


def sqlite_world(folder: Path) -> World:
    return World(f"sqlite:///{folder / 'app.db'}", f"sqlite:///{folder / 'ledger.db'}")
