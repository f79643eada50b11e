"""Continuous mode: the oldest part is next when nothing else is to be done; it gives way, rests, survives a restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.live.harness import around
from tests.serving.worlds import World, ended, waiting
from trueup import Projection, Side
from trueup.core.plan import partition_of
from trueup.core.states import RunState
from trueup.serve import Node
from trueup.store.coverage import Coverage
from trueup.store.ledger import Ledger

TENANTS = "abcdef"
HOUR = 3600


def declare(world: World, name: str = "p", **changes: Any) -> Projection:
    """Rows `(id, tenant, n)` of six tenants, a partition each."""
    columns = "(id integer PRIMARY KEY, tenant text, n integer)"
    world.db.sql(*(f"CREATE TABLE {side}_{name} {columns}" for side in "st"))
    rows = ", ".join(f"({at}, '{tenant}', 1)" for at, tenant in enumerate(TENANTS))
    world.db.sql(*(f"INSERT INTO {side}_{name} VALUES {rows}" for side in "st"))
    sides = {"source": Side(database="app", table=f"s_{name}"), "target": Side(database="app", table=f"t_{name}")}
    given: dict[str, Any] = {
        "key": ["id"],
        "writers": "same_transaction",
        "partition": {"by": "column", "column": "tenant"},
    }
    given |= {"schedule": {"continuous": True}, "fresh": "6h", **sides, **changes}
    world.declared[name] = Projection(name=name, **given)
    return world.declared[name]


def read(node: Node, run: str | None = None) -> list[str]:
    """Tenants that a run (default: the last) has read."""
    spans = Coverage(node.engine.ledger).spans(run or node.engine.runs("p")[0].id)
    return [part.label for part in map(partition_of, spans) if part is not None]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn has time for one part."""
    monkeypatch.setattr("trueup.again.TURN_S", 0.0)


@pytest.mark.usefixtures("slow")
def test_everything_first_then_the_oldest_part_whenever_it_is_worth_it(small: World) -> None:
    declare(small)
    node = small.node()
    node.step()
    assert read(node) == list(TENANTS)
    assert node.engine.runs("p")[0].whole
    for _ in range(50):  # a node that looks all the time
        small.clock.fake.sleep(20)
        node.step()
    assert len(node.engine.runs("p")) == 1, "what is young is not read again"
    small.clock.fake.sleep(HOUR)
    seen: list[str] = []
    for _ in range(7):
        node.step()
        node.step()  # and it rests between two turns
        seen += read(node)
        small.clock.fake.sleep(10)
    assert seen == [*TENANTS, TENANTS[-1]], "each once, and then there is nothing that is old"
    assert len(node.engine.runs("p")) == 7


@pytest.mark.usefixtures("slow")
def test_a_restart_goes_on_where_it_was_and_what_is_wrong_is_put_right(small: World) -> None:
    declare(small)
    small.node().step()
    small.clock.fake.sleep(HOUR)
    small.node().step()
    small.db.sql("UPDATE t_p SET n = 9 WHERE tenant = 'b'", "INSERT INTO s_p VALUES (77, 'new', 1)")
    small.clock.fake.sleep(10)
    node = small.node()
    node.step()
    assert read(node) == ["b", "new"], "the next one, and a partition that nobody has read"
    assert small.db.sql("SELECT n FROM t_p WHERE tenant = 'b'") == [(1,)]
    assert small.db.sql("SELECT n FROM t_p WHERE id = 77") == [(1,)]
    assert ended(node)[-1] == ("done", "repaired")
    small.clock.fake.sleep(10)
    node.step()
    assert read(node) == ["c"]


@pytest.mark.usefixtures("slow")
def test_rows_that_are_known_to_be_wrong_are_looked_at_in_every_turn(small: World) -> None:
    declare(small, unattended="check")
    small.db.sql("UPDATE t_p SET n = 9 WHERE tenant = 'f'")
    node = small.node()
    node.step()
    assert node.engine.status()[0].drift == 1
    small.db.sql("UPDATE t_p SET n = 1 WHERE tenant = 'f'")
    small.clock.fake.sleep(HOUR)
    node.step()
    assert read(node) == ["a"]
    assert node.engine.status()[0].drift == 0


def test_the_most_overdue_projection_is_first_and_one_worker_stays_free(small: World) -> None:
    declare(small)
    declare(small, "q", fresh="2h")
    declare(small, "r", schedule=None)
    node = small.node(workers=2)
    for _ in range(2):
        node.step()
    small.clock.fake.sleep(HOUR)
    node.step()
    assert sorted(run.projection for run in node.engine.runs()) == ["p", "q", "q"]


def test_a_turn_gives_way_to_what_somebody_asks_for_and_is_gone_on_with(small: World) -> None:
    """One worker: at the next border the request of another projection has it."""
    declare(small)
    declare(small, "q", schedule=None)
    node = small.node(workers=1, at_once=False)
    node.step()
    asked: list[str] = []

    def ask(*_: object) -> None:
        if not asked:
            asked.append(node.ask("q", reason="now", asked_by="api"))
            node.step()

    with around(Ledger, "commit_narrowed", after=ask):
        node.executor.work()  # type: ignore[attr-defined]
    ((state, answer),) = ended(node)
    assert state == "skipped"
    assert "something more urgent waits" in answer
    (turn,) = node.engine.runs("p")
    assert turn.state is RunState.INTERRUPTED
    done = len(read(node, turn.id))
    assert done == len(TENANTS)
    _work(node)
    assert node.engine.runs("q")[0].state is RunState.DONE
    small.clock.fake.sleep(10)
    _work(node)
    (same,) = node.engine.runs("p")
    assert (same.id, same.state) == (turn.id, RunState.DONE), "it is resumed, and nothing is read twice"


def test_a_tick_is_no_turn_and_a_turn_no_tick(small: World) -> None:
    declare(small, schedule={"continuous": True, "every": "1h"}, fresh="1h")
    node = small.node(at_once=False)
    _work(node)
    small.clock.fake.sleep(HOUR / 2)
    node.step()
    assert waiting(node) == ["p"], "a turn"
    small.clock.fake.sleep(HOUR)
    _work(node)
    _work(node)
    kinds = [(run.whole, run.state) for run in node.engine.runs("p")]
    assert (True, RunState.DONE) in kinds[:-1], "the tick was not merged into the turn"
    assert {state for state, _ in ended(node)} <= {"done", "skipped"}
    assert waiting(node) == []


@pytest.mark.usefixtures("slow")
def test_what_is_held_up_is_not_asked_for_and_by_hand_everything_is_read(small: World) -> None:
    declare(small)
    node = small.node()
    node.step()
    small.clock.fake.sleep(HOUR)
    node.engine.pause("p", reason="release")
    node.step()
    assert len(node.engine.runs("p")) == 1
    node.engine.resume("p")
    with around(Ledger, "commit_narrowed", before=_fail), pytest.raises(RuntimeError):
        node.engine.in_turn("run", "p")
    assert node.engine.runs("p")[0].state is RunState.RUNNING, "it died"
    report = node.engine.run("p")
    assert report.segments["done"] == len(TENANTS)
    states: Sequence[RunState] = [run.state for run in node.engine.runs("p")]
    assert states[:2] == [RunState.DONE, RunState.ABANDONED], "a turn is not taken for a run over everything"


def _fail(*_: object) -> None:
    raise RuntimeError("killed")


def _work(node: Node) -> None:
    node.step()
    node.executor.work()  # type: ignore[attr-defined]
