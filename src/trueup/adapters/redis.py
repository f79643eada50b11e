"""Redis and Valkey: strings, hashes and sorted sets under keys of a pattern.

A repair watches the keys that it is going to write, its fence and its marker; then it reads them, then the source; then
one MULTI ... EXEC writes all rows of the unit and the marker, or nothing: any touch of a watched key in between, even
one that leaves the value as it was, makes EXEC do nothing. What it cannot see is an
increment that was sent before and arrives later; so `writers = "increments"` stays REPORT-ONLY.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import islice

from trueup.adapters import Capabilities, Examiner, Marker, Probe, Reader, RowOutcome, Unit
from trueup.adapters._documents import DocumentStore
from trueup.adapters._outcomes import outcome_from_json
from trueup.adapters._redis_examiner import RedisExaminer
from trueup.adapters._redis_generations import rebase
from trueup.adapters._redis_layout import GENERATIONS, Command, Layout, pattern_of, shape_of
from trueup.adapters._redis_nodes import Nodes, slot_of
from trueup.adapters._redis_probe import READING_S, RedisProbe
from trueup.adapters._redis_rows import Odd, fetched, pages, scanned, shown
from trueup.adapters._redis_session import VERSION, Server, Session, Sessions, keeps_markers
from trueup.adapters._redis_unit import RedisUnit, answered, fence_key, marker_key
from trueup.adapters._sorting import Row
from trueup.core.binding import Binding, BoundSide, Shape
from trueup.core.decide import Action
from trueup.core.guarantee import Protocol, Writing
from trueup.core.plan import Everything, Range
from trueup.core.projection import Database, Side
from trueup.core.row import Key
from trueup.core.text import Pattern, namesakes
from trueup.errors import BrokenRead, ConfigError, DataProblem, DesignProblem

#: Pages of a scan, and names in them, that are looked at for a time to live.
LOOK_PAGES = 20
LOOK_NAMES = 100
#: Share of all keys that may go away while they are scanned.
VANISHED = 0.5


def connect(name: str, database: Database) -> RedisAdapter:
    return RedisAdapter(name, database)


class RedisAdapter(DocumentStore):
    """Reads and repairs keys of one logical database of a Redis or Valkey server."""

    capabilities = Capabilities(
        dialect="",
        # WATCH is the version of a key: it is read with the row, and any touch of the key changes it.
        writing=Writing(row_locks=False, row_version=True, single_writer=False),
        places=("pattern",),
    )

    def __init__(self, name: str, database: Database) -> None:
        super().__init__(name, database)
        self.markers = database.markers
        self.nodes = Nodes(name, database)
        #: The servers when they were described, at the beginning of a run.
        self._servers: dict[Sessions, Server] = {}

    def close(self) -> None:
        self.nodes.close()

    @property
    def where(self) -> str:
        return self.nodes.entry.where

    @property
    def examiner(self) -> Examiner:
        return RedisExaminer(self.nodes.entry, markers=self.database.markers)

    def probe(self, canary: str) -> Probe | None:
        return RedisProbe(Sessions(self.name, self.database, answer_s=READING_S), self.database, canary)

    # --- shape -----------------------------------------------------------------------------------------------------

    def describe(self, side: Side) -> Shape:
        shape = shape_of(side)
        with self.nodes.entry.session() as session:
            self.nodes.discover(cluster=session.server().cluster)
        self._servers, why = {}, ""
        for node in self.nodes:
            with node.sessions.session() as session:
                self._servers[node.sessions] = server = session.server()
                self._check(server)
                if not side.expiring:
                    why = why or self._may_go(server) or self._some_expire(session, pattern_of(side))
        self.markers = self.database.markers and all(map(keeps_markers, self._servers.values()))
        return replace(shape, obstacle=why, vanishing=why)

    def _check(self, server: Server) -> None:
        if server.role != "master":
            raise ConfigError(
                f"databases.{self.name}: it is a {server.role or 'server of unknown role'}, which may lag behind; give "
                f"the master's address"
            )
        if tuple(int(part) for part in server.version.split(".")[:2] if part.isdigit()) < VERSION:
            raise ConfigError(f"databases.{self.name}: version {server.version}; 6.2 or newer is needed")

    def _may_go(self, server: Server) -> str:
        """Why any key may be gone, and the remedy; empty if none is but by a writer."""
        if not server.evicts_all:
            return ""
        return (
            f"the server may evict any key (maxmemory-policy {server.policy}), so one that is missing need not be "
            f"drift; declare expiring = true for a target, or set the policy to noeviction"
        )

    def _some_expire(self, session: Session, pattern: Pattern) -> str:
        """The same of keys that have a time to live, as far as a look at a few tells."""
        few: list[bytes] = []
        for names in islice(scanned(session, pattern), LOOK_PAGES):
            few += names
            if len(few) >= LOOK_NAMES:
                break
        lives = session.send([("TTL", name) for name in few[:LOOK_NAMES]])
        for name, left in zip(few, lives, strict=False):
            if isinstance(left, int) and left >= 0:
                return (
                    f"{shown(name)} has a time to live, so a key that is missing need not be drift, and one that is "
                    f"made by a repair would stay for ever; declare expiring = true for a target"
                )
        return ""

    # --- reading ---------------------------------------------------------------------------------------------------

    access = "keys are scanned in one pass, and sorted here"

    def scan(self, binding: Binding, side: BoundSide, part: Everything | Range, *, tokens: bool) -> Iterator[list[Row]]:  # noqa: ARG002
        layout = self._layout(binding, side)
        odd = Odd(self.where, layout)
        for node in self.nodes:
            with node.sessions.session() as session:
                before = int(session.ask("DBSIZE"))
                for names in scanned(session, layout.pattern):
                    # A name that is another master's is that one's row: slots on their way are seen on both.
                    yield from pages(session, layout, [name for name in names if node.has(name)], odd, tokens=tokens)
                after = int(session.ask("DBSIZE"))
            if after < before * VANISHED:
                raise BrokenRead(
                    f"{self.where}: {before:,} keys became {after:,} while they were read, so what was read counts for "
                    f"nothing; run again"
                )
        self.nodes.unmoved()
        odd.complain()

    def fetch(self, binding: Binding, side: BoundSide, keys: Sequence[Key], *, tokens: bool) -> list[Row]:
        layout = self._layout(binding, side)
        parts = self._by_slot(layout, keys) if self.nodes.cluster else [list(keys)] if keys else []
        rows: list[Row] = []
        for part in parts:
            with self._session_of(layout, part[0]) as session:
                rows += fetched(session, layout, part, tokens=tokens)
        return rows

    def _layout(self, binding: Binding, side: BoundSide) -> Layout:
        return Layout.of(binding, side, together=not self.nodes.cluster)

    def _by_slot(self, layout: Layout, keys: Sequence[Key]) -> list[list[Key]]:
        """Keys by the hash slot that they are in; those that have no name are by themselves."""
        parts: dict[int, list[Key]] = {}
        for key in keys:
            try:
                slot = slot_of(layout.name_of(key)[0])
            except DataProblem:
                slot = -1
            parts.setdefault(slot, []).append(key)
        return list(parts.values())

    def _session_of(self, layout: Layout, key: Key) -> AbstractContextManager[Session]:
        """A session with the master that has a key."""
        if not self.nodes.cluster:
            return self.nodes.entry.session()
        try:
            return self.nodes.of(layout.name_of(key)[0]).sessions.session()
        except DataProblem:
            return self.nodes.entry.session()

    def has_nulls(self, side: BoundSide) -> bool:
        """A field of a hash that is not there is one; a row of one value has none."""
        return side.side.type == "hash" and not side.side.member

    # --- repairing -------------------------------------------------------------------------------------------------

    @contextmanager
    def unit(self, binding: Binding, unit: Unit) -> Iterator[RedisUnit]:
        layout = self._layout(binding, binding.target)
        node = self.nodes.of(layout.name_of(unit.drift[0].key)[0]) if self.nodes.cluster else None
        sessions = node.sessions if node else self.nodes.entry
        with sessions.session() as session:
            server = session.server()
            self._check(server)
            compared = self._servers.get(sessions)
            if compared is not None and server.identity != compared.identity:
                raise DesignProblem(
                    f"{self.where}: another server, or one that was started anew, has taken the place of the one that "
                    f"was compared, and writes that were acknowledged may be gone. Nothing more was written; run "
                    f"again: everything is compared anew"
                )
            yield RedisUnit(session, layout, binding, unit, markers=self.markers)
            session.ask("UNWATCH")

    def repair(self, binding: Binding, unit: Unit, source: Reader) -> list[RowOutcome]:
        if not self.nodes.cluster:
            return self._repair(binding, unit, source)
        # A transaction is about the keys of one slot, and each is a unit of its own.
        drift = {suspect.key: suspect for suspect in unit.drift}
        parts = self._by_slot(self._layout(binding, binding.target), list(drift))
        units = (replace(unit, drift=[drift[key] for key in part]) for part in parts)
        return [outcome for part in units for outcome in self._repair(binding, part, source)]

    def _repair(self, binding: Binding, unit: Unit, source: Reader) -> list[RowOutcome]:
        if unit.protocol is not Protocol.GENERATION:
            return super().repair(binding, unit, source)
        with self.unit(binding, unit) as steps:
            return rebase(steps, self._layout(binding, binding.target), binding, unit, source)

    def namesakes(self, binding: Binding, key: Key) -> Iterator[Key]:
        layout = self._layout(binding, binding.target)
        return namesakes(layout.pattern, layout.key, key)

    def raise_fence(self, fence: str, *, stop: bool | None = None) -> int | None:
        with self.nodes.entry.session() as session:
            self.markers = self.database.markers and keeps_markers(session.server())
            if not self.markers:
                return None
            commands: list[Command] = [("MULTI",), ("HINCRBY", fence_key(fence), "token", 1)]
            if stop is not None:
                commands.append(("HSET", fence_key(fence), "stop", int(stop)))
            return int(answered(session, session.send([*commands, ("EXEC",)]))[0])

    def claim(self, binding: Binding, unit: str) -> Marker | None:  # noqa: ARG002
        if not self.markers:
            return None
        with self.nodes.entry.session() as session:
            if session.ask("SET", marker_key(unit), "", "NX"):
                return Marker(applied=False)
            images = session.ask("GET", marker_key(unit))
        return Marker(applied=bool(images), outcomes=[outcome_from_json(item) for item in json.loads(images or "[]")])

    def forget(self, units: Sequence[str]) -> None:
        if self.markers and not self.nodes.cluster:
            with self.nodes.entry.session() as session:
                session.ask("DEL", *map(marker_key, units))

    def statement(self, binding: Binding, action: Action) -> str:
        layout = Layout.of(binding, binding.target)
        name, member, value = layout.pattern.text, f":{layout.member}", "".join(f":{value}" for value in layout.values)
        fields = " ".join(f"{field} :{field}" for field in layout.values)
        command = {"string": f"SET {name} {value} KEEPTTL", "hash": f"HSET {name} {fields}"}
        command[GENERATIONS] = f"EVAL (count from this generation on) {name} :generation {value}"
        away = dict.fromkeys(command, f"DEL {name}")
        if layout.member:
            command |= {"hash": f"HSET {name} {member} {value}", "sorted_set": f"ZADD {name} {value} {member}"}
            away |= {"hash": f"HDEL {name} {member}", "sorted_set": f"ZREM {name} {member}"}
        of_action = {Action.INSERT: command, Action.UPDATE: command, Action.DELETE: away}
        return f"WATCH {name}; MULTI; {of_action[action][layout.type]}; EXEC" if action in of_action else ""
