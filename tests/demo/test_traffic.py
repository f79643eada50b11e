"""The demo's traffic: its faults are what the list says, its judge is exact under traffic."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import PATIENCE_S, until
from trueup.demo import schema
from trueup.demo.faults import KINDS, Fault, PlannedFault, load_faults, plan_faults
from trueup.demo.judge import destroyed
from trueup.demo.naive import recount_plainly
from trueup.demo.projector import Lag, Projector, position_of
from trueup.demo.schema import AIRCRAFT, AIRPORT_HOURS, PROJECTIONS, Projection, RowId, load_flights
from trueup.demo.traffic import Totals, _Replay, prepare, replay, still_wrong


class Demo:
    """A prepared demo and short ways to touch it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.db = str(folder / "demo.db")
        self.list = str(folder / "faults.jsonl")
        self.prepared = prepare(self.db, self.list, **options)

    @property
    def faults(self) -> list[Fault]:
        return load_faults(self.list)

    @property
    def fault_rows(self) -> set[RowId]:
        return {fault.row for fault in self.faults}

    def wrong(self) -> frozenset[RowId]:
        return still_wrong(self.db)

    def run(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with closing(schema.connect(self.db)) as conn:
            return conn.execute(sql, values).fetchall()

    def write(self, count: int) -> None:
        newest = self.run("SELECT max(id) FROM departures")[0][0]
        with closing(schema.connect(self.db)) as conn:
            rows = load_flights()[newest : newest + count]
            conn.executemany("INSERT INTO departures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def project(self, projection: Projection, count: int, plan: tuple[PlannedFault, ...] = ()) -> list[Fault]:
        before = len(self.faults)
        with closing(schema.connect(self.db)) as conn:
            projector = Projector(conn, self.list, seed=1, plan=plan, phase="live")
            projector.apply(projection, position_of(conn, projection) + count)
        return self.faults[before:]

    def repair(self, row: RowId) -> None:
        """An exact repair: the truth's count, sum and newest id, or no row if the truth has no such key."""
        projection = next(p for p in PROJECTIONS if p.name == row[0])
        with closing(schema.connect(self.db)) as conn:
            conn.execute("BEGIN IMMEDIATE")
            conn.execute(f"DELETE FROM {projection.name} WHERE {projection.where}", row[1])
            conn.execute(
                f"INSERT INTO {projection.name} SELECT {', '.join(projection.key)}, count(*),"
                f" sum({projection.amount}), max(id) FROM departures WHERE {projection.where}"
                f" GROUP BY {', '.join(projection.key)}",
                row[1],
            )
            conn.execute("COMMIT")


@contextmanager
def traffic(demo: Demo, **options: Any) -> Iterator[list[Totals]]:
    """A replay in a thread, stopped and waited for at the end; the list then holds its totals."""
    stop, totals = threading.Event(), list[Totals]()
    thread = threading.Thread(
        target=lambda: totals.append(replay(demo.db, demo.list, seconds=3600, stop=stop, **options))
    )
    thread.start()
    try:
        yield totals
    finally:
        stop.set()
        thread.join()


# The set-up


def test_without_faults_nothing_is_wrong(tmp_path: Path) -> None:
    demo = Demo(tmp_path, history_faults=0)
    assert demo.wrong() == frozenset()
    assert demo.faults == []
    assert demo.prepared.departures + demo.prepared.remaining == len(load_flights())


def test_history_faults_are_wrong_and_nothing_else(tmp_path: Path) -> None:
    demo = Demo(tmp_path, history_faults=40)
    assert demo.wrong() == demo.fault_rows
    assert len(demo.fault_rows) == len(demo.faults) == demo.prepared.faults == 40
    assert {(f.kind, f.projection) for f in demo.faults} == {(k, p.name) for k in KINDS for p in PROJECTIONS}


def test_same_seed_same_database_and_faults(tmp_path: Path) -> None:
    def made(name: str, seed: int) -> tuple[list[object], list[list[tuple[Any, ...]]]]:
        (tmp_path / name).mkdir()
        demo = Demo(tmp_path / name, seed=seed)
        tables = [demo.run(f"SELECT * FROM {p.name} ORDER BY {', '.join(p.key)}") for p in PROJECTIONS]
        return [(f.kind, f.row, f.event_id) for f in demo.faults], tables

    assert made("one", 5) == made("two", 5) != made("three", 6)


def test_prepare_refuses_a_file_that_exists(tmp_path: Path) -> None:
    Demo(tmp_path, share=0.01, history_faults=0)
    with pytest.raises(FileExistsError, match="choose a new path"):
        Demo(tmp_path)


# The judge


def test_pending_events_are_not_drift(tmp_path: Path) -> None:
    demo = Demo(tmp_path, share=0.02, history_faults=0)
    demo.write(200)
    assert demo.wrong() == frozenset()
    demo.project(AIRCRAFT, 120)
    assert demo.wrong() == frozenset()


def test_repair_ahead_of_the_projector_is_right_and_its_events_become_no_ops(tmp_path: Path) -> None:
    demo = Demo(tmp_path, share=0.02, history_faults=0)
    demo.write(50)
    newest = load_flights()[demo.prepared.departures + 49]
    for projection in PROJECTIONS:
        demo.repair((projection.name, projection.key_of(newest)))
    assert demo.wrong() == frozenset()
    row = demo.run("SELECT * FROM aircraft WHERE tailnum = ?", (newest.tailnum,))
    for projection in PROJECTIONS:
        demo.project(projection, 50)
    assert demo.run("SELECT * FROM aircraft WHERE tailnum = ?", (newest.tailnum,)) == row
    assert demo.wrong() == frozenset()


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda p: p.name)
@pytest.mark.parametrize("kind", KINDS)
def test_each_live_fault_stays_wrong_until_it_is_repaired(tmp_path: Path, kind: Any, projection: Projection) -> None:
    demo = Demo(tmp_path, share=0.1, history_faults=0)
    demo.write(600)
    first = demo.prepared.departures + 1
    plan = (PlannedFault(kind=kind, projection=projection.name, from_id=first),)
    [fault] = demo.project(projection, 300, plan)
    assert (fault.kind, fault.phase) == (kind, "live")
    assert fault.event_id >= first
    assert demo.wrong() == {fault.row}
    demo.project(projection, 300)  # later events of the key neither heal nor hide it
    assert demo.wrong() == {fault.row}
    demo.repair(fault.row)
    assert demo.wrong() == frozenset()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE aircraft SET flights = flights + 1 WHERE tailnum = ?",
        "UPDATE aircraft SET miles = NULL WHERE tailnum = ?",
        "UPDATE aircraft SET last_departure = last_departure - 1 WHERE tailnum = ?",
        "UPDATE aircraft SET last_departure = 999999 WHERE tailnum = ?",
        "DELETE FROM aircraft WHERE tailnum = ?",
    ],
)
def test_judge_sees_every_column(tmp_path: Path, sql: str) -> None:
    demo = Demo(tmp_path, share=0.02, history_faults=0)
    tailnum = load_flights()[0].tailnum
    demo.run(sql, (tailnum,))
    assert demo.wrong() == {("aircraft", (tailnum,))}


def test_judge_narrowed_to_faults(tmp_path: Path) -> None:
    demo = Demo(tmp_path, history_faults=3)
    demo.run("DELETE FROM airport_hours WHERE rowid = (SELECT min(rowid) FROM airport_hours)")
    assert len(demo.wrong()) == 4
    assert still_wrong(demo.db, demo.faults) == demo.fault_rows
    assert still_wrong(demo.db, []) == frozenset()


@pytest.mark.parametrize("seed", range(4))
def test_judge_agrees_with_bookkeeping_over_any_history(tmp_path: Path, seed: int) -> None:
    """Only a fault makes a row wrong, only a repair makes it right, whatever else happens in any order."""
    rng = random.Random(seed)
    demo = Demo(tmp_path, seed=seed, share=0.1, history_faults=6)
    wrong = set(demo.fault_rows)
    for _ in range(40):
        step = rng.choice(["write", "project", "fault", "repair", "repair_any"])
        projection = rng.choice(PROJECTIONS)
        if step == "write":
            demo.write(rng.randint(1, 40))
        elif step == "project":
            demo.project(projection, rng.randint(1, 40))
        elif step == "fault":
            planned = PlannedFault(kind=rng.choice(KINDS), projection=projection.name, from_id=0)
            wrong |= {fault.row for fault in demo.project(projection, rng.randint(1, 40), (planned,))}
        elif step == "repair" and wrong:
            row = rng.choice(sorted(wrong))
            demo.repair(row)
            wrong.discard(row)
        else:
            newest = demo.run("SELECT max(id) FROM departures")[0][0]
            row = (projection.name, projection.key_of(load_flights()[newest - rng.randint(1, 60)]))
            demo.repair(row)
            wrong.discard(row)
        assert demo.wrong() == wrong, step


def test_destroyed_is_new_damage_that_no_fault_explains() -> None:
    fault = Fault(kind="lost_update", projection="aircraft", key=("C",), event_id=1, phase="live", committed_at_s=0.0)
    a, b, c = (("aircraft", (name,)) for name in "ABC")
    assert destroyed({a}, {a, b, c}, [fault]) == {b}


# The fault list


def test_plan_is_the_same_for_a_seed_and_within_its_bounds() -> None:
    plan = plan_faults(seed=1, count=24, first_id=100, last_id=130)
    assert plan == plan_faults(seed=1, count=24, first_id=100, last_id=130)
    assert all(100 <= planned.from_id <= 130 for planned in plan)
    assert set(Counter((p.kind, p.projection) for p in plan).values()) == {2}


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    demo = Demo(tmp_path, history_faults=2)
    with Path(demo.list).open("a") as out:
        out.write('{"kind": "lost_')
    assert len(demo.faults) == 2
    assert load_faults(str(tmp_path / "none")) == []


# The replay


def test_lag_keeps_events_back_and_in_order() -> None:
    lag = Lag(1.0, seed=1)
    lag.wrote(5, now=10.0)
    lag.wrote(9, now=10.1)
    assert lag.due(AIRCRAFT, now=10.99) is None
    assert lag.due(AIRCRAFT, now=11.61) == 9
    assert lag.any_waiting()  # the other projection has not asked yet
    assert lag.due(AIRPORT_HOURS, now=float("inf")) == 9
    assert not lag.any_waiting()


def test_faults_under_traffic_are_exactly_what_is_wrong(tmp_path: Path) -> None:
    demo = Demo(tmp_path, history_faults=12)
    with traffic(demo, rate_per_s=400, live_faults=12, fault_window_s=0.5, lag_s=0.05, drain=True) as totals:
        for _ in range(5):
            before = demo.fault_rows
            wrong = demo.wrong()
            assert before <= wrong  # exact while the traffic runs; a live fault may come between the two
        until(lambda: len(demo.faults) == 24)
    assert demo.wrong() == demo.fault_rows
    assert (totals[0].faults, totals[0].pending) == (12, 0)


def test_replay_ends_with_the_month_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    demo = Demo(tmp_path, share=0.995, history_faults=0)
    left = demo.prepared.remaining
    assert replay(demo.db, demo.list, rate_per_s=400, lag_s=3600.0, seconds=0).ended == "seconds"
    with traffic(demo, rate_per_s=400, lag_s=3600.0) as totals:
        until(lambda: demo.run("SELECT max(id) FROM departures")[0][0] > demo.prepared.departures)
    (first,) = totals
    assert first.ended == "asked"
    assert first.pending == 2 * first.written > 0
    rest = replay(demo.db, demo.list, rate_per_s=800, lag_s=0.01, seconds=3600)
    assert rest.ended == "month_over"
    assert (first.written + rest.written, rest.applied, rest.pending) == (left, 2 * left, 0)
    assert demo.wrong() == frozenset()


def test_a_month_that_runs_out_does_so_ever_more_slowly(tmp_path: Path) -> None:
    """However long the acts of the demo take: there is traffic until their end."""
    demo = Demo(tmp_path, share=0.995, history_faults=0)
    left = demo.prepared.remaining
    with closing(schema.connect(demo.db)) as conn:
        projector = Projector(conn, demo.list, seed=1, plan=(), phase="live")
        run = _Replay(conn, projector, Lag(0.0, 1), load_flights()[-left:], 100.0, 20.0)
        written = []
        for second in range(1, 41):
            run.write_due(run.started + second)
            written.append(run.written)
    assert written[0] <= left / 20, "the rate that was asked for would have ended the month in two seconds"
    assert 0.8 * left < written[-1] < left


def test_naive_recount_destroys_rows_that_were_right(tmp_path: Path) -> None:
    demo = Demo(tmp_path, history_faults=0)
    with traffic(demo, rate_per_s=500, lag_s=0.02, drain=True) as totals:
        newest = demo.prepared.departures + 20
        until(lambda: demo.run("SELECT max(id) FROM departures")[0][0] > newest)
        damage: frozenset[RowId] = frozenset()
        while len(damage) <= 10:  # how much is written over in one pause depends on the machine
            assert recount_plainly(demo.db, "aircraft", pause_s=0.4) > 2900
            damage = destroyed(frozenset(), demo.wrong(), demo.faults)
            assert totals == [], "the traffic goes on"
    assert demo.wrong() >= damage  # and nothing that comes later makes them right again
    assert totals[0].ended == "asked"


def test_naive_recount_without_traffic_is_right(tmp_path: Path) -> None:
    demo = Demo(tmp_path, history_faults=0)
    demo.run("UPDATE airport_hours SET departures = 0 WHERE origin = 'JFK'")
    assert demo.wrong()
    assert recount_plainly(demo.db, "airport_hours", pause_s=0) == len(demo.run("SELECT * FROM airport_hours"))
    assert demo.wrong() == frozenset()


def test_process_stops_on_sigterm_and_drains(tmp_path: Path) -> None:
    demo = Demo(tmp_path, history_faults=0)
    command = [sys.executable, "-m", "trueup.demo.traffic", demo.db, "--faults", demo.list]
    options = ["--seed=1", "--rate=300", "--lag=0.5", "--seconds=3600", "--drain"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        newest = demo.prepared.departures + 30
        until(lambda: demo.run("SELECT max(id) FROM departures")[0][0] > newest)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    totals = json.loads(out)
    assert (totals["ended"], totals["pending"], totals["faults"]) == ("asked", 0, 0)
    assert totals["applied"] == 2 * totals["written"] > 60
    assert demo.wrong() == frozenset()


def test_command_says_what_to_do_without_a_database(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trueup.demo.traffic", str(tmp_path / "none.db"), "--faults", "f"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert run.returncode == 2
    assert "make it with trueup.demo.traffic.prepare()" in run.stderr


# The lock


def test_transaction_is_tried_again_and_then_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = Demo(tmp_path, share=0.01, history_faults=0)
    with closing(schema.connect(demo.db)) as holder, closing(schema.connect(demo.db)) as conn:
        conn.execute("PRAGMA busy_timeout = 1")
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            schema.transact(conn, lambda: None)
        holder.execute("COMMIT")
        assert schema.transact(conn, lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            schema.transact(conn, lambda: 1 // 0)
        assert not conn.in_transaction
