"""How a Redis or Valkey server is doing: its one thread, its memory, what it saves."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from trueup.adapters import Looked
from trueup.adapters._redis_session import told_by
from trueup.core.pace.pressure import Mark
from trueup.errors import Transient, TrueupError
from trueup.urls import here

if TYPE_CHECKING:
    from trueup.adapters._redis_session import Session, Sessions
    from trueup.core.projection import Database

#: Limit of one reading, seconds. One that reaches it is as bad as a reading can be.
READING_S = 0.5
_SECTIONS = ("cpu", "memory", "persistence", "replication")


class RedisProbe:
    """Looks at the declared server, on a connection of its own pool."""

    marks: Mapping[str, Mark] = {
        "thread busy": Mark(idle=0.5, soft=0.75, hard=0.95),
        "memory used": Mark(idle=0.7, soft=0.85, hard=0.95),
        "saves": Mark(idle=0, soft=0.9, hard=3),
        "replica lag, s": Mark(idle=1, soft=3, hard=10),
    }

    tables: Collection[str] = ()

    def __init__(self, sessions: Sessions, database: Database, canary: str) -> None:
        self.here = here(database.url.get_secret_value())
        self._sessions = sessions
        self._canary = canary.split() or ["PING"]
        self._busy: tuple[float, float] | None = None
        self._connected = False

    @contextmanager
    def _session(self) -> Iterator[Session]:
        try:
            with self._sessions.session() as session:
                yield session
        except TrueupError as error:
            self._connected = False  # what failed was closed
            raise Transient(str(error)) from error

    def connect(self, *, writes: bool = False) -> bool:  # noqa: ARG002 - there is one for all
        if self._connected:
            return False
        with self._session():
            self._connected = True
        return True

    def canary(self) -> None:
        with self._session() as session:
            session.ask(*self._canary)

    def number(self, statement: str) -> object:
        """What a command gives: `LLEN waiting`."""
        with self._session() as session:
            answer = session.ask(*statement.split())
        return answer.decode() if isinstance(answer, bytes) else answer

    def write(self, statement: str) -> None:
        self.number(statement)

    def look(self) -> Looked:
        with self._session() as session:
            answers = session.send([("INFO", section) for section in _SECTIONS])
        refused = next((" ".join(str(one).split()) for one in answers if isinstance(one, RedisError)), "")
        told: dict[str, str] = {}
        for section in answers:
            if not isinstance(section, RedisError):
                told |= told_by(section)
        return Looked(
            values={
                "thread busy": self._share(told),
                "memory used": _used(told),
                "saves": _saves(told),
                "replica lag, s": _lag(told),
            },
            lacking={"health": f"INFO was refused: {refused}"} if refused else {},
        )

    def _share(self, told: Mapping[str, str]) -> float | None:
        """Of the time since the last look, what the server's thread worked."""
        names = ("used_cpu_user_main_thread", "used_cpu_sys_main_thread")
        names = names if names[0] in told else ("used_cpu_user", "used_cpu_sys")
        if names[0] not in told:
            return None
        now, spent = time.monotonic(), sum(float(told[name]) for name in names)
        before, self._busy = self._busy, (now, spent)
        return None if before is None or now <= before[0] else (spent - before[1]) / (now - before[0])

    def give_up(self) -> None: ...  # it has its own limit

    def close(self) -> None:
        self._connected = False
        self._sessions.close()


def _used(told: Mapping[str, str]) -> float | None:
    most = float(told.get("maxmemory", 0))
    return float(told["used_memory"]) / most if most and "used_memory" in told else None


def _saves(told: Mapping[str, str]) -> float | None:
    """Does it write its data, or its log anew, at this moment? Services that do it themselves may not tell."""
    known = [told[name] for name in ("rdb_bgsave_in_progress", "aof_rewrite_in_progress") if name in told]
    return float("1" in known) if known else None


def _lag(told: Mapping[str, str]) -> float | None:
    """Of the slowest replica: `slave0:ip=…,port=…,state=online,offset=…,lag=1`."""
    lags = [
        float(part[4:])
        for name, value in told.items()
        if name.startswith("slave") and "lag=" in value
        for part in value.split(",")
        if part.startswith("lag=")
    ]
    return max(lags, default=None)
