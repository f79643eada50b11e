"""One seed: an application that writes, nodes that repair, an operator who stops them, faults; and a judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from tests.simulation.model import ModelAdapter, ModelClock, ModelLedger, engine_on_models
from tests.simulation.scheduler import Scheduler, Stuck
from tests.simulation.server import GONE, Place, Server, Transaction
from trueup import reconcile, repair, work
from trueup.adapters import Unit
from trueup.core.binding import Binding, Column, Shape, bind
from trueup.core.decide import decide
from trueup.core.guarantee import Writing, promise
from trueup.core.plan import Keys
from trueup.core.projection import Projection, Side, Writers
from trueup.core.retry import Retry
from trueup.core.row import Key, Kind
from trueup.core.states import Outcome, Stage
from trueup.errors import BrokenRead, DataProblem, Refused, TakenOver, Transient
from trueup.patience import Patience
from trueup.side_by_side import Pair
from trueup.store.records import DecisionRow, SegmentRow

FENCE = "counters"
RETRY = Retry()
KEYS: tuple[Key, ...] = ((1,), (2,), (3,))
ROW_LOCKS = Writing(row_locks=True, row_version=True, single_writer=False)
ONE_WRITER = Writing(row_locks=False, row_version=False, single_writer=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Topology:
    """Where source and target live, and who writes them."""

    name: str
    writers: Writers
    writing: Writing
    one_database: bool
    markers: bool = True


TOPOLOGIES = (
    Topology(name="one", writers=Writers.SAME_TRANSACTION, writing=ROW_LOCKS, one_database=True),
    Topology(name="one-mutex", writers=Writers.MUTEX, writing=ROW_LOCKS, one_database=True),
    Topology(name="one-exclusive", writers=Writers.SAME_TRANSACTION, writing=ONE_WRITER, one_database=True),
    Topology(name="two", writers=Writers.ABSOLUTE, writing=ROW_LOCKS, one_database=False),
    Topology(name="two-exclusive", writers=Writers.ABSOLUTE, writing=ONE_WRITER, one_database=False),
    Topology(name="two-unmarked", writers=Writers.ABSOLUTE, writing=ROW_LOCKS, one_database=False, markers=False),
)


@cache
def binding_of(topology: Topology) -> Binding:
    columns = {name: Column(name=name, kind=Kind.INTEGER, type_name="bigint") for name in ("k", "n")}
    shape = Shape(columns=columns, unique=(frozenset({"k"}),), table=True)
    projection = Projection(
        name=FENCE,
        source=Side(database="a", table="source"),
        target=Side(database="a" if topology.one_database else "b", table="target"),
        key=("k",),
        writers=topology.writers,
        absent={"n": 0} if topology.one_database else None,
        on_extra=None if topology.one_database else "delete",
        settle=0 if topology.one_database else 1.5,
    )
    return bind(projection, shape, shape, writing=True)


class World:
    """Everything of one seed. `wrong` is what the judge found."""

    def __init__(self, seed: int, topology: Topology) -> None:
        self.topology = topology
        self.binding = binding_of(topology)
        self.scheduler = scheduler = Scheduler(seed)
        self.random = scheduler.random
        self.target = Server("target", scheduler)
        self.source = self.target if topology.one_database else Server("source", scheduler)
        self.control = Server("control", scheduler)
        self.adapter = ModelAdapter(self.target, writing=topology.writing, markers=topology.markers)
        self.reader = self.adapter
        if not topology.one_database:
            self.reader = ModelAdapter(self.source, writing=topology.writing, markers=False)
        self.pair = Pair(binding=self.binding, source=self.reader, target=self.adapter)  # type: ignore[arg-type]
        self.ledger = ModelLedger(self.control)
        self.clock = ModelClock(scheduler)
        #: The application and the faults are over; nodes finish what is left.
        self.calm = False
        self.writing = 0
        self.wrong: list[str] = []
        #: unit -> what its transaction really changed: key -> (before, after).
        self.truth: dict[str, dict[Key, tuple[Any, Any]]] = {}
        #: key -> how new a source the target's row reflects.
        self.reflects: dict[Key, int] = {}
        #: key -> version of the source -> what it said.
        self.history: dict[Key, dict[int, int]] = {}
        self.stopped = False
        self.lag: list[Key] = []
        self.target.watch = self.judge

    # --- the application ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        for key in KEYS:
            n = self.random.randint(0, 3)
            if n:
                self.source.rows["source", key] = n
            self.source.rows["version", key] = 1
            self.history[key] = {1: n}
            right = self.random.random() < 0.3
            stored = n if right else n + self.random.choice((-1, 1, 2))
            if self.random.random() < 0.8:
                self.target.rows["target", key] = ((stored,), "0")
            self.reflects[key] = 1

    def in_target(
        self, *steps: Callable[[Transaction], None], version: int | None = None, commits: bool = True
    ) -> bool:
        """One transaction of the application in the target; did it commit?"""
        transaction = self.target.begin()
        transaction.notes["version"] = version
        first = [self.target.alone] if self.topology.writing.single_writer else []
        last = self.target.commit if commits else self.target.rollback
        try:
            for step in (*first, *steps, last):
                self.target.call("write", partial(step, transaction), transaction)
        except Transient:
            self.target.rollback(transaction)
            return False
        return True

    def with_the_row(self) -> None:
        """The source's change and the counter's in one transaction."""
        for _ in range(self.random.randint(1, 4)):
            self.scheduler.sleep(self.random.randint(0, 60))
            key, amount = self.random.choice(KEYS), self.random.choice((1, 1, -1))

            def edge(t: Transaction, key: Key = key, amount: int = amount) -> None:
                self.target.add(t, ("source", key), amount)

            def counter(t: Transaction, key: Key = key, amount: int = amount) -> None:
                """INSERT ... ON CONFLICT DO UPDATE SET n = n + amount, at READ COMMITTED."""
                self.target.lock(t, ("target", key))
                row = self.target.read(t, ("target", key))
                n = (self.target.rows.get(("source", key)) or 0) if row is None else row[0][0]
                self.target.write(t, ("target", key), ((n + amount,), str(t.id)))

            steps = (edge, counter) if self.random.random() < 0.5 else (counter, edge)
            self.in_target(*steps, commits=self.random.random() < 0.9)

    def afar(self) -> None:
        """The source is written; a pipeline carries what it then holds to the target, in order, some time later."""
        for _ in range(self.random.randint(2, 6)):
            self.scheduler.sleep(self.random.randint(0, 60))
            key, n = self.random.choice(KEYS), self.random.choice((0, 1, 2, 3, 4))
            transaction = self.source.begin()

            def write(t: Transaction, key: Key = key, n: int = n) -> None:
                self.source.write(t, ("source", key), n or GONE)
                self.source.write(t, ("version", key), (self.source.read(t, ("version", key)) or 0) + 1)

            try:
                for step in (write, self.commit_source):
                    self.source.call("write", partial(step, transaction), transaction)
            except Transient:
                self.source.rollback(transaction)
                continue
            if self.random.random() < 0.7:  # the others are lost: that is the drift
                self.lag.append(key)

    def commit_source(self, transaction: Transaction) -> None:
        self.source.commit(transaction)
        for key in KEYS:
            version = self.source.rows["version", key]
            self.history[key][version] = self.source.rows.get(("source", key), 0)

    def pipeline(self) -> None:
        while self.writing or self.lag:
            if not self.lag:
                self.scheduler.sleep(3)
                continue
            key = self.lag.pop(0)
            self.scheduler.step("read the source")
            n, version = self.source.rows.get(("source", key)), self.source.rows["version", key]

            def write(t: Transaction, key: Key = key, n: Any = n) -> None:
                self.target.write(t, ("target", key), GONE if n is None else ((n,), str(t.id)))

            if not self.in_target(write, version=version):
                self.lag.insert(0, key)

    def vandal(self) -> None:
        """Somebody fixes counters by hand, wrongly."""
        for _ in range(2):
            self.scheduler.sleep(self.random.randint(5, 80))
            key = self.random.choice(KEYS)

            def write(t: Transaction, key: Key = key) -> None:
                self.target.lock(t, ("target", key))
                row = self.target.read(t, ("target", key))
                if row is not None:
                    self.target.write(t, ("target", key), ((row[0][0] + 1,), str(t.id)))

            self.in_target(write)

    def operator(self) -> None:
        """Throws the kill switch, and lets go on."""
        self.scheduler.sleep(self.random.randint(10, 150))
        while self.fenced(True) is None:
            pass
        self.stopped = True
        self.scheduler.sleep(self.random.randint(20, 100))
        self.stopped = False
        while self.fenced(False) is None:
            pass

    def fenced(self, stop: bool) -> int | None:
        try:
            return self.adapter.raise_fence(FENCE, stop=stop) or 0
        except Transient:
            return None

    # --- a node -------------------------------------------------------------------------------------------------------

    def node(self, name: str) -> None:
        """Processes of one node, one after the other: each settles what is open, then looks, decides and corrects."""
        turn = 0
        while True:
            turn += 1
            try:
                if self.turn(f"{name}{turn}") and self.calm:
                    return
            except (TakenOver, Transient, Refused, BrokenRead, DataProblem):
                pass
            self.scheduler.sleep(self.random.randint(1, 15))

    def turn(self, run: str) -> bool:
        """One run; was there nothing to do?"""
        token = self.adapter.raise_fence(FENCE)
        at_hand = self.work(run, token or 0)
        for unit, of, keys in self.ledger.open_units():
            theirs = {key: decision.drift for key, decision in self.ledger.intents[of].items()}
            repair.recover(at_hand, theirs, unit, keys)
        for earlier in self.ledger.unfinished():
            if self.random.random() < 0.5:
                self.correct(self.work(earlier, token or 0), earlier)
            else:
                self.ledger.end(earlier)
        found = list(work.look(at_hand, KEYS).values())
        drift, _, moving = work.confirmed(at_hand, found, first_wait_s=at_hand.settle_s)
        decisions = [decide(row, self.binding.projection) for row in drift]
        if decisions:
            self.ledger.intend(run, decisions)
            self.correct(self.work(run, token or 0, fresh=True), run)
        return not decisions and not moving

    def work(self, run: str, token: int, *, fresh: bool = False) -> work.Work:
        return work.Work(
            pair=self.pair,
            target=self.adapter,  # type: ignore[arg-type]
            ledger=self.ledger,  # type: ignore[arg-type]
            clock=self.clock,  # type: ignore[arg-type]
            patience=Patience(clock=self.clock, retry=RETRY, chance=self.random.random),  # type: ignore[arg-type]
            promise=promise(self.binding.projection, self.topology.writing),
            settle_s=self.binding.projection.settle_s,
            run=run,
            fence=FENCE,
            token=token,
            fresh=fresh,
        )

    def correct(self, at_hand: work.Work, run: str) -> None:
        decided = self.ledger.intents[run]
        rows = [DecisionRow(id=at, segment=1, decision=decision) for at, decision in enumerate(decided.values())]
        segment = SegmentRow(
            id=1, run=run, stage=Stage.REPAIR, span=Keys(keys=tuple(decided)), suspects=[], looked_at=None
        )
        earlier = [] if at_hand.fresh else self.ledger.outcomes(run)
        reconcile.correct(at_hand, segment, rows, earlier)
        self.ledger.end(run)

    # --- the judge ----------------------------------------------------------------------------------------------------

    def judge(self, transaction: Transaction, before: dict[Place, Any]) -> None:
        """After each commit in the target."""
        unit: Unit | None = transaction.notes.get("unit")
        written = {place[1]: before[place] for place in transaction.writes if place[0] == "target"}
        if unit is None:
            if (version := transaction.notes.get("version")) is not None:
                self.reflects.update(dict.fromkeys(written, version))
            return
        changed = {}
        for key, row in written.items():
            now = self.target.rows.get(("target", key))
            if (row and row[0]) != (now and now[0]):
                changed[key] = (row and row[0], now and now[0])
        self.truth[unit.id] = changed
        if self.topology.markers:
            token, _ = self.target.rows["fence", FENCE]
            if token != unit.token:
                self.wrong.append(f"I2: unit of token {unit.token} committed under {token}")
            if self.stopped:
                self.wrong.append("I8: a unit committed after stop had returned")
        for key in changed:
            if self.topology.one_database:
                self.judged_here(key)
            else:
                read = transaction.notes["actor"].notes.get("read_versions", {}).get(key, 0)
                # A row that is not there has no version: a late insert may bring back what was deleted. It is taken
                # back when it is verified; only tombstones rule it out.
                if read < self.reflects.get(key, 0) and written[key] is not None:
                    self.wrong.append(f"I1: key {key}: source of {read} written over {self.reflects[key]}")
                elif (changed[key][1] or (0,))[0] != self.history[key].get(read):
                    self.wrong.append(f"I1: key {key} was repaired to {changed[key][1]}, which the source never said")
                self.reflects[key] = read

    def judged_here(self, key: Key) -> None:
        n = self.source.rows.get(("source", key), 0)
        row = self.target.rows.get(("target", key))
        if row is not None and row[0] != (n,):
            self.wrong.append(f"I1: key {key} was repaired to {row[0][0]}, the source says {n}")
        if row is None and n:
            self.wrong.append(f"I1: key {key} was deleted, the source says {n}")

    def judge_the_end(self) -> None:
        """When all is quiet: nothing drifts, and the ledger tells the truth."""
        for key in KEYS:
            n = self.source.rows.get(("source", key), 0)
            row = self.target.rows.get(("target", key))
            if (row[0][0] if row else 0) != n or (not self.topology.one_database and (row is None) != (n == 0)):
                self.wrong.append(f"I10: key {key} is {row and row[0]} at the end, the source says {n}")
        for name, unit in self.ledger.units.items():
            if not unit.closed:
                self.wrong.append(f"I4: unit {name} has no outcome")
            said = {o.key: (o.before, o.after) for o in unit.outcomes if o.outcome is Outcome.APPLIED}
            done = self.truth.get(name, {})
            proofs = {o.key for o in unit.outcomes if o.outcome is Outcome.NOT_APPLIED}
            if any(pair != done.get(key) for key, pair in said.items() if pair[0] != pair[1]):
                self.wrong.append(f"I4: unit {name} is said to have done {said}, and did {done}")
            if self.topology.markers and (set(done) - set(said) or proofs & set(done)):
                self.wrong.append(f"I3: unit {name} did {done}, the ledger has {said}")
        for name in self.truth:
            if name not in self.ledger.units:
                self.wrong.append(f"I3: unit {name} was never written down")


def simulate(seed: int, topology: Topology, *, calm: bool = False) -> World:
    """Run one seed to its end. `calm`: without faults."""
    world = World(seed, topology)
    scheduler = world.scheduler
    world.begin()
    if not calm:
        scheduler.pauses, scheduler.kills = 0.02, 0.01
        for server in (world.source, world.target, world.control):
            server.losses = 0.02
        if world.random.random() < 0.3:
            at = world.random.randint(0, 150)
            world.reader.cut = range(at, at + 80)
    application = world.with_the_row if topology.one_database else world.afar
    world.writing = 3

    def writer() -> None:
        try:
            application()
        finally:
            world.writing -= 1

    for at in range(3):
        scheduler.spawn(f"writer {at}", writer, after=world.random.randint(0, 60))
    if not topology.one_database:
        scheduler.spawn("pipeline", world.pipeline)
    scheduler.spawn("vandal", world.vandal)
    if world.random.random() < 0.3 and topology.markers:
        scheduler.spawn("operator", world.operator)

    def incarnation(name: str) -> None:
        actor = scheduler.spawn(name, lambda: world.node(name), mortal=True)
        actor.notes["node"] = name

    def keeper() -> None:
        """Starts a node again when it has died; in the end lets all faults cease."""
        names = ["A", "B"]
        for name in names:
            incarnation(name)
        quiet_at = world.random.randint(150, 500)
        born = 0
        while True:
            scheduler.sleep(10)
            alive = {actor.notes.get("node") for actor in scheduler.actors if not actor.done}
            others = [a for a in scheduler.actors if not a.done and a.notes.get("node") is None and a.name != "keeper"]
            if scheduler.now > quiet_at and not others:
                scheduler.pauses = scheduler.kills = 0.0
                for server in (world.source, world.target, world.control):
                    server.losses = 0.0
                world.reader.cut = range(0)
                world.calm = True
            dead = [name for name in names if name not in alive]
            if world.calm and len(dead) == len(names) and not others:
                return
            if not world.calm:
                for name in dead:
                    born += 1
                    incarnation(name)

    scheduler.spawn("keeper", keeper)
    with engine_on_models():
        try:
            scheduler.run()
            # One last process, alone and undisturbed, settles what the last kill left.
            scheduler.spawn("last", lambda: world.node("last"))
            scheduler.run()
        except Stuck as stuck:
            world.wrong.append(f"I10: {stuck}")
        finally:
            scheduler.close()
    if not world.wrong:
        world.judge_the_end()
    return world
