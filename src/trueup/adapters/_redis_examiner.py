"""What `trueup doctor` finds out about a Redis or Valkey server: role, version, eviction, and what a crash costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trueup.adapters import Server
from trueup.adapters._redis_session import VERSION
from trueup.adapters._unexamined import Unexamined
from trueup.core.binding import Binding
from trueup.core.findings import Finding, fact
from trueup.core.guarantee import Guarantee

if TYPE_CHECKING:
    from trueup.adapters._redis_session import Server as Told
    from trueup.adapters._redis_session import Sessions


class RedisExaminer(Unexamined):
    """Settings as INFO tells them; no key of the user's is looked at."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self._sessions = sessions

    def server(self) -> Server:
        with self._sessions.session() as session:
            told = session.server()
        return Server(version=told.version, findings=_settings(told), past=told.role != "master")

    def sides(self, binding: Binding, roles: Sequence[str]) -> list[Finding]:
        found = []
        for role in roles:
            why = getattr(binding, role).shape.vanishing
            finding = fact(
                "keys that go away",
                not why,
                why or "none was seen",
                why="a key that is missing need not be drift",
                remedy="declare expiring = true for the target",
                cap=Guarantee.REPORT_ONLY,
            )
            found.append(finding)
        return found


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
