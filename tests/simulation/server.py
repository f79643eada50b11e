"""A database as far as repairs see it: READ COMMITTED, a snapshot a statement, row locks, unique keys.

Statements are atomic at the moment they run; before that they wait for the locks they need. A connection that is lost,
or whose client died, is rolled back some time later: until then its locks stay, and a statement it had sent may still
run, a COMMIT too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tests.simulation.scheduler import Actor, Scheduler
from trueup.errors import Busy, Transient

Result = TypeVar("Result")
Place = tuple[str, Any]
GONE = object()


class Transaction:
    """What one connection has done since its last commit."""

    _next = 0

    def __init__(self, server: Server) -> None:
        self.server = server
        server.transactions += 1
        self.id = server.transactions
        self.writes: dict[Place, Any] = {}
        #: Additions to rows that nobody locks: edges that are inserted.
        self.added: dict[Place, int] = {}
        self.shares: set[Place] = set()
        self.locks: set[Place] = set()
        self.open = True
        #: Committed rows when it began, where reads are of one snapshot (a mutation); None: each statement sees anew.
        self.snapshot: dict[Place, Any] | None = None
        #: For the judge.
        self.notes: dict[str, Any] = {}


class Server:
    """Rows by (table, key)."""

    LOCK_TICKS = 40

    def __init__(self, name: str, scheduler: Scheduler) -> None:
        self.name = name
        self.scheduler = scheduler
        self.rows: dict[Place, Any] = {}
        self.transactions = 0
        self._locked: dict[Place, Transaction] = {}
        self._shared: dict[Place, set[Transaction]] = {}
        #: Called after each commit with what was replaced.
        self.watch: Callable[[Transaction, dict[Place, Any]], None] = lambda transaction, before: None
        #: Share of calls whose answer, or whose request, is lost on the way.
        self.losses = 0.0

    # --- the network ------------------------------------------------------------------------------------------------

    def call(self, what: str, statement: Callable[[], Result], transaction: Transaction | None = None) -> Result:
        """Send a statement and wait for its answer. Raises Transient where either is lost."""
        scheduler, actor = self.scheduler, self.scheduler.me
        assert actor is not None

        def late() -> object:
            return statement()

        actor.bury = lambda: self._orphaned(actor, transaction)
        if transaction is not None and transaction not in actor.sessions:
            actor.sessions = [*(session for session in actor.sessions if session.open), transaction]
        scheduler.step(f"send {what}", sent=late)
        lost = scheduler.random.random()
        if lost < self.losses / 2:
            self._drop(transaction)
            raise Transient(f"{self.name}: the connection was lost")
        actor.notes["in_statement"] = True
        try:
            answer = statement()
        finally:
            actor.notes.pop("in_statement", None)
        scheduler.step(f"answer {what}")
        if lost > 1 - self.losses / 2:
            self._drop(transaction)
            raise Transient(f"{self.name}: the connection was lost")
        return answer

    def _orphaned(self, actor: Actor, transaction: Transaction | None) -> None:
        """The client died. What it had sent may still run; then, or some time later, the server ends its session."""
        sent, random = actor.sent, self.scheduler.random
        runs = sent is not None and random.random() < 0.5

        def session() -> None:
            if runs and sent is not None and (transaction is None or transaction.open):
                with contextlib.suppress(Exception):  # nobody is there to hear it
                    sent()
            for mine in actor.sessions:
                mine.server.rollback(mine)

        self.scheduler.spawn(f"{actor.name} orphan", session, after=random.randint(1, 60))

    def _drop(self, transaction: Transaction | None) -> None:
        if transaction is not None and transaction.open:
            self.scheduler.spawn(
                "dropped", lambda: self.rollback(transaction), after=self.scheduler.random.randint(0, 30)
            )

    # --- statements: each at the moment it runs -----------------------------------------------------------------------

    def begin(self) -> Transaction:
        return Transaction(self)

    def read(self, transaction: Transaction | None, place: Place) -> Any:
        """The row as this transaction sees it; None: there is none."""
        if transaction is not None and place in transaction.writes:
            row = transaction.writes[place]
            return None if row is GONE else row
        rows = self.rows if transaction is None or transaction.snapshot is None else transaction.snapshot
        row = rows.get(place)
        added = 0 if transaction is None else transaction.added.get(place, 0)
        return row if not added else (row or 0) + added

    def lock(self, transaction: Transaction, place: Place, *, share: bool = False, wait: bool = True) -> bool:
        """Hold a row against others; False if it is held and `wait` is not wanted. Raises Busy after its time."""

        def free() -> bool:
            holder = self._locked.get(place)
            if holder is not None and holder is not transaction:
                return False
            return share or not (self._shared.get(place, set()) - {transaction})

        if not free():
            if not wait:
                return False
            if not self.scheduler.until(free, "wait for a lock", ticks=self.LOCK_TICKS):
                self._drop(transaction)
                raise Busy(f"{self.name}: lock timeout")
        if not transaction.open:
            raise Transient(f"{self.name}: the session has ended")
        if share:
            self._shared.setdefault(place, set()).add(transaction)
            transaction.shares.add(place)
        else:
            self._locked[place] = transaction
            transaction.locks.add(place)
        return True

    def alone(self, transaction: Transaction) -> None:
        """Hold the lock of a database that has one writer at a time."""
        self.lock(transaction, ("", "the only writer"))

    def write(self, transaction: Transaction, place: Place, row: Any) -> None:
        self.lock(transaction, place)
        transaction.writes[place] = row

    def add(self, transaction: Transaction, place: Place, amount: int) -> None:
        transaction.added[place] = transaction.added.get(place, 0) + amount

    def commit(self, transaction: Transaction) -> None:
        if not transaction.open:
            raise Transient(f"{self.name}: the session has ended")
        touched = [*transaction.writes, *transaction.added]
        before = {place: self.rows.get(place) for place in touched}
        for place, row in transaction.writes.items():
            if row is GONE:
                self.rows.pop(place, None)
            else:
                self.rows[place] = row
        for place, amount in transaction.added.items():
            self.rows[place] = self.rows.get(place, 0) + amount
            if not self.rows[place]:
                del self.rows[place]
        self._end(transaction)
        self.watch(transaction, before)

    def rollback(self, transaction: Transaction) -> None:
        if transaction.open:
            self._end(transaction)

    def _end(self, transaction: Transaction) -> None:
        transaction.open = False
        for place in transaction.locks:
            if self._locked.get(place) is transaction:
                del self._locked[place]
        for place in transaction.shares:
            self._shared[place].discard(transaction)

    def keys(self, table: str, among: Iterable[Any]) -> list[Any]:
        return [key for key in among if (table, key) in self.rows]
