"""The paced databases of an engine: their governors, and jobs that work on them."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial

from trueup.adapters import Adapter
from trueup.clock import Clock
from trueup.core.pace.governor import State
from trueup.core.pace.settings import Pace
from trueup.core.projection import Database
from trueup.errors import LedgerFailed
from trueup.pace.admission import Admission, Caused, Worker
from trueup.pace.governor import Governor
from trueup.pace.looking import check_gauges
from trueup.pace.paced import Paced
from trueup.side_by_side import Pair
from trueup.store.paces import Paces

#: How much the others may be slowed on average, where nothing else is declared.
PROTECT = 0.10
#: Changes of a governor's state that are kept for the audit log while the ledger is away; the latest.
UNNOTED_MAX = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class _Change:
    """A governor went into a state."""

    mode: str
    reason: str
    at: datetime


class Pacing:
    """Wraps the adapters of jobs. Where no database is paced, it does nothing and costs nothing."""

    def __init__(
        self,
        databases: Mapping[str, Database],
        clock: Clock,
        paces: Callable[[], Paces],
        tells: Callable[[str, State], None] = lambda _database, _state: None,
    ) -> None:
        """`tells`: is told each change of a governor's state, before it goes to the audit log."""
        self._databases = databases
        self._clock = clock
        self._paces = paces
        self._tells = tells
        self._governors: dict[str, Governor] = {}
        #: How often each governor went into each state.
        self._changes: dict[str, Counter[str]] = {}
        #: Changes that the ledger did not take yet.
        self._unnoted: dict[str, deque[_Change]] = {}
        self._lock = threading.Lock()

    @cached_property
    def _admission(self) -> Admission:
        return Admission(self._clock)

    @cached_property
    def node(self) -> str:
        """This engine's name among those that work on a database."""
        return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    def paced(self, database: str) -> bool:
        """Does Trueup hold back on this database?"""
        declared = self._databases[database]
        return declared.protect is not None or declared.pace is not None

    def check(self, adapter: Callable[[str], Adapter]) -> None:
        """Do the declared gauges fit the databases? None of them is asked. Raises ConfigError."""
        for name, declared in self._databases.items():
            check_gauges(name, declared.pace or Pace(), partial(adapter, name))

    def statement_s(self, *databases: str) -> float | None:
        """How long a statement against these may take at most; None: none of them is paced."""
        known = [self._governors[name].settings.statement_s for name in databases if name in self._governors]
        return min(known) if known else None

    def caused(self) -> dict[str, Caused]:
        """What jobs of this engine asked of each paced database so far."""
        return {
            name: replace(governor.gate.caused, changes=Counter(self._changes.get(name, {})))
            for name, governor in list(self._governors.items())
        }

    @contextmanager
    def working(self, pair: Pair, worker: Worker) -> Iterator[Pair]:
        """Around a job: its pair, whose adapters ask before each statement."""
        projection = pair.binding.projection
        names = {"source": projection.source.database, "target": projection.target.database}
        chosen = sorted({name for name in names.values() if self.paced(name)})
        if not chosen:
            yield pair
            return
        self._admission.begins(worker)
        with ExitStack() as stack:
            adapters = {names["source"]: pair.source, names["target"]: pair.target}
            for name in chosen:
                sides = (projection.source, projection.target)
                tables = {side.table for side in sides if side.database == name and side.table}
                stack.enter_context(self._governed(name, adapters[name], tables, worker))
            wrapped = {
                name: Paced(adapter, self._governors[name].gate if name in chosen else None, self._admission, worker)
                for name, adapter in adapters.items()
            }
            yield Pair(
                binding=pair.binding,
                source=wrapped[names["source"]],
                target=wrapped[names["target"]],
                learned=pair.learned,
            )

    @contextmanager
    def _governed(self, name: str, adapter: Adapter, tables: set[str], worker: Worker) -> Iterator[None]:
        """While at least one job works on it, a database's governor looks."""
        with self._lock:
            if name not in self._governors:
                self._governors[name] = self._governor(name, adapter)
            governor = self._governors[name]
            governor.looking.tables.update(tables)
            governor.workers.append(worker)
            try:
                if len(governor.workers) == 1:
                    governor.begin()
            except BaseException:
                self._leave(governor, worker)()
                raise
        try:
            yield
        finally:
            with self._lock:
                left = self._leave(governor, worker)
            left()  # which others need not wait for

    def _leave(self, governor: Governor, worker: Worker) -> Callable[[], None]:
        """One works no more. The last one ends the governor: only so does the next one begin it. What is returned waits
        a moment until nobody looks at the database any more.
        """
        governor.workers.remove(worker)
        if governor.workers:
            return lambda: None
        left = governor.end()
        self._note(governor.name)
        return left

    def _changed(self, name: str, state: State) -> None:
        """A governor's state has changed: for who watches, for metrics, and for the record."""
        self._changes.setdefault(name, Counter())[state.mode] += 1
        self._tells(name, state)
        waiting = self._unnoted.setdefault(name, deque(maxlen=UNNOTED_MAX))
        waiting.append(_Change(mode=state.mode, reason=state.reason, at=self._clock.now()))
        self._note(name)

    def _note(self, name: str) -> None:
        """Tell the audit log. The ledger may be away just now, where it lies on what is under pressure; a governor has
        to go on then, so what it does not take is kept for the next change, or the end of the work.
        """
        waiting = self._unnoted.get(name, deque())
        with suppress(LedgerFailed):
            while waiting:
                change = waiting[0]
                self._paces().note(name, change.mode, change.reason, at=change.at)
                waiting.popleft()

    def _governor(self, name: str, adapter: Adapter) -> Governor:
        declared = self._databases[name]
        return Governor(
            name,
            pace=declared.pace or Pace(),
            protect=PROTECT if declared.protect is None else declared.protect,
            adapter=adapter,
            admission=self._admission,
            paces=self._paces(),
            node=self.node,
            now=self._clock.now,
            tells=self._changed,
        )
