"""The paced databases of an engine: their governors, and jobs that work on them."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property

from trueup.adapters import Adapter
from trueup.clock import Clock
from trueup.core.pace.governor import State
from trueup.core.pace.settings import Pace
from trueup.core.projection import Database
from trueup.pace.admission import Admission, Caused, Worker
from trueup.pace.governor import Governor
from trueup.pace.paced import Paced
from trueup.side_by_side import Pair
from trueup.store.paces import Paces

#: How much the others may be slowed on average, where nothing else is declared.
PROTECT = 0.10


class Pacing:
    """Wraps the adapters of jobs. Where no database is paced, it does nothing and costs nothing."""

    def __init__(
        self,
        databases: Mapping[str, Database],
        clock: Clock,
        paces: Callable[[], Paces],
        tells: Callable[[str, State], None],
    ) -> None:
        self._databases = databases
        self._clock = clock
        self._paces = paces
        self._tells = tells
        self._governors: dict[str, Governor] = {}
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

    def statement_s(self, *databases: str) -> float | None:
        """How long a statement against these may take at most; None: none of them is paced."""
        known = [self._governors[name].settings.statement_s for name in databases if name in self._governors]
        return min(known) if known else None

    def caused(self) -> dict[str, Caused]:
        """What jobs of this engine asked of each paced database so far."""
        return {name: governor.gate.caused for name, governor in list(self._governors.items())}

    @contextmanager
    def working(self, pair: Pair, worker: Worker) -> Iterator[Pair]:
        """Around a job: its pair, whose adapters ask before each statement."""
        projection = pair.binding.projection
        names = {"source": projection.source.database, "target": projection.target.database}
        chosen = sorted({name for name in names.values() if self.paced(name)})
        if not chosen:
            yield pair
            return
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
            governor.tables.update(tables)
            governor.workers.append(worker)
            if len(governor.workers) == 1:
                governor.begin()
        try:
            yield
        finally:
            with self._lock:
                governor.workers.remove(worker)
                if not governor.workers:
                    governor.end()

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
            tells=self._tells,
        )
