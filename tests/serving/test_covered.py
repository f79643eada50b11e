"""When each part was last read is kept as one list: reading it costs the same however many turns there were."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.serving.test_continuous import HOUR, TENANTS, declare
from tests.serving.worlds import World
from trueup import Trueup, views
from trueup.core.plan import Segment
from trueup.store import schema as t
from trueup.store.coverage import Coverage
from trueup.turns import Turns


def known(engine: Trueup) -> dict[Segment, Any]:
    coverage = Coverage(engine.ledger)
    base = coverage.complete("p", engine.definition("p"))
    assert base is not None
    return {one.span: one.looked_at for one in coverage.verified(base.id)}


def test_what_is_kept_is_what_all_runs_together_tell(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over turns, partitions by name, a new partition, another complete run, and turns after that."""
    monkeypatch.setattr("trueup.again.TURN_S", 0.0)
    declare(world)
    with world.engine() as engine:
        for step in ("all", "turn", "turn", "new", "turn", "named", "turn", "all", "turn", "named", "turn", "turn"):
            world.clock.fake.sleep(HOUR)
            if step == "new":
                world.db.sql("INSERT INTO s_p VALUES (77, 'new', 1)")
            match step:
                case "all":
                    engine.run("p")
                case "named":
                    engine.check("p", partitions=["b"])
                case _:
                    engine.in_turn("run", "p")
            kept = known(engine)
            with engine.ledger.begin() as c:
                count = c.execute(sa.select(sa.func.count()).select_from(t.covered)).scalar_one()
                rows = c.execute(sa.select(t.covered)).all()
                left = c.execute(sa.select(t.runs.c.id).where(t.runs.c.adds_to.is_not(None))).scalars().all()
                c.execute(t.covered.delete())
                part = t.runs.c.base.is_not(None) | (t.runs.c.partitions.is_not(None) & (t.runs.c.partitions != "[]"))
                c.execute(t.runs.update().where(part).values(adds_to="p"))
            assert known(engine) == kept, step
            assert count <= len(kept)
            assert len(left) <= 3, "what came after the last turn, and is looked through by the next"
            with engine.ledger.begin() as c:
                c.execute(t.runs.update().where(t.runs.c.id.not_in(left)).values(adds_to=None))
                if rows:
                    c.execute(t.covered.insert(), [dict(row._mapping) for row in rows])
        assert len(kept) == len(TENANTS) + 1


def test_a_column_that_a_turn_did_not_compare_is_compared_in_all_rows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that read everything compared it, and so does this one; between them it was dropped and added again."""
    monkeypatch.setattr("trueup.again.TURN_S", 0.0)
    declare(world)
    with world.engine() as engine:
        engine.check("p")
        world.db.sql("ALTER TABLE s_p DROP COLUMN n", "ALTER TABLE t_p DROP COLUMN n")
        assert engine.in_turn("check", "p").strategy.startswith("in turn: "), "positive control"
        world.db.sql(*(f"ALTER TABLE {side}_p ADD COLUMN n integer DEFAULT {n}" for n, side in enumerate("st")))
        assert engine.in_turn("check", "p").different == len(TENANTS)
        assert engine.in_turn("check", "p").strategy.startswith("in turn: "), "once is enough"


def many_turns(engine: Trueup, world: World, count: int) -> None:
    """The ledger after so many turns, a part each, as they would have left it."""
    base = engine.runs("p")[-1]
    with engine.ledger.begin() as c:
        run = dict(c.execute(sa.select(t.runs).where(t.runs.c.id == base.id)).mappings().one())
        mine = (t.segments.c.run == base.id) & (t.segments.c.stage == "narrow")
        spans = [dict(row) for row in c.execute(sa.select(t.segments).where(mine)).mappings()]
        turns, read = [], []
        for n in range(count):
            began, name = base.started_at + timedelta(minutes=n + 1), f"turn-{n:09}"
            ended = began + timedelta(seconds=9)
            about = {"id": name, "base": base.id, "adds_to": "p", "started_at": began, "ended_at": ended}
            turns.append(run | about | {"source_rows": None})
            read.append(spans[n % len(spans)] | {"run": name, "looked_at": ended, "id": None})
        c.execute(t.runs.insert(), turns)
        c.execute(t.segments.insert(), [{k: v for k, v in one.items() if k != "id"} for one in read])
    world.clock.fake.sleep(60 * count + HOUR)
    engine.in_turn("run", "p")


@contextmanager
def counting(engine: Trueup) -> Iterator[list[int]]:
    """Instructions of SQLite's machine, in hundreds: a few for each row that is looked at, on whatever machine."""
    done = [0]

    def one() -> int:
        done[0] += 1
        return 0

    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.set_progress_handler(one, 100)

    engine.ledger.engine.dispose()
    sa.event.listen(engine.ledger.engine, "connect", connected)
    yield done
    sa.event.remove(engine.ledger.engine, "connect", connected)
    engine.ledger.engine.dispose()


ASKED: dict[str, Callable[[Trueup], object]] = {
    "status": views.status,
    "freshness": lambda engine: engine.freshness("p"),
    "whose turn it is": lambda engine: Turns(engine).ask([], engine.clock.now(), at_most=1),
    "what is unfinished": lambda engine: engine.ledger.unfinished("p", ["p"]),
    "rows at the last complete run": lambda engine: Coverage(engine.ledger).last_source_rows(
        "p", engine.definition("p")
    ),
}


@pytest.mark.parametrize("what", ASKED)
def test_the_price_does_not_grow_with_the_turns(small: World, what: str) -> None:
    declare(small)
    steps = []
    with small.engine() as engine:
        engine.run("p")
        for turns in (20, 1_000):
            if turns > 20:
                with engine.ledger.begin() as c:
                    c.execute(t.segments.delete().where(t.segments.c.run.like("turn-%")))
                    c.execute(t.runs.delete().where(t.runs.c.id.like("turn-%")))
            many_turns(engine, small, turns)
            with counting(engine) as done:
                ASKED[what](engine)
            steps.append(done[0])
    assert steps[1] <= 1.5 * steps[0] + 5, steps


def test_control_without_the_list_it_grows(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(small)
    monkeypatch.setattr(Coverage, "gathered", Coverage.verified)
    with small.engine() as engine:
        engine.run("p")
        many_turns(engine, small, 1_000)
        with counting(engine) as done:
            engine.freshness("p")
    assert done[0] > 100
