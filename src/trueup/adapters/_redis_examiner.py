"""What `trueup doctor` finds out about a Redis or Valkey server: role, version, eviction, and what a crash costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from trueup.adapters import Server
from trueup.adapters._redis_layout import Layout
from trueup.adapters._redis_rights import rights
from trueup.adapters._redis_session import VERSION, keeps_markers
from trueup.adapters._unexamined import Unexamined
from trueup.core.binding import Binding
from trueup.core.findings import Finding, fact
from trueup.core.guarantee import Guarantee

if TYPE_CHECKING:
    from trueup.adapters._redis_session import Server as Told
    from trueup.adapters._redis_session import Sessions


class RedisExaminer(Unexamined):
    """Settings as INFO tells them, and rights as they are tried; no key of the user's is read or written."""

    def __init__(self, sessions: Sessions, *, markers: bool) -> None:
        super().__init__()
        self._sessions = sessions
        self._markers = markers

    def server(self) -> Server:
        with self._sessions.session() as session:
            told = session.server()
        return Server(version=told.version, findings=_settings(told), past=told.role != "master")

    def sides(self, binding: Binding, roles: Sequence[str]) -> list[Finding]:
        found = []
        for role in roles:
            place = f"projections.{binding.projection.name}.{role}"
            why = getattr(binding, role).shape.vanishing
            finding = fact(
                "keys that go away",
                not why,
                why or "none was seen",
                why="a key that is missing need not be drift",
                remedy="declare expiring = true for the target",
                cap=Guarantee.REPORT_ONLY,
            )
            found.append(replace(finding, place=place))
            if role == "target" and binding.projection.writers is not None:
                found += [replace(each, place=place) for each in self._rights(binding)]
        return found

    def _rights(self, binding: Binding) -> list[Finding]:
        """Not in a cluster, where keys of several masters cannot be queued on one."""
        with self._sessions.session() as session:
            told = session.server()
            if told.cluster:
                return []
            markers = self._markers and keeps_markers(told)
            return rights(session, Layout.of(binding, binding.target), binding, markers=markers)


def _settings(told: Told) -> tuple[Finding, ...]:
    newest = tuple(int(part) for part in told.version.split(".")[:2] if part.isdigit())
    return (
        fact(
            "role",
            told.role == "master",
            told.role,
            why="a replica may lag behind, and takes no writes",
            remedy="give the master's address",
            cap=Guarantee.REPORT_ONLY,
        ),
        fact(
            "version",
            newest >= VERSION,
            told.version,
            why="before 6.0.9 EXEC goes on where a watched key expired",
            remedy="6.2 or later",
            cap=Guarantee.REPORT_ONLY,
        ),
        fact(
            "maxmemory-policy",
            not told.evicts_all,
            told.policy,
            why="any key may be evicted: one that is missing need not be drift, and no markers are kept",
            remedy="CONFIG SET maxmemory-policy noeviction, or declare expiring = true",
        ),
        fact(
            "appendonly",
            told.kept,
            "yes" if told.kept else "no",
            why="a crash loses what was acknowledged since the last snapshot, repairs too; the next check finds them",
            remedy="CONFIG SET appendonly yes",
        ),
    )
