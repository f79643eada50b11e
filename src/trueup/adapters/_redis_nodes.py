"""The masters that have the keys: one server, or those of a cluster, each with its hash slots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from redis.crc import key_slot

from trueup.adapters._redis_session import Sessions
from trueup.core.projection import Database
from trueup.errors import BrokenRead, Transient

#: Slots of a cluster.
SLOTS = 16_384
#: First and last slot, host, port.
Served = tuple[int, int, str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One master."""

    sessions: Sessions
    slots: tuple[tuple[int, int], ...]

    def has(self, name: bytes) -> bool:
        slot = key_slot(name)
        return any(first <= slot <= last for first, last in self.slots)


class Nodes:
    """All masters, as the one that was declared knows them."""

    def __init__(self, name: str, database: Database) -> None:
        self._name = name
        self._database = database
        #: The server that was declared.
        self.entry = Sessions(name, database)
        self.cluster = False
        self._served: tuple[Served, ...] = ()
        self._others: dict[tuple[str, int], Sessions] = {}
        self._nodes = [Node(sessions=self.entry, slots=((0, SLOTS - 1),))]

    def discover(self, *, cluster: bool) -> None:
        """Ask which masters there are.

        Raises Transient if a slot has none.
        """
        self.cluster = cluster
        if not cluster:
            return
        self._served = self._asked()
        if sum(last - first + 1 for first, last, *_ in self._served) != SLOTS:
            raise Transient(f"{self.entry.where}: some slots of the cluster have no master")
        of: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for first, last, host, port in self._served:
            of.setdefault((host, port), []).append((first, last))
        self._nodes = [Node(sessions=self._sessions(at), slots=tuple(slots)) for at, slots in sorted(of.items())]

    def unmoved(self) -> None:
        """Raise BrokenRead if slots went from one master to another: keys may have been seen nowhere."""
        if self.cluster and self._asked() != self._served:
            raise BrokenRead(
                f"{self.entry.where}: slots of the cluster moved while its keys were read, so what was read counts for "
                f"nothing; run again"
            )

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def of(self, name: bytes) -> Node:
        """The master that has a key."""
        return next(node for node in self._nodes if node.has(name))

    def close(self) -> None:
        for sessions in [self.entry, *self._others.values()]:
            sessions.close()

    def _asked(self) -> tuple[Served, ...]:
        with self.entry.session() as session:
            told = session.ask("CLUSTER", "SLOTS")
        return tuple(sorted((int(first), int(last), _host(master), int(master[1])) for first, last, master, *_ in told))

    def _sessions(self, at: tuple[str, int]) -> Sessions:
        host, port = at
        if at not in self._others:
            self._others[at] = Sessions(self._name, self._database, host=host or None, port=port)
        return self._others[at]


def _host(master: Sequence[bytes]) -> str:
    """Empty: the host by which the cluster was reached."""
    return master[0].decode() if master[0] else ""


def slot_of(name: bytes) -> int:
    """The hash slot of a key: what one transaction of a cluster is about."""
    return int(key_slot(name))
